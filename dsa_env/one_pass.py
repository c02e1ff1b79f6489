"""Episodes of one step each in one compiled pass: the fast path of `dsa_env.core`."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dsa_env.core import Observation, RetrievalCore
from dsa_env.curves.turn import earned, turn
from dsa_env.step import Step, diverged


class OnePass:
    """A core whose episodes have one step, so that what is observed next waits for no action.

    Does what the core's `step`, `outcome` and `observe` do, to the bit; make it with `of`.

    Args:
        core: with a horizon of 1 and outcomes kept as curves.
    """

    def __init__(self, core: RetrievalCore) -> None:
        self.core = core
        self.retrieval = core.retrieval
        curves = core.reward_curves
        self._known = curves is not None
        self._pieces: Any = None if curves is None else curves.pieces
        self._base: Any = None if curves is None else curves.base
        self._first: Any = None if curves is None else curves.first
        self._plain = core.observation == "features" and not core.ambiguity
        self._n = core.n_queries
        self._table = np.ascontiguousarray(core.retrieval.observation) if self._plain else None

    def __reduce__(self) -> tuple[type[OnePass], tuple[RetrievalCore]]:
        return OnePass, (self.core,)

    @classmethod
    def of(cls, core: RetrievalCore) -> OnePass | None:
        """The one pass of a core as it is now; None where there is none."""
        if core.horizon > 1 or core.retrieval.curves is None:
            return None
        return cls(core)

    def turn(
        self,
        query: NDArray[np.int64],
        action: NDArray[np.float32],
        key: NDArray[np.uint64],
        t: int,
    ) -> tuple[Step, NDArray[np.int64], Observation]:
        """A whole step of B episodes: act, be rewarded, draw the next queries, observe them.

        Args:
            query: [B] in [0, Q); not checked.
            action: [B] contiguous, drawn into [0, 1].
            key: of the environments' streams of queries, [B].
            t: how many queries the streams will have given, the next ones with them.

        Returns:
            The step, the next queries [B] and their observation.

        Raises:
            DSAError: an action is NaN, or the reward breaks its contract.
        """
        core = self.core
        void, g, values, following, seen = turn(
            self._pieces, self._base, self._first, self._table, query, action, key, t, self._n
        )
        if void:
            raise diverged(action)
        step = Step(core, query, g, values) if self._known else core.step(query, g)
        if self._plain:
            return step, following, self.retrieval.observed(seen)
        if core.observation == "index":
            return step, following, {"query": following.copy()}
        return step, following, core.observe(following)

    def single(self, query: int, g: float) -> tuple[Any, Step | None]:
        """The reward of one query at g in [0, 1] (a float32 number); the step, if one was made."""
        if self._known:
            return earned(self._pieces, self._base, self._first, query, g), None
        step = self.step_of_one(query, g)
        return float(step.values[0]) if step.values.ndim == 1 else step.values[0], step

    def step_of_one(self, query: int, g: float) -> Step:
        """The step of one query at g in [0, 1]."""
        return self.core.step(np.array([query]), np.array([g], dtype=np.float32))
