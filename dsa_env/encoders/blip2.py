"""BLIP-2: its Q-Former's queries, where its language model reads or where ITC compares."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F
from transformers import (
    AutoConfig,
    AutoImageProcessor,
    Blip2ForConditionalGeneration,
    Blip2ForImageTextRetrieval,
)

from dsa_env.encoders.base import Encoder, patch_grid
from dsa_env.encoders.loading import frozen, load_tokenizer, loading
from dsa_env.encoders.vision import attend_pool
from dsa_env.encoders.words import MEAN_NOTE, mean_embeddings
from dsa_env.errors import DSAError

_DEPTHS = ("num_hidden_layers", "num_layers", "num_decoder_layers")


def blip2_encoder(name: str, device: str = "cpu", **settings: Any) -> Blip2Encoder:
    """The encoder that a BLIP-2 checkpoint has the heads for.

    A checkpoint of `Blip2ForImageTextRetrieval` has the contrastive (ITC) heads; others have a
    language model.

    Args:
        name: hub name or local folder.
        device: torch device.
        settings: `coarse`, `fine` and `dtype`.

    Raises:
        DSAError: if it cannot be loaded.
    """
    with loading("encoder", name):
        config = AutoConfig.from_pretrained(name)
    retrieval = "Blip2ForImageTextRetrieval" in (config.architectures or [])
    encoder = Blip2RetrievalEncoder if retrieval else Blip2GenerationEncoder
    return encoder(name, device, **settings)


class Blip2Encoder(Encoder):
    """What both kinds share: the picture through vision transformer and Q-Former."""

    fines = ("crops", "patches", "queries")
    _class: Any

    def __init__(
        self,
        name: str,
        device: str = "cpu",
        *,
        coarse: str = "pooled",
        fine: str = "crops",
        dtype: str = "float32",
    ) -> None:
        """Loads a model by hub name or local folder.

        Args:
            name: which model.
            device: torch device.
            coarse: "pooled" or "layer:K".
            fine: "crops", "patches" or "queries" (no detector: each query is a region).
            dtype: "float32", "bf16" or "fp16", of the model; features are float32.

        Raises:
            DSAError: if it cannot be loaded or lacks weights.
        """
        super().__init__(name, coarse, fine)
        with loading("encoder", name):
            config = AutoConfig.from_pretrained(name)
            self._trim(config)
            model = frozen(self._class, name, name, dtype, device, config=config)
            self._tokenizer: Any = load_tokenizer(name, name)
            processor = AutoImageProcessor.from_pretrained(name)
        vision = config.vision_config
        width = int(np.prod(patch_grid(vision))) * int(vision.hidden_size)
        self._adopt(model, processor, int(vision.image_size), width)
        self.dim = len(self.text(["a"])[0])

    def _trim(self, config: Any) -> None:
        """Takes out of the configuration what no feature needs, so that it is not loaded."""

    @abstractmethod
    def _project(self, queries: Tensor) -> Tensor:
        """The Q-Former's outputs [n, Q, H] in the texts' space, [n, Q, D] float32."""

    @property
    @abstractmethod
    def _way(self) -> str:
        """How queries become one vector, for the notes."""

    @property
    def notes(self) -> Mapping[str, str]:
        """What "text", "coarse" and "fine" features are and why."""
        coarse = f"the Q-Former's queries about the whole picture, {self._way}"
        if self._early_layer is not None:
            coarse = (
                f"the Q-Former's queries about layer {self._early_layer} of the vision "
                f"transformer, {self._way}; the last layer norm matches the early tokens' scale, "
                "but the Q-Former was trained on the last layer alone"
            )
        fine = f"the Q-Former's queries about each detector region, cut out, {self._way}"
        if self.fine == "patches":
            fine = (
                "the Q-Former's queries about the last layer's patch tokens inside each box, "
                f"{self._way}; the vision transformer runs once a picture, which is squeezed to "
                "the square; the Q-Former is used to whole pictures"
            )
        if self.fine == "queries":
            fine = (
                "each of the Q-Former's queries about the whole picture for itself, projected like "
                "the coarse view: what the model itself tells apart, without a detector"
            )
        return {"text": self._text_note, "coarse": coarse, "fine": fine}

    @property
    @abstractmethod
    def _text_note(self) -> str: ...

    def _blocks(self) -> Any:
        return self._model.vision_model.encoder.layers

    def _grid(self) -> tuple[int, int]:
        return patch_grid(self._model.config.vision_config)

    def _tokens(self, values: Tensor) -> Tensor:
        tokens: Tensor = self._model.vision_model(pixel_values=values).last_hidden_state
        return tokens

    def _queries(self, tokens: Tensor) -> Tensor:
        """What each query finds in tokens [n, T, H], as [n, Q, D] float32."""
        output = self._model.qformer(
            query_embeds=self._model.query_tokens.expand(len(tokens), -1, -1),
            encoder_hidden_states=tokens,
            encoder_attention_mask=torch.ones(
                tokens.shape[:2], dtype=torch.long, device=tokens.device
            ),
        )
        return self._project(output.last_hidden_state)

    def _asked(self, context: Tensor) -> Tensor:
        """What the queries find on average, [n, D]."""
        return self._queries(context).mean(1)

    def _whole(self, tokens: Tensor) -> Tensor:
        return self._asked(tokens)

    def _early(self, hidden: Tensor, tokens: Tensor) -> Tensor:
        return self._asked(self._model.vision_model.post_layernorm(hidden))

    def _inside(
        self, tokens: Tensor, inside: NDArray[np.bool_], owner: NDArray[np.int64]
    ) -> Tensor:
        return attend_pool(self._asked, tokens[:, 1:], inside, owner)


class Blip2GenerationEncoder(Blip2Encoder):
    """`Blip2ForConditionalGeneration`: queries through the language projection.

    Pictures lie where the language model reads, texts are the mean of its input embeddings. The
    language model itself is not loaded.
    """

    _class = Blip2ForConditionalGeneration

    def _trim(self, config: Any) -> None:
        for depth in _DEPTHS:  # only its input embeddings are read
            if hasattr(config.text_config, depth):
                setattr(config.text_config, depth, 0)
        words = getattr(config.text_config, "word_embed_proj_dim", config.text_config.hidden_size)
        if words != config.text_config.hidden_size:
            raise DSAError(
                f"the language model of {self.name!r} embeds words in {words} dimensions but reads "
                f"pictures in {config.text_config.hidden_size}; give a checkpoint where they agree,"
                " or one of Blip2ForImageTextRetrieval"
            )

    @property
    def _way(self) -> str:
        return (
            f"averaged over the {self._model.config.num_query_tokens} outputs of the language "
            "projection, which the language model is given"
        )

    @property
    def _text_note(self) -> str:
        return (
            f"{MEAN_NOTE}; this checkpoint has no ITC heads, a Blip2ForImageTextRetrieval "
            "checkpoint has them"
        )

    def text(self, texts: Sequence[str], batch: int = 512) -> NDArray[np.float32]:
        """Unit rows [len(texts), dim] float32: means of input embeddings."""
        embed = self._model.language_model.get_input_embeddings()
        return self._in_batches(
            texts, batch, lambda some: mean_embeddings(some, self._tokenizer, embed, self.device)
        )

    def _project(self, queries: Tensor) -> Tensor:
        projection = self._model.language_projection
        projected: Tensor = projection(queries.to(projection.weight.dtype))
        return projected.float()


class Blip2RetrievalEncoder(Blip2Encoder):
    """`Blip2ForImageTextRetrieval`: the space that image-text contrast (ITC) was trained in."""

    _class = Blip2ForImageTextRetrieval

    @property
    def _way(self) -> str:
        return (
            f"averaged over the {self._model.config.num_query_tokens} unit rows of the ITC "
            "projection (ITC itself takes the query nearest to a text)"
        )

    @property
    def _text_note(self) -> str:
        return "the ITC projection of the Q-Former's reading of the text, at its first token"

    def text(self, texts: Sequence[str], batch: int = 256) -> NDArray[np.float32]:
        """Unit rows [len(texts), dim] float32 of ITC; what is too long is cut."""
        return self._in_batches(texts, batch, self._read)

    def _read(self, texts: list[str]) -> Tensor:
        limit = int(self._model.config.qformer_config.max_position_embeddings)
        tokens = self._tokenizer(
            texts,
            padding=True,
            truncation=True,
            max_length=min(limit, int(self._tokenizer.model_max_length)),
            return_tensors="pt",
        ).to(self.device)
        output = self._model.qformer(
            query_embeds=self._model.embeddings(input_ids=tokens["input_ids"]),
            query_length=0,
            attention_mask=tokens["attention_mask"],
        )
        projection = self._model.text_projection
        read: Tensor = projection(output.last_hidden_state[:, 0].to(projection.weight.dtype))
        return read

    def _project(self, queries: Tensor) -> Tensor:
        projection = self._model.vision_projection
        projected = projection(queries.to(projection.weight.dtype)).float()
        return F.normalize(projected, dim=-1)
