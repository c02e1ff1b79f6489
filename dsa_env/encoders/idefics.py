"""IDEFICS, the open Flamingo: its perceiver's latents, as its first cross-attention hands them on.

Latents and words have different lengths (1,280 and 4,096 in idefics-9b). What joins them in the
model itself is gated cross-attention, which adds `tanh(alpha) * O V latent`, weighted by attention,
to a word's embedding. The first such layer adds to the input embeddings themselves; with even
attention it adds the mean over the latents. That vector is the picture's feature here: a map that
the model learned, between the spaces where it learned it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from transformers import (
    AutoConfig,
    AutoImageProcessor,
    IdeficsForVisionText2Text,
)

from dsa_env.encoders.base import Encoder, patch_grid
from dsa_env.encoders.loading import frozen, load_tokenizer, loading
from dsa_env.encoders.vision import attend_pool
from dsa_env.encoders.words import MEAN_NOTE, mean_embeddings
from dsa_env.errors import DSAError


class IdeficsEncoder(Encoder):
    """Perceiver latents of pictures and regions, in the space of the input embeddings."""

    fines = ("crops", "patches", "queries")

    def __init__(
        self,
        name: str,
        device: str = "cpu",
        *,
        coarse: str = "pooled",
        fine: str = "crops",
        dtype: str = "float32",
    ) -> None:
        """Loads vision tower, perceiver, first cross-attention and input embeddings.

        Args:
            name: hub name or local folder.
            device: torch device.
            coarse: "pooled" or "layer:K".
            fine: "crops", "patches" or "queries" (no detector: each latent is a region).
            dtype: "float32", "bf16" or "fp16", of the model; features are float32.

        Raises:
            DSAError: if it cannot be loaded or lacks weights.
        """
        super().__init__(name, coarse, fine)
        with loading("encoder", name):
            config = AutoConfig.from_pretrained(name)
            if fine == "queries" and not config.use_resampler:
                raise DSAError(f"{name!r} has no perceiver, so no queries; take patches or crops")
            config.num_hidden_layers = config.cross_layer_interval  # up to the first of them
            model = frozen(IdeficsForVisionText2Text, name, name, dtype, device, config=config)
            self._tokenizer: Any = load_tokenizer(name, name)
            processor = AutoImageProcessor.from_pretrained(name)
        vision = config.vision_config
        width = int(np.prod(patch_grid(vision))) * int(vision.embed_dim)
        self._adopt(model, processor, int(vision.image_size), width)
        self.dim = len(self.text(["a"])[0])

    @property
    def notes(self) -> Mapping[str, str]:
        """What "text", "coarse" and "fine" features are and why."""
        latents = "perceiver latents" if self._resamples else "patch tokens (it has no perceiver)"
        way = (
            "their mean through values and output of the first gated cross-attention, which is "
            "what a word that attends evenly is given"
        )
        coarse = f"the {latents} of the whole picture, {way}"
        if self._early_layer is not None:
            coarse = (
                f"the {latents} of layer {self._early_layer} of the vision transformer, {way}; the "
                "perceiver norms its input, so scales match, but knows the last layer alone"
            )
        fine = f"the {latents} of each detector region, cut out, {way}"
        if self.fine == "patches":
            fine = (
                f"the {latents} of the last layer's patch tokens inside each box, {way}; the "
                "vision transformer runs once a picture, which is squeezed to the square, and the "
                "perceiver is used to whole ones"
            )
        if self.fine == "queries":
            fine = (
                "each perceiver latent of the whole picture for itself, through values and output "
                "of the first gated cross-attention: what the model itself tells apart, without a "
                "detector"
            )
        return {"text": MEAN_NOTE, "coarse": coarse, "fine": fine}

    def text(self, texts: Sequence[str], batch: int = 512) -> NDArray[np.float32]:
        """Unit rows [len(texts), dim] float32: means of input embeddings."""
        embed = self._model.get_input_embeddings()
        return self._in_batches(
            texts, batch, lambda some: mean_embeddings(some, self._tokenizer, embed, self.device)
        )

    def _blocks(self) -> Any:
        return self._model.model.vision_model.encoder.layers

    def _grid(self) -> tuple[int, int]:
        return patch_grid(self._model.config.vision_config)

    def _tokens(self, values: Tensor) -> Tensor:
        tokens: Tensor = self._model.model.vision_model(pixel_values=values).last_hidden_state
        return tokens

    def _latents(self, tokens: Tensor) -> Tensor:
        """Patch tokens [n, T, H] as the perceiver resamples them, [n, L, H]."""
        core = self._model.model
        resampled: Tensor = core.perceiver_resampler(tokens) if self._resamples else tokens
        return resampled

    @property
    def _resamples(self) -> bool:
        return bool(self._model.config.use_resampler)

    def _added(self, latents: Tensor) -> Tensor:
        """What latents [..., H] add to a word that attends to them alone, [..., D] float32."""
        layer = self._model.model.gated_cross_attn_layers[0]
        attention = layer.cross_attn
        added: Tensor = attention.o_proj(attention.v_proj(latents)).float()
        gate = layer.act_cross_attn(layer.alpha_cross_attn.float()).reshape(-1)
        return added * gate if gate.any() else added  # a gate that was never trained is shut

    def _given(self, context: Tensor) -> Tensor:
        """What patch tokens [n, T, H] add to a word that attends evenly, [n, D] float32."""
        latents = self._latents(context)  # values and output are linear: the mean may come first
        return self._added(latents.float().mean(1).to(latents.dtype))

    def _queries(self, tokens: Tensor) -> Tensor:
        return self._added(self._latents(tokens))

    def _whole(self, tokens: Tensor) -> Tensor:
        return self._given(tokens)

    def _early(self, hidden: Tensor, tokens: Tensor) -> Tensor:
        return self._given(hidden)

    def _inside(
        self, tokens: Tensor, inside: NDArray[np.bool_], owner: NDArray[np.int64]
    ) -> Tensor:
        return attend_pool(self._given, tokens[:, 1:], inside, owner)
