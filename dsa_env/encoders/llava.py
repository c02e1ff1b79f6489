"""LLaVA: its vision tower through its projector, where its language model reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import (
    AutoConfig,
    AutoImageProcessor,
    LlavaForConditionalGeneration,
)

from dsa_env.encoders.base import Encoder, patch_grid
from dsa_env.encoders.dual import ClipEncoder
from dsa_env.encoders.loading import frozen, load_tokenizer, loading
from dsa_env.encoders.vision import mean_pool, tap
from dsa_env.encoders.words import MEAN_NOTE, mean_embeddings
from dsa_env.errors import DSAError

_TOWERS = ("clip_vision_model", "siglip_vision_model")
_SAME = 1e-3  # most mean relative difference of weights that are the same but for their dtype


@dataclass(frozen=True)
class _Seen:
    """One pass of the tower: what the projector reads [B, P, H], and the tower's own pooling."""

    patches: Tensor
    pooled: Tensor | None


class LlavaEncoder(Encoder):
    """LLaVA-1.5: fine features where its language model looks, coarse ones pooled or early.

    With `text="embeddings"` everything lies in the space of the language model's input
    embeddings: pictures through the projector, texts by their mean. With `text="clip:NAME"`
    everything lies in that CLIP's space: its text tower, and LLaVA's vision tower through CLIP's
    last norm and projection, which is sound because the tower *is* CLIP's; a CLIP whose tower
    has other weights is refused.
    """

    def __init__(
        self,
        name: str,
        device: str = "cpu",
        *,
        coarse: str = "pooled",
        fine: str = "crops",
        dtype: str = "float32",
        text: str = "embeddings",
    ) -> None:
        """Loads vision tower, projector and input embeddings; the language model stays on disk.

        Args:
            name: hub name or local folder.
            device: torch device.
            coarse: "pooled" or "layer:K".
            fine: "crops" or "patches".
            dtype: "float32", "bf16" or "fp16", of the model; features are float32.
            text: "embeddings", or "clip:NAME" for the text tower of the CLIP that the vision
                tower comes from.

        Raises:
            DSAError: if it cannot be loaded, or text and pictures would lie in different spaces.
        """
        super().__init__(name, coarse, fine)
        source, _, clip = text.partition(":")
        if (source, bool(clip)) not in (("embeddings", False), ("clip", True)):
            raise DSAError(
                f'Unknown text feature {text!r}. Available: "embeddings" (of the language model), '
                '"clip:NAME" (the CLIP whose vision tower this is).'
            )
        with loading("encoder", name):
            config = AutoConfig.from_pretrained(name)
            self._fits(config)
            config.text_config.num_hidden_layers = 0  # only its input embeddings are read
            model = frozen(LlavaForConditionalGeneration, name, name, dtype, device, config=config)
            self._tokenizer: Any = load_tokenizer(name, name)
            processor = AutoImageProcessor.from_pretrained(name)
        vision = config.vision_config
        width = int(np.prod(patch_grid(vision))) * int(config.text_config.hidden_size)
        self._adopt(model, processor, int(vision.image_size), width)
        self._dual = self._clip(clip, device, dtype) if clip else None
        self._clip_name = clip
        self.dim = len(self.text(["a"])[0])

    def _fits(self, config: Any) -> None:
        """Refuses variants whose tower or projector this encoder would misread."""
        tower = config.vision_config.model_type
        if tower not in _TOWERS:
            raise DSAError(
                f"the vision tower of {self.name!r} is a {tower!r}; choose a LLaVA with one of "
                f"{', '.join(_TOWERS)}"
            )
        if not isinstance(config.vision_feature_layer, int) and self._early_layer is not None:
            raise DSAError(
                f"the projector of {self.name!r} reads {len(config.vision_feature_layer)} layers "
                "at once, so one layer:K cannot go through it; use --coarse pooled"
            )

    @property
    def notes(self) -> Mapping[str, str]:
        """What "text", "coarse" and "fine" features are and why."""
        layer = self._model.config.vision_feature_layer
        way = (
            f"the last norm and the projection of CLIP {self._clip_name!r}"
            if self._dual
            else "the projector, into the space that the language model reads"
        )
        coarse = f"the mean of all patch tokens of vision layer {layer}, through {way}"
        if self._dual:
            coarse = f"the class token of the vision tower through {way}: CLIP's own embedding"
        if self._early_layer is not None:
            coarse = (
                f"the mean of vision layer {self._early_layer}'s patch tokens through {way}, "
                f"scaled to the mean norm of layer {layer}'s: early tokens are off what it was "
                "trained on, and alike in norm only"
            )
        seen = f"patch tokens of vision layer {layer} through {way}"
        fine = (
            f"the mean of the {seen}, inside each box: one pass a picture, which is squeezed to "
            "the square"
            if self.fine == "patches"
            else "each detector region, cut out with its surroundings and treated like the pooled "
            "whole picture"
        )
        if self._dual and self.fine == "patches":
            fine += "; CLIP trains its class token alone, so patch tokens align less with text"
        text = f"the text tower of CLIP {self._clip_name!r}, whose picture tower is LLaVA's"
        return {"text": text if self._dual else MEAN_NOTE, "coarse": coarse, "fine": fine}

    def text(self, texts: Sequence[str], batch: int = 512) -> NDArray[np.float32]:
        """Unit rows [len(texts), dim] float32, of the input embeddings or of CLIP's text tower."""
        if self._dual:
            return self._dual.text(texts, batch)
        embed = self._model.get_input_embeddings()
        return self._in_batches(
            texts, batch, lambda some: mean_embeddings(some, self._tokenizer, embed, self.device)
        )

    def _core(self) -> Any:
        return self._model.model

    def _tower(self) -> Any:
        """The vision transformer; some versions wrap it once more."""
        tower = self._core().vision_tower
        return getattr(tower, "vision_model", tower)

    def _blocks(self) -> Any:
        return self._tower().encoder.layers

    def _grid(self) -> tuple[int, int]:
        return patch_grid(self._model.config.vision_config)

    def _patches(self, hidden: Tensor) -> Tensor:
        """Without the class token, where the tower has one."""
        return hidden[:, hidden.shape[1] - int(np.prod(self._grid())) :]

    def _project(self, tokens: Tensor) -> Tensor:
        """Patch tokens [B, P, H] -> the space of the texts, [B, P, D]."""
        if self._dual:
            return self._dual.project(tokens)
        projected: Tensor = self._core().multi_modal_projector(tokens)
        return projected

    def _tokens(self, values: Tensor) -> _Seen:
        chosen = self._model.config.vision_feature_layer
        blocks = self._blocks()
        layers = [
            layer % (len(blocks) + 1) for layer in ([chosen] if isinstance(chosen, int) else chosen)
        ]
        with tap(blocks, layers) as seen:
            output = self._core().vision_tower(values)
        patches = torch.cat([self._patches(seen[layer]) for layer in layers], dim=-1)
        return _Seen(patches, output.pooler_output if self._dual else None)

    def _whole(self, tokens: _Seen) -> Tensor:
        if self._dual is not None and tokens.pooled is not None:
            return self._dual.head(tokens.pooled)
        return self._project(tokens.patches).float().mean(1)

    def _early(self, hidden: Tensor, tokens: _Seen) -> Tensor:
        early = self._patches(hidden)
        scale = _norm(tokens.patches) / _norm(early)
        return self._project((early.float() * scale).to(early.dtype)).float().mean(1)

    def _inside(self, tokens: _Seen, inside: NDArray[np.bool_], owner: NDArray[np.int64]) -> Tensor:
        return mean_pool(self._project(tokens.patches), inside, owner)

    def _clip(self, clip: str, device: str, dtype: str) -> ClipEncoder:
        """The CLIP whose vision tower this model's is.

        Raises:
            DSAError: if it is another one's.
        """
        with loading("text tower", clip):
            kind = AutoConfig.from_pretrained(clip).model_type
        if kind != "clip":
            raise DSAError(f'{clip!r} is a {kind!r} model; give text="clip:NAME" a CLIP model')
        dual = ClipEncoder(clip, device, dtype=dtype)
        theirs = dict(dual.tower().named_parameters())
        for place, ours in self._tower().named_parameters():
            if place not in theirs or not _same(ours, theirs[place]):
                raise DSAError(
                    f"the vision tower of {self.name!r} is not that of {clip!r} ({place} differs), "
                    "so its pictures and these texts lie in different spaces; give the CLIP it was "
                    'made from, or text="embeddings"'
                )
        return dual


def _same(one: Tensor, other: Tensor) -> bool:
    """Whether two weights are equal but for the rounding of half precision."""
    if one.shape != other.shape:
        return False
    one, other = one.float(), other.float()
    return bool((one - other).abs().mean() <= _SAME * other.abs().mean() + 1e-8)


def _norm(tokens: Tensor) -> Tensor:
    """The mean norm of each picture's tokens [B, P, H], as [B, 1, 1] float32."""
    norms: Tensor = tokens.float().norm(dim=-1)
    return norms.mean(1)[:, None, None]
