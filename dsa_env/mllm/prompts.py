"""Noticing the prompt of a call: which tokens a model is generating from."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor


class PromptWatch:
    """Remembers the prompt of a model's running call, until it is removed.

    A hook alone does not do: BLIP-2 generates without its own ``forward``, and without a cache
    ``forward`` sees the prompt grow. So ``generate`` is wrapped on the instance; `remove` takes
    the wrapper away again, and the class's own method shows.

    Attributes:
        ids: [B, n] token ids of the present call; None where it was given none.
        mask: [B, n] its attention mask, likewise.
    """

    def __init__(self, model: Any) -> None:
        self.ids: Tensor | None = None
        self.mask: Tensor | None = None
        self._model = model
        self._generating = False
        self._own = model.__dict__.get("generate")
        self._handle = model.register_forward_pre_hook(self._enter, with_kwargs=True)
        model.generate = self._watched(model.generate)

    def remove(self) -> None:
        """Leave the model as it was."""
        self._handle.remove()
        if self._own is None:
            self._model.__dict__.pop("generate", None)
        else:
            self._model.generate = self._own
        self.ids = self.mask = None

    def _watched(self, generate: Callable[..., Any]) -> Callable[..., Any]:
        signature = inspect.signature(generate)

        @functools.wraps(generate)
        def watched(*args: Any, **kwargs: Any) -> Any:
            self._remember(_given(signature, args, kwargs))
            self._generating = True
            try:
                return generate(*args, **kwargs)
            finally:
                self._generating = False

        return watched

    def _enter(self, model: Any, args: Any, kwargs: Any) -> None:
        if not self._generating:
            self._remember(_given(inspect.signature(model.forward), args, kwargs))

    def _remember(self, given: Mapping[str, Any]) -> None:
        ids = given.get("input_ids")
        self.ids = given.get("inputs") if ids is None else ids
        self.mask = given.get("attention_mask")


def _given(signature: inspect.Signature, args: Any, kwargs: Any) -> dict[str, Any]:
    """The arguments of a call by name, those of ``**kwargs`` among them."""
    bound = signature.bind_partial(*args, **kwargs).arguments
    named: dict[str, Any] = {}
    for name, value in bound.items():
        collects = signature.parameters[name].kind is inspect.Parameter.VAR_KEYWORD
        named |= value if collects else {name: value}
    return named
