"""Attaching: while it lasts, the model reads blended picture tokens; afterwards nothing is left."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Self
from weakref import WeakSet

import torch
from torch import Tensor, nn

from dsa_env.controller import GranularityController
from dsa_env.encoders.vision import parse_coarse, resolve_layer
from dsa_env.errors import DSAError
from dsa_env.mllm.bridges import find_bridge
from dsa_env.mllm.features import picture_features, prompt_features
from dsa_env.mllm.prompts import PromptWatch

Granularity = float | Sequence[float] | Tensor | GranularityController | Callable[..., Tensor]

_attached: WeakSet[nn.Module] = WeakSet()


class Attachment:
    """Forward hooks that blend a model's picture tokens; made by `attach`.

    Attributes:
        granularity: the g of every picture [N] float32 at the last use; None before.
    """

    def __init__(self, model: Any, granularity: Granularity, coarse: str, copies: int = 1) -> None:
        self._bridge = find_bridge(model)
        if model in _attached:
            raise DSAError("A controller is attached to this model already; detach it first.")
        layer = parse_coarse(coarse)
        blocks = self._bridge.blocks
        self._layer = None if layer is None else resolve_layer(layer, len(blocks), "this model")
        self._wanted = _checked(granularity)
        self._copies = copies
        self._early: Tensor | None = None
        self._watch: PromptWatch | None = None
        self.granularity: Tensor | None = None
        handles = [self._bridge.module.register_forward_hook(self._blend)]
        if self._layer == 0:
            handles.append(blocks[0].register_forward_pre_hook(self._enter, with_kwargs=True))
        elif self._layer is not None:
            handles.append(blocks[self._layer - 1].register_forward_hook(self._leave))
        if copies > 1:
            tower = self._bridge.tower
            handles.append(tower.register_forward_pre_hook(self._once, with_kwargs=True))
        self._handles = handles
        self._model = model
        if isinstance(self._wanted, GranularityController):
            self._watch = PromptWatch(model)
        _attached.add(model)

    def detach(self) -> None:
        """Take all hooks away; the model is what it was, its weights were never touched."""
        for handle in self._handles:
            handle.remove()
        self._handles = []
        self._early = None
        if self._watch is not None:
            self._watch.remove()
            self._watch = None
        _attached.discard(self._model)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.detach()

    def _once(self, module: Any, args: Any, kwargs: Any) -> Any:
        """Every picture but once, of those that stand `copies` times in a row."""
        if args:
            return (args[0][:: self._copies], *args[1:]), kwargs
        return args, {**kwargs, "pixel_values": kwargs["pixel_values"][:: self._copies]}

    def _enter(self, module: Any, args: Any, kwargs: Any) -> None:
        self._early = args[0] if args else kwargs["hidden_states"]

    def _leave(self, module: Any, args: Any, output: Any) -> None:
        self._early = output[0] if isinstance(output, tuple) else output

    def _blend(self, module: nn.Module, args: Any, output: Any) -> Any:
        """Replace the native tokens, or those inside an output object, by the blend."""
        if not isinstance(output, Tensor):
            output.last_hidden_state = self._blend(module, args, output.last_hidden_state)
            return output
        coarse = self._coarse(output, args[0] if args else None)
        fine, coarse = (each.repeat_interleave(self._copies, dim=0) for each in (output, coarse))
        g = self._granularity(fine)
        self.granularity = g.detach().float().cpu()
        weight = g.to(fine.device, torch.float32)[:, None, None]
        return (weight * fine.float() + (1 - weight) * coarse.float()).to(fine.dtype)

    def _coarse(self, fine: Tensor, fed: Tensor | None) -> Tensor:
        """The coarse tokens [N, T, D], or [N, 1, D] for all places."""
        if self._layer is None:
            return fine.float().mean(dim=1, keepdim=True)
        assert self._early is not None
        early, self._early = self._early, None
        return self._bridge.early(early, fed)

    def _granularity(self, fine: Tensor) -> Tensor:
        """G [N] of every picture; a sample's g serves all its pictures and beams."""
        pictures, wanted = len(fine), self._wanted
        if isinstance(wanted, GranularityController):
            found = self._decide(wanted, fine)
        else:
            found = wanted(fine) if callable(wanted) else wanted
        found = _checked(found)
        assert isinstance(found, Tensor)
        if len(found) == 0 or pictures % len(found):
            raise DSAError(
                f"{len(found)} granularities do not fit {pictures} pictures; give one number, or "
                "one per sample of the batch."
            )
        return found.repeat_interleave(pictures // len(found))

    @torch.no_grad()
    def _decide(self, controller: GranularityController, fine: Tensor) -> Tensor:
        """The controller's g [N] of pictures, from what the model itself knows of them."""
        assert self._watch is not None
        features = {}
        if "text" in controller.inputs:
            features["text"] = _for_pictures(self._prompts(fine), len(fine))
        if "image" in controller.inputs:
            features["image"] = picture_features(fine)
        place = controller.mean.device
        chosen: Tensor = controller(**{name: row.to(place) for name, row in features.items()})
        return chosen

    def _prompts(self, fine: Tensor) -> Tensor:
        """The features [B, D] of the prompts of the running call; zeros where it has none."""
        assert self._watch is not None
        if self._watch.ids is None:
            return torch.zeros(1, self._bridge.widths["text"], device=fine.device)
        return prompt_features(self._model, self._watch.ids, self._watch.mask)


def _for_pictures(prompts: Tensor, pictures: int) -> Tensor:
    """The features of each picture's prompt [N, D]; a prompt's pictures and beams share them."""
    if pictures % len(prompts):
        raise DSAError(
            f"{len(prompts)} prompts do not fit {pictures} pictures; give every prompt of a batch "
            "as many pictures, or one g per sample."
        )
    return prompts.repeat_interleave(pictures // len(prompts), dim=0)


def attach(
    model: Any,
    granularity: Granularity,
    *,
    coarse: str = "pooled",
    text: Tensor | None = None,
    image: Tensor | None = None,
    copies: int = 1,
) -> Attachment:
    """Let a frozen model read ``V' = g V_fine + (1 - g) V_coarse`` in place of its picture tokens.

    V_fine are the model's own tokens, V_coarse a scene-level version of the same shape, so the
    number of tokens does not change and g = 1 is the native model. The blend is computed in
    float32, whatever the model's dtype. Works in every call of the model, ``generate`` with beams
    or sampling included, until `Attachment.detach`, or the end of a ``with`` block::

        with attach(model, controller):
            model.generate(**inputs)

    A controller that was trained in ``DSA/Captioning-v0`` with this model reads the model's own
    features of prompt and picture (`dsa_env.mllm.features`), which are computed on the way. One
    that was trained on other features (of a bank, say) is given them.

    Args:
        model: a ``LlavaForConditionalGeneration``, ``Blip2ForConditionalGeneration`` or
            ``IdeficsForVisionText2Text`` of transformers.
        granularity: a number in [0, 1]; one per sample of the batch [B]; a controller; or a
            function from the fine tokens [N, T, D] of the pictures to g [N].
        coarse: ``"pooled"`` (the mean of a picture's tokens, at every place) or ``"layer:K"`` (the
            hidden states of vision layer K sent the way of the native ones; 0 is the patch
            embedding).
        text: features [B, Dt] of the samples' texts, for a controller that was trained on others
            than the model's own.
        image: features [B, Di] of their pictures, likewise.
        copies: how often in a row each picture stands in a batch; it is looked at once, however
            many granularities or prompts of one length it is read with. Not for beams.

    Raises:
        DSAError: a model of another class, a granularity out of range, a controller of other
            features than it is given, an attachment on top of another.
    """
    given = {name: value for name, value in (("text", text), ("image", image)) if value is not None}
    if isinstance(granularity, GranularityController):
        if given:
            granularity = _decide(granularity, given)
        else:
            _check_own(model, granularity)
    elif given:
        raise DSAError("Features are for a controller; leave text and image out for a given g.")
    return Attachment(model, granularity, coarse, copies)


def _check_own(model: Any, controller: GranularityController) -> None:
    """Whether a controller reads what the model itself knows."""
    own = find_bridge(model).widths
    if {name: own.get(name) for name in controller.inputs} != controller.inputs:
        told = ", ".join(f"{name} [{width}]" for name, width in controller.inputs.items())
        raise DSAError(
            f"The controller reads {told}, but the model's own features are text [{own['text']}] "
            f"and image [{own['image']}]; attach one that was trained in DSA/Captioning-v0 with "
            "this model, or give the features of text and image that it was trained on."
        )


def _decide(controller: GranularityController, given: dict[str, Tensor]) -> Tensor:
    """The controller's g [B] for the given features."""
    missing = [name for name in controller.inputs if name not in given]
    if missing:
        raise DSAError(
            f"The controller reads {' and '.join(controller.inputs)}; give the features of "
            f"{' and '.join(missing)} that it was trained on."
        )
    features = {name: given[name] for name in controller.inputs}
    with torch.no_grad():
        chosen: Tensor = controller(**features)
    return chosen


def _checked(granularity: Any) -> Any:
    """A number or numbers as a tensor [B] in [0, 1]; what can be called is left alone."""
    if callable(granularity) and not isinstance(granularity, Tensor):
        return granularity
    try:
        g = torch.as_tensor(granularity, dtype=torch.float32)
    except (TypeError, ValueError, RuntimeError):
        raise DSAError(
            f"A granularity is a number in [0, 1] or one per sample, got {granularity!r}."
        ) from None
    if g.ndim > 1:
        raise DSAError(f"Granularities must be one number per sample, got shape {tuple(g.shape)}.")
    if not ((g >= 0) & (g <= 1)).all():
        raise DSAError(f"Granularities must lie in [0, 1], got {g.reshape(-1).tolist()[:8]}.")
    return g.reshape(-1)
