"""Frozen dual encoders of the CLIP and SigLIP families: text and pictures in one space."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import AutoConfig, AutoImageProcessor, AutoModel

from dsa_env.encoders import model_folder
from dsa_env.encoders.base import Encoder, patch_grid
from dsa_env.encoders.loading import frozen, load_tokenizer, loading
from dsa_env.encoders.vision import attend_pool, mean_pool
from dsa_env.errors import DSAError

_CROPS = "each detector region, cut out with its surroundings and embedded like a whole picture"


class DualEncoder(Encoder):
    """A frozen model with `get_text_features` and `get_image_features`.

    Coarse features are its embedding of the whole picture, fine ones its embeddings of the regions
    that a detector proposes; both lie in the text's space because one tower makes them.
    """

    def __init__(
        self,
        name: str,
        device: str = "cpu",
        *,
        coarse: str = "pooled",
        fine: str = "crops",
        dtype: str = "float32",
    ) -> None:
        """Loads a model by hub name, local folder or "embedded".

        Args:
            name: which model.
            device: torch device.
            coarse: "pooled", or "layer:K" where the family supports it.
            fine: "crops", or "patches" where the family supports it.
            dtype: "float32", "bf16" or "fp16", of the model; features are float32.

        Raises:
            DSAError: if it cannot be loaded, is no dual encoder, or has no such features.
        """
        super().__init__(name, coarse, fine)
        source = model_folder(name, "encoder")
        with loading("encoder", name):
            self._check(AutoConfig.from_pretrained(source))
            model = frozen(AutoModel, source, name, dtype, device)
            self._tokenizer: Any = load_tokenizer(source, name)
            processor = AutoImageProcessor.from_pretrained(source)
        if not hasattr(model, "get_text_features"):
            raise DSAError(
                f"{name!r} is a {type(model).__name__}, no dual encoder; choose a CLIP or "
                "SigLIP model"
            )
        side, width = None, 0
        if model.config.model_type in ("clip", "siglip"):
            vision = model.config.vision_config
            side = int(vision.image_size)
            width = int(np.prod(patch_grid(vision))) * int(vision.hidden_size)
        self._adopt(model, processor, side, width)
        self.dim = len(self.text(["a"])[0])

    def _check(self, config: Any) -> None:
        """Refuses what this family cannot do, before the weights are loaded."""
        if self.coarse != "pooled" or self.fine != "crops":
            raise DSAError(
                f"{self.name!r} is a {config.model_type!r} model, which supports --coarse pooled "
                "and --regions-by crops; layer:K and patches need a CLIP or SigLIP model"
            )

    @property
    def notes(self) -> Mapping[str, str]:
        """What "text", "coarse" and "fine" features are and why."""
        return {
            "text": "the text tower's embedding, trained to meet the picture's embedding",
            "coarse": "the image tower's own embedding of the whole picture",
            "fine": f"{_CROPS}: the tower's trained space, at the price of a pass a region",
        }

    def text(self, texts: Sequence[str], batch: int = 512) -> NDArray[np.float32]:
        """Unit embeddings [len(texts), dim]; texts beyond the model's length are cut."""
        return self._in_batches(texts, batch, self._read)

    def _read(self, texts: list[str]) -> Tensor:
        # SigLIP was trained on small letters padded to its full length, without an attention mask
        siglip = "siglip" in self._model.config.model_type
        if siglip:
            texts = [text.lower() for text in texts]
        tokens = self._tokenizer(
            texts,
            padding="max_length" if siglip else True,
            truncation=True,
            max_length=min(int(self._tokenizer.model_max_length), self._positions()),
            return_tensors="pt",
            return_token_type_ids=False,
        ).to(self.device)
        if siglip:
            tokens.pop("attention_mask", None)
        return _vectors(self._model.get_text_features(**tokens))

    def _positions(self) -> int:
        config = getattr(self._model.config, "text_config", self._model.config)
        return int(getattr(config, "max_position_embeddings", 512))

    def _tokens(self, values: Tensor) -> Any:
        return self._model.get_image_features(pixel_values=values)

    def _whole(self, tokens: Any) -> Tensor:
        return _vectors(tokens)

    def _early(self, hidden: Tensor, tokens: Any) -> Tensor:
        raise NotImplementedError

    def _inside(self, tokens: Any, inside: NDArray[np.bool_], owner: NDArray[np.int64]) -> Tensor:
        raise NotImplementedError

    def _blocks(self) -> Any:
        return self.tower().encoder.layers

    def tower(self) -> Any:
        """The vision transformer; some versions wrap it once more."""
        tower = self._model.vision_model
        return getattr(tower, "vision_model", tower)

    def _grid(self) -> tuple[int, int]:
        return patch_grid(self._model.config.vision_config)


class ClipEncoder(DualEncoder):
    """CLIP: also early layers, and patch tokens, through its last norm and projection."""

    def _check(self, config: Any) -> None:
        return

    @property
    def notes(self) -> Mapping[str, str]:
        """What "text", "coarse" and "fine" features are and why."""
        notes = dict(super().notes)
        if self._early_layer is not None:
            notes["coarse"] = (
                f"the mean of layer {self._early_layer}'s patch tokens through the last layer norm "
                "and the visual projection, which were trained on the last layer: the norm matches "
                "their scale, alignment with text is not to be expected of early layers"
            )
        if self.fine == "patches":
            notes["fine"] = (
                "the mean of the last layer's patch tokens inside each box, through the last norm "
                "and the visual projection: one pass a picture, which is squeezed to the square; "
                "CLIP trains its class token alone, so patch tokens align less with text"
            )
        return notes

    def head(self, pooled: Tensor) -> Tensor:
        """What the last layer norm gives [..., H] -> CLIP's space [..., D]."""
        projected: Tensor = self._model.visual_projection(pooled)
        return projected

    def project(self, tokens: Tensor) -> Tensor:
        """The way the class token goes, for any tokens [..., H] -> [..., D]."""
        return self.head(self.tower().post_layernorm(tokens))

    def _early(self, hidden: Tensor, tokens: Any) -> Tensor:
        return self.project(hidden[:, 1:]).float().mean(1)

    def _inside(self, tokens: Any, inside: NDArray[np.bool_], owner: NDArray[np.int64]) -> Tensor:
        return mean_pool(self.project(tokens.last_hidden_state[:, 1:]), inside, owner)


class SiglipEncoder(DualEncoder):
    """SigLIP and SigLIP2: also early layers and patches, through its attention-pooling head.

    A NaFlex checkpoint ("siglip2") reads the largest square grid that its processor allows.
    """

    def _check(self, config: Any) -> None:
        head = getattr(config.vision_config, "vision_use_head", True)
        if not head:
            raise DSAError(
                f"{self.name!r} has no pooling head (vision_use_head is off), so it has no picture "
                "embedding; choose a checkpoint with one"
            )

    @property
    def notes(self) -> Mapping[str, str]:
        """What "text", "coarse" and "fine" features are and why."""
        notes = dict(super().notes)
        if self._naflex:
            notes["coarse"] += "; squeezed to the largest square that NaFlex allows"
        if self._early_layer is not None:
            notes["coarse"] = (
                f"layer {self._early_layer}'s patch tokens through the last layer norm, which "
                "matches their scale, and the attention-pooling head, which was trained on the "
                "last layer: alignment with text is not to be expected of early layers"
            )
        if self.fine == "patches":
            notes["fine"] = (
                "the attention-pooling head over the last layer's patch tokens inside each box: "
                "the map that makes the picture's embedding, shown one region; one pass a picture"
            )
        return notes

    @property
    def _naflex(self) -> bool:
        return bool(self._model.config.model_type == "siglip2")

    def _tokens(self, values: Tensor) -> Any:
        if not self._naflex:
            return super()._tokens(values)
        rows, columns = self._grid()
        patches = values.unflatten(2, (rows, -1)).unflatten(4, (columns, -1))
        patches = patches.permute(0, 2, 4, 3, 5, 1).flatten(3).flatten(1, 2)
        count = len(values)
        return self._model.get_image_features(
            pixel_values=patches,
            pixel_attention_mask=torch.ones(count, rows * columns, dtype=torch.long).to(
                self.device
            ),
            spatial_shapes=torch.tensor([[rows, columns]] * count).to(self.device),
        )

    def _grid(self) -> tuple[int, int]:
        if not self._naflex:
            return super()._grid()
        side = self.preprocess.size // int(self._model.config.vision_config.patch_size)
        return side, side

    def _early(self, hidden: Tensor, tokens: Any) -> Tensor:
        tower = self.tower()
        pooled: Tensor = tower.head(tower.post_layernorm(hidden))
        return pooled

    def _inside(self, tokens: Any, inside: NDArray[np.bool_], owner: NDArray[np.int64]) -> Tensor:
        return attend_pool(self.tower().head, tokens.last_hidden_state, inside, owner)


def _vectors(output: Any) -> Tensor:
    vectors: Tensor = output if torch.is_tensor(output) else output.pooler_output
    return vectors
