"""The shapes an info takes: one environment's numbers, a vector environment's masked arrays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray


def first_info(info: dict[str, Any]) -> dict[str, Any]:
    """The info of the first environment of a batch, in plain Python numbers."""
    return {
        name: first_info(value) if isinstance(value, dict) else value[0].item()
        for name, value in info.items()
    }


def with_masks(info: dict[str, Any], n: int) -> dict[str, Any]:
    """Gymnasium's vector form: beside each key a mask ``_key`` [n] of who has it (all of them)."""
    masked: dict[str, Any] = {}
    masks = np.ones((len(info), n), dtype=np.bool_)
    for (name, value), mask in zip(info.items(), masks, strict=True):
        masked[name] = with_masks(value, n) if isinstance(value, dict) else value
        masked[f"_{name}"] = mask
    return masked


def unbatch(observation: dict[str, NDArray[Any]]) -> NDArray[np.object_]:
    """[n] object array with one observation dict an environment, as ``final_obs`` holds them."""
    n = len(next(iter(observation.values())))
    single = np.empty(n, dtype=object)
    for i in range(n):
        single[i] = {name: rows[i] for name, rows in observation.items()}
    return single


class LazyInfos(dict[str, Any]):
    """Infos whose entries are made when one is first asked for, ``"final_obs"`` apart.

    One dict per environment and step is what makes vector environments slow, and most trainers
    never look at them. In every other respect this is a plain dict, and it copies and pickles as
    one.

    Args:
        make: makes all entries but ``"final_obs"``.
        make_final: makes ``"final_obs"``; None where there is none.
        of: what both are called with; made so, no closure has to be.
    """

    __slots__ = ("_make", "_make_final", "_of")

    def __init__(
        self,
        make: Callable[..., dict[str, Any]],
        make_final: Callable[..., Any] | None = None,
        *of: Any,
    ) -> None:
        self._make: Callable[..., dict[str, Any]] | None = make
        self._make_final = make_final
        self._of = of

    def fill(self) -> None:
        """Make whatever was not made yet."""
        self._fill_entries()
        if self._make_final is not None:
            make, self._make_final = self._make_final, None
            dict.__setitem__(self, "final_obs", make(*self._of))

    def _fill_entries(self) -> None:
        if self._make is not None:
            make, self._make = self._make, None
            dict.update(self, make(*self._of))

    def __missing__(self, key: str) -> Any:
        if self._make is not None:
            self._fill_entries()
            return self[key]
        if key == "final_obs" and self._make_final is not None:
            self.fill()
            return self[key]
        raise KeyError(key)

    def __contains__(self, key: object) -> bool:
        self._fill_entries()
        return super().__contains__(key) or (key == "final_obs" and self._make_final is not None)

    def __setitem__(self, key: str, value: Any) -> None:
        self._fill_entries()
        if key == "final_obs":
            self._make_final = None
        super().__setitem__(key, value)

    def __reduce__(self) -> tuple[type[dict[str, Any]], tuple[dict[str, Any]]]:
        return dict, (dict(self),)


def _after_filling(name: str) -> Callable[..., Any]:
    plain = getattr(dict, name)

    def method(self: LazyInfos, *args: Any, **kwargs: Any) -> Any:
        self.fill()
        return plain(self, *args, **kwargs)

    method.__name__ = name
    return method


for _name in (
    *("__delitem__", "__eq__", "__ior__", "__iter__", "__len__", "__ne__", "__or__"),
    *("__repr__", "__reversed__", "__ror__", "copy", "get", "items", "keys", "pop", "popitem"),
    *("setdefault", "update", "values"),
):
    setattr(LazyInfos, _name, _after_filling(_name))
