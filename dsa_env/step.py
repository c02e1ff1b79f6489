"""What goes into a step of the batched environment, checked, and what comes out of it."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dsa_env.curves.lookup import clip_actions
from dsa_env.errors import DSAError
from dsa_env.outcome import Outcome
from dsa_env.rewards import Terms

Judged = tuple[NDArray[Any], Terms, Outcome]
"""What the reward gives for an outcome, the reward's terms, and the outcome."""
FLOAT32 = np.dtype(np.float32)


class Judge(Protocol):
    """What says, when asked, what a step was worth and why; see `dsa_env.core.RetrievalCore`."""

    def judge(self, query: NDArray[np.int64], g: NDArray[np.float32]) -> Judged:
        """What queries [B] earn at g [B] in [0, 1]."""

    def info(self, raw: NDArray[Any], terms: Terms, outcome: Outcome) -> dict[str, Any]:
        """The info of what was judged: name -> [B] array."""


class Step:
    """What a step of B environments led to; what a trainer never looks at is made when asked for.

    Args:
        judge: asked for what is not known yet.
        query: [B].
        g: [B] in [0, 1].
        values: the rewards [B] or [B, m] float64.
        judged: what the rewards were given for, where it is known already.
    """

    __slots__ = ("_g", "_judge", "_judged", "_query", "values")

    def __init__(
        self,
        judge: Judge,
        query: NDArray[np.int64],
        g: NDArray[np.float32],
        values: NDArray[np.float64],
        judged: Judged | None = None,
    ) -> None:
        self._judge, self._g, self._judged = judge, g, judged
        self._query, self.values = query, values

    @property
    def judged(self) -> Judged:
        """What the reward gave (which `values` copies), its terms, and the outcome."""
        if self._judged is None:
            self._judged = self._judge.judge(self._query, self._g)
        return self._judged

    @property
    def outcome(self) -> Outcome:
        """What the rewards were given for."""
        return self.judged[2]

    def info(self) -> dict[str, Any]:
        """The info: name -> [B] array, ``reward_terms`` a dict of such; the same keys always."""
        return self._judge.info(*self.judged)


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
        return actions.ravel()
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
    if wrong:
        raise diverged(action)
    return g


def diverged(action: NDArray[np.float32]) -> DSAError:
    """The error for actions [B] of which one is NaN."""
    return DSAError(
        f"Action {np.isnan(action).argmax()} is NaN: the policy has diverged; lower its learning "
        "rate or check what it is fed."
    )
