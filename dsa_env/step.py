"""What goes into a step of the batched environment, checked, and what comes out of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dsa_env.curves.lookup import clip_actions
from dsa_env.errors import DSAError
from dsa_env.outcome import Outcome

FLOAT32 = np.dtype(np.float32)


class Step:
    """What a step of B environments led to; what a trainer never looks at is made when asked for.

    Args:
        values: see below.
        make_outcome: makes the outcome.
        make_info: makes the info.

    Attributes:
        values: the rewards [B] or [B, m] float64.
        info: makes the info: name -> [B] array with the same keys every time.
    """

    __slots__ = ("_made", "_make_outcome", "info", "values")

    def __init__(
        self,
        values: NDArray[np.float64],
        make_outcome: Callable[[], Outcome],
        make_info: Callable[[], dict[str, Any]],
    ) -> None:
        self.values = values
        self._make_outcome = make_outcome
        self.info = make_info
        self._made: Outcome | None = None

    @property
    def outcome(self) -> Outcome:
        """What the rewards were given for."""
        if self._made is None:
            self._made = self._make_outcome()
        return self._made


def check_actions(actions: ArrayLike, shapes: tuple[tuple[int, ...], ...]) -> NDArray[np.float32]:
    """Turn actions of one of the `shapes` (the first is the space's) into g [B] in [0, 1].

    Out-of-range actions are clipped, as a Gaussian policy produces them.

    Raises:
        DSAError: wrong shape, not numbers, or NaN.
    """
    return clip(flat_actions(actions, shapes))


def flat_actions(actions: ArrayLike, shapes: tuple[tuple[int, ...], ...]) -> NDArray[np.float32]:
    """`check_actions` without the clipping, and without looking for NaN: [B] contiguous float32."""
    if type(actions) is np.ndarray and actions.dtype is FLOAT32 and actions.shape == shapes[0]:
        return np.ascontiguousarray(actions).reshape(-1)
    try:
        array = np.asarray(actions, dtype=np.float32)
    except (TypeError, ValueError):
        raise DSAError(f"Actions must be numbers of shape {shapes[0]}, got {actions!r}.") from None
    if array.shape not in shapes:
        raise DSAError(
            f"Expected actions of shape {shapes[0]}, the granularity g in [0, 1], got shape "
            f"{array.shape}; reshape them."
        )
    return np.ascontiguousarray(array.reshape(-1))


def clip(action: NDArray[np.float32]) -> NDArray[np.float32]:
    """Actions [B] drawn into [0, 1].

    Raises:
        DSAError: one of them is NaN.
    """
    g, wrong = clip_actions(action)
    if wrong >= 0:
        raise diverged(wrong)
    return g


def diverged(place: int) -> DSAError:
    """The error for an action that is NaN."""
    return DSAError(
        f"Action {place} is NaN: the policy has diverged; lower its learning rate or check "
        "what it is fed."
    )
