"""Episodes of one step each in one compiled pass: the fast path of `dsa_env.core`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dsa_env.core import Observation, RetrievalCore
from dsa_env.curves.turn import settle, turn
from dsa_env.outcome import Outcome
from dsa_env.rewards import ClippedReward, ReciprocalRankReward
from dsa_env.step import Step, diverged

Maker = Callable[[], dict[str, Any]]


class OnePass:
    """A core whose episodes have one step, so that what is observed next waits for no action.

    Does what the core's `step`, `outcome` and `observe` do, to the bit; make it with `of`.

    Args:
        core: with a horizon of 1 and outcomes kept as curves.
    """

    def __init__(self, core: RetrievalCore) -> None:
        self.core = core
        self.retrieval = core.retrieval
        curves = core.retrieval.curves
        assert curves is not None
        self._packed = curves.records, curves.first
        self._weights = reward_weights(core.reward)
        self._known = len(self._weights) > 0
        self._plain = core.observation == "features" and not core.ambiguity
        tables = (core.retrieval.text_observation, core.retrieval.image_observation)
        self._tables: tuple[Any, Any] = (None, None)
        if self._plain:
            self._tables = tuple(np.ascontiguousarray(table) for table in tables)  # type: ignore[assignment]

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
        wrong, g, segment, values, following, text, image = turn(
            *self._packed, *self._tables, query, action, key, t, core.k, self._weights
        )
        if wrong >= 0:
            raise diverged(wrong)
        if self._known:
            step = Step(
                values,
                lambda: self._outcome(query, g, segment),
                lambda: core.judge(self._outcome(query, g, segment)).info(),
            )
        else:
            step = core.judge(self._outcome(query, g, segment))
        if self._plain:
            return step, following, {"text": text, "image": image}
        if core.observation == "index":
            return step, following, {"query": following.copy()}
        return step, following, core.observe(following)

    def single(self, query: int, g: float) -> tuple[Any, Maker]:
        """The reward of one query at g in [0, 1] (a float32 number), and what makes its info."""
        core = self.core
        if self._known:
            value, segment = settle(*self._packed, query, g, core.k, self._weights)
            return value, lambda: core.judge(
                self._outcome(np.array([query]), np.array([g], np.float32), np.array([segment]))
            ).info()
        step = core.step(np.array([query]), np.array([g], dtype=np.float32))
        return float(step.values[0]) if step.values.ndim == 1 else step.values[0], step.info

    def _outcome(
        self, query: NDArray[np.int64], g: NDArray[np.float32], segment: NDArray[np.int64]
    ) -> Outcome:
        """The outcome of granularities [B] that lie in these segments [B]."""
        found = self._packed[0][segment]
        rank, severity, item = (found[name].copy() for name in ("rank", "severity", "item"))
        recall = (rank <= self.core.k).astype(np.float32)
        return Outcome(query, g, rank, recall, severity, item, self.core.k)


def reward_weights(reward: Any) -> NDArray[np.float32]:
    """A built-in reward as `dsa_env.curves.turn.turn` computes it, [5]; [0] for any other."""
    if type(reward) not in (ClippedReward, ReciprocalRankReward):
        return np.empty(0, dtype=np.float32)
    kind = float(type(reward) is ReciprocalRankReward)
    given = [reward.alpha, reward.beta, reward.low, reward.high, kind]
    return np.array(given, dtype=np.float32)
