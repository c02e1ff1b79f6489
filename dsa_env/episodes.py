"""B episodes in lockstep on one core: which queries are drawn, and what a step changes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dsa_env.core import START, Observation, RetrievalCore
from dsa_env.curves.turn import draw
from dsa_env.errors import DSAError, unknown
from dsa_env.one_pass import OnePass
from dsa_env.step import Step, clip

KEY_LIMIT = 2**64 - 1

Last = tuple[NDArray[np.int64], NDArray[np.float32] | None, NDArray[np.integer] | None]
"""What `RetrievalCore.observe` takes to show episodes that have ended as they were last seen."""


def draw_key(rng: np.random.Generator) -> int:
    """The key of one environment's stream of queries, from its own generator."""
    return int(rng.integers(KEY_LIMIT, dtype=np.uint64, endpoint=True))


class Episodes:
    """The state of B episodes of one core that start and end together.

    Environment i draws its t-th query from its own key alone, so B environments side by side draw
    what they would have drawn one by one.

    Attributes:
        query: [B] int64, the queries of the running episodes.
        granularity: [B] float32, the g last used; 0.5 before the first action.
        retrieved: [B] int64, the bank ids of the items on top; -1 before the first action.
        elapsed: steps since the start; -1 before the first `begin`.
    """

    def __init__(self, core: RetrievalCore, batch: int) -> None:
        self.core = core
        self.batch = batch
        self.key = np.zeros(batch, dtype=np.uint64)
        self.drawn = 0
        self._before = np.full(batch, START), np.full(batch, -1, dtype=np.int64)
        self.query = np.zeros(batch, dtype=np.int64)
        self._restart(self.query)
        self.elapsed = -1
        self._pass: OnePass | None = None

    def seed(self, keys: list[int]) -> None:
        """Start the streams of queries anew from these keys, one an environment."""
        self.key = np.array(keys, dtype=np.uint64)
        self.drawn = 0

    def begin(self, options: dict[str, Any] | None = None) -> dict[str, Any]:
        """Start new episodes; ``options={"query": i}`` (or one i each) says on which queries.

        Returns:
            The info: ``query`` [B] int64.
        """
        fixed = chosen_queries(self.core, self.batch, options or {})
        self.drawn += 1
        drawn = draw(self.key, self.drawn, self.core.n_queries)
        self._restart(drawn if fixed is None else fixed)
        return {"query": self.query.copy()}

    def observe(self) -> Observation:
        """The observation of the present state, fresh arrays [B, ...]."""
        return self.core.observe(self.query, self.granularity, self.retrieved)

    def advance(self, g: NDArray[np.float32]) -> tuple[Step, bool]:
        """Use granularity g [B]; returns the step and whether the episodes have ended."""
        self._require_running()
        step = self.core.step(self.query, g)
        self.granularity, self.retrieved = g, step.outcome.retrieved
        self.elapsed += 1
        return step, self.elapsed >= self.core.horizon

    def turn(self, action: NDArray[np.float32]) -> tuple[Step, Last | None, Observation]:
        """`advance`, `begin` where the episodes have ended, and `observe`, in one call.

        Args:
            action: [B] contiguous float32, drawn into [0, 1].

        Returns:
            The step; what was last seen of the episodes where they ended (else None); the
            observation.

        Raises:
            DSAError: an action is no number, or no episode is running.
        """
        core, query, one_pass = self.core, self.query, self._pass
        if one_pass is None or one_pass.retrieval is not core.retrieval:
            one_pass = self._pass = OnePass.of(core)
        if one_pass is None:
            return self._plain_turn(clip(action))
        if self.elapsed != 0:
            raise not_running(core, begun=False)
        step, following, seen = one_pass.turn(query, action, self.key, self.drawn + 1)
        self.drawn += 1
        self.query = following  # the rest is as it was begun
        return step, (query, None, None), seen

    def _plain_turn(self, g: NDArray[np.float32]) -> tuple[Step, Last | None, Observation]:
        step, ended = self.advance(g)
        if not ended:
            return step, None, self.observe()
        last = (self.query, self.granularity, self.retrieved)
        self.begin()
        return step, last, self.observe()

    def _require_running(self) -> None:
        if not 0 <= self.elapsed < self.core.horizon:
            raise not_running(self.core, self.elapsed >= 0)

    def _restart(self, query: NDArray[np.int64]) -> None:
        self.query = query
        self.granularity, self.retrieved = self._before
        self.elapsed = 0


def not_running(core: RetrievalCore, begun: bool) -> DSAError:
    """The error for a step where no episode is running."""
    if not begun:
        return DSAError("No episode is running: call reset() before step().")
    return DSAError(
        f"The episode ended after its {core.horizon} step(s): call reset() before step()."
    )


def chosen_queries(
    core: RetrievalCore, batch: int, options: dict[str, Any]
) -> NDArray[np.int64] | None:
    """The queries [B] that the reset options name, or None.

    Raises:
        DSAError: another option, or queries that do not fit.
    """
    for name in options:
        if name != "query":
            raise unknown("reset option", name, ["query"])
    if options.get("query") is None:
        return None
    given = np.asarray(options["query"])
    if given.dtype.kind not in "iu" or given.shape not in ((), (batch,)):
        raise DSAError(
            'options["query"] must be one whole number'
            + (f", or {batch} of them" if batch > 1 else "")
            + f", got {options['query']!r}."
        )
    if given.min() < 0 or given.max() >= core.n_queries:
        raise DSAError(
            f'options["query"] must lie in 0..{core.n_queries - 1}, the queries of split '
            f"{core.split!r}, got {options['query']!r}."
        )
    return np.broadcast_to(given, (batch,)).astype(np.int64)
