"""Frozen dual encoders of the CLIP and SigLIP families: text and pictures in one space."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F
from transformers import AutoImageProcessor, AutoModel, AutoTokenizer

from dsa_env.encoders import model_folder
from dsa_env.encoders.loading import loading
from dsa_env.encoders.regions import Preprocess
from dsa_env.errors import DSAError


class DualEncoder:
    """A frozen model with `get_text_features` and `get_image_features`.

    Coarse features are its embedding of the whole picture, fine ones its embeddings of the regions
    that a detector proposes; both lie in the text's space because one tower makes them.

    Attributes:
        name: the name or folder it was loaded from.
        dim: length of its embeddings.
        preprocess: what its vision tower expects of pictures.
    """

    def __init__(self, name: str, device: str = "cpu") -> None:
        """Loads a model by hub name, local folder or "embedded".

        Raises:
            DSAError: if it cannot be loaded or is no dual encoder.
        """
        self.name, self.device = name, torch.device(device)
        source = model_folder(name, "encoder")
        cure = "Give a hub name or a local folder with model, tokenizer and image processor."
        with loading("encoder", name, cure):
            self._model: Any = AutoModel.from_pretrained(source).eval().to(self.device)
            self._tokenizer: Any = AutoTokenizer.from_pretrained(source)
            processor = AutoImageProcessor.from_pretrained(source)
        if not hasattr(self._model, "get_text_features"):
            raise DSAError(
                f"{name!r} is a {type(self._model).__name__}, no dual encoder; choose a CLIP or "
                "SigLIP model"
            )
        self._model.requires_grad_(False)
        self.preprocess = Preprocess.of(processor)
        self.revision: str | None = getattr(self._model.config, "_commit_hash", None)
        self.dim = len(self.text(["a"])[0])

    @property
    def model_class(self) -> str:
        """The transformers class behind it."""
        return type(self._model).__name__

    def text(self, texts: Sequence[str], batch: int = 512) -> NDArray[np.float32]:
        """Unit embeddings [len(texts), dim]; texts beyond the model's length are cut."""
        limit = min(int(self._tokenizer.model_max_length), self._positions())
        # SigLIP was trained on texts padded to its full length, and reads no attention mask
        padding = "max_length" if "siglip" in self._model.config.model_type else True
        rows = []
        for start in range(0, len(texts), batch):
            tokens = self._tokenizer(
                list(texts[start : start + batch]),
                padding=padding,
                truncation=True,
                max_length=limit,
                return_tensors="pt",
                return_token_type_ids=False,
            ).to(self.device)
            rows.append(self._unit(self._model.get_text_features, **tokens))
        return np.concatenate(rows)

    def pictures(self, pixels: NDArray[np.uint8], batch: int = 256) -> NDArray[np.float32]:
        """Unit embeddings [N, dim] of pictures [N, size, size, 3] uint8, cut by `preprocess`."""
        rows = []
        for start in range(0, len(pixels), batch):
            block = torch.from_numpy(self.preprocess.normalize(pixels[start : start + batch]))
            rows.append(
                self._unit(self._model.get_image_features, pixel_values=block.to(self.device))
            )
        return np.concatenate(rows) if rows else np.empty((0, self.dim), dtype=np.float32)

    def _positions(self) -> int:
        config = getattr(self._model.config, "text_config", self._model.config)
        return int(getattr(config, "max_position_embeddings", 512))

    @torch.inference_mode()
    def _unit(self, function: Any, **inputs: Any) -> NDArray[np.float32]:
        output = function(**inputs)
        vectors = output if torch.is_tensor(output) else output.pooler_output
        unit: NDArray[np.float32] = F.normalize(vectors.float(), dim=-1).cpu().numpy()
        return unit
