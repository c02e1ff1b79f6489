"""Where each family hands picture tokens to its language model, and a coarse version of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, nn

from dsa_env.errors import DSAError


class Bridge(ABC):
    """The last module that picture tokens pass before the language model reads them.

    Its native output is the fine view. A coarse one of the same shape comes from an early layer of
    the vision transformer, sent the same way.

    Attributes:
        model: the generating model.
    """

    def __init__(self, model: Any) -> None:
        self.model = model

    @property
    @abstractmethod
    def module(self) -> nn.Module:
        """What is hooked; its output, or its ``last_hidden_state``, is the tokens [N, T, D]."""

    @property
    @abstractmethod
    def tower(self) -> nn.Module:
        """The vision transformer, as it is called with pictures."""

    @property
    @abstractmethod
    def blocks(self) -> Any:
        """The layers of the vision transformer."""

    @property
    @abstractmethod
    def width(self) -> int:
        """D, the length of a token."""

    @property
    def widths(self) -> dict[str, int]:
        """How many features `dsa_env.mllm.features` makes of a prompt and of a picture."""
        words = int(self.model.get_input_embeddings().weight.shape[1])
        return {"text": words, "image": 2 * self.width}

    @abstractmethod
    def look(self, pixels: Tensor) -> Any:
        """Send pictures through `module`, as the model itself does."""

    @torch.no_grad()
    def tokens(self, pixels: Tensor) -> Tensor:
        """The native tokens [N, T, D] of pictures, as their processor made them."""
        seen: list[Any] = []
        handle = self.module.register_forward_hook(lambda module, args, out: seen.append(out))
        try:
            self.look(pixels)
        finally:
            handle.remove()
        found: Tensor = seen[0] if isinstance(seen[0], Tensor) else seen[0].last_hidden_state
        return found

    @abstractmethod
    def early(self, hidden: Tensor, fed: Tensor | None) -> Tensor:
        """Tokens [N, T, D] of an early layer's hidden states [N, P, H].

        Args:
            hidden: what left that layer.
            fed: what the module was given [N, P', H'], to match its scale; None where unknown.
        """


class LlavaBridge(Bridge):
    """LLaVA: the projector, fed with the patch tokens of one vision layer."""

    @property
    def module(self) -> nn.Module:
        """The multimodal projector."""
        module: nn.Module = self.model.model.multi_modal_projector
        return module

    @property
    def tower(self) -> nn.Module:
        """The vision tower."""
        tower: nn.Module = self.model.model.vision_tower
        return tower

    @property
    def blocks(self) -> Any:
        """The vision tower's layers; some versions wrap the tower once more."""
        tower: Any = self.tower
        return getattr(tower, "vision_model", tower).encoder.layers

    @property
    def width(self) -> int:
        """That of the language model."""
        return int(self.model.config.get_text_config().hidden_size)

    def look(self, pixels: Tensor) -> Any:
        """[N, 3, H, W] through the vision tower and the projector."""
        return self.model.model.get_image_features(pixels)

    def early(self, hidden: Tensor, fed: Tensor | None) -> Tensor:
        """Through the projector, at the mean norm of what it was trained on.

        Early tokens are off the projector's training distribution all the same.
        """
        assert fed is not None
        if not isinstance(self.model.config.vision_feature_layer, int):
            raise DSAError(
                "this model's projector reads several vision layers at once, so one early layer "
                'cannot take their place; use coarse="pooled"'
            )
        patches = hidden[:, hidden.shape[1] - fed.shape[1] :]
        scale = fed.float().norm(dim=-1).mean(1) / patches.float().norm(dim=-1).mean(1)
        tokens: Tensor = self.module.forward((patches.float() * scale[:, None, None]).to(fed.dtype))
        return tokens


class Blip2Bridge(Bridge):
    """BLIP-2: the projection of the Q-Former's queries."""

    @property
    def module(self) -> nn.Module:
        """The language projection."""
        module: nn.Module = self.model.language_projection
        return module

    @property
    def tower(self) -> nn.Module:
        """The vision transformer."""
        tower: nn.Module = self.model.vision_model
        return tower

    @property
    def blocks(self) -> Any:
        """The vision transformer's layers."""
        return self.model.vision_model.encoder.layers

    @property
    def width(self) -> int:
        """That of the language model."""
        return int(self.module.out_features)  # type: ignore[arg-type]

    def look(self, pixels: Tensor) -> Any:
        """[N, 3, H, W] through the vision transformer, the Q-Former and the projection."""
        return self.model.get_image_features(pixels)

    def early(self, hidden: Tensor, fed: Tensor | None) -> Tensor:
        """The queries' findings about that layer, whose scale the last layer norm matches."""
        states = self.model.vision_model.post_layernorm(hidden)
        found = self.model.qformer(
            query_embeds=self.model.query_tokens.expand(len(states), -1, -1),
            encoder_hidden_states=states,
            encoder_attention_mask=torch.ones(
                states.shape[:2], dtype=torch.long, device=states.device
            ),
        ).last_hidden_state
        tokens: Tensor = self.module.forward(found.to(hidden.dtype))
        return tokens


class IdeficsBridge(Bridge):
    """IDEFICS, the open Flamingo: the perceiver; without one, the vision transformer itself."""

    @property
    def module(self) -> nn.Module:
        """The perceiver resampler or the vision transformer."""
        core = self.model.model
        resamples = self.model.config.use_resampler
        module: nn.Module = core.perceiver_resampler if resamples else core.vision_model
        return module

    @property
    def tower(self) -> nn.Module:
        """The vision transformer."""
        tower: nn.Module = self.model.model.vision_model
        return tower

    @property
    def blocks(self) -> Any:
        """The vision transformer's layers."""
        return self.model.model.vision_model.encoder.layers

    @property
    def width(self) -> int:
        """That of the vision transformer."""
        return int(self.model.config.vision_config.embed_dim)

    def look(self, pixels: Tensor) -> Any:
        """[B, n, 3, H, W] through the vision transformer and the perceiver."""
        core = self.model.model
        states = core.vision_model(pixel_values=pixels.flatten(0, 1)).last_hidden_state
        return self.module(states) if self.model.config.use_resampler else states

    def early(self, hidden: Tensor, fed: Tensor | None) -> Tensor:
        """The latents about that layer; the perceiver norms what it is given."""
        if not self.model.config.use_resampler:
            return hidden
        tokens: Tensor = self.module.forward(hidden)
        return tokens


BRIDGES: dict[str, type[Bridge]] = {
    "LlavaForConditionalGeneration": LlavaBridge,
    "Blip2ForConditionalGeneration": Blip2Bridge,
    "IdeficsForVisionText2Text": IdeficsBridge,
}
"""The bridge of each transformers class that a controller can be attached to."""


def find_bridge(model: Any) -> Bridge:
    """The bridge of a model.

    Raises:
        DSAError: for a class without one.
    """
    for kind in type(model).__mro__:
        if kind.__name__ in BRIDGES:
            return BRIDGES[kind.__name__](model)
    raise DSAError(
        f"No controller can be attached to a {type(model).__name__}; give one of "
        f"{', '.join(BRIDGES)}."
    )
