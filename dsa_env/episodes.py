"""B episodes in lockstep on one core: which queries are drawn, and what a step changes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dsa_env.core import START, Observation, RetrievalCore, Step
from dsa_env.curves.jit import compiled
from dsa_env.errors import DSAError, unknown

GAMMA = 0x9E3779B97F4A7C15
KEY_LIMIT = 2**64 - 1


@compiled
def splitmix64(state: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The SplitMix64 output function [B], elementwise: a bijection that scatters nearby states.

    Steele, Lea & Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014; the
    constants are those of Vigna's reference implementation (splitmix64.c). With
    ``state = key + t * GAMMA`` it yields the t-th number of the stream of a key, so the numbers of
    many streams come without a generator for each.
    """
    output = np.empty_like(state)
    for b in range(len(state)):
        mixed = (state[b] ^ (state[b] >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        output[b] = mixed ^ (mixed >> np.uint64(31))
    return output


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
        self.elapsed = -1
        self._restart(np.zeros(batch, dtype=np.int64))

    def seed(self, keys: list[int]) -> None:
        """Start the streams of queries anew from these keys, one an environment."""
        self.key = np.array(keys, dtype=np.uint64)
        self.drawn = 0

    def begin(self, options: dict[str, Any] | None = None) -> dict[str, Any]:
        """Start new episodes; ``options={"query": i}`` (or one i each) says on which queries.

        Returns:
            The info: ``query`` [B] int64.
        """
        fixed = self._chosen(options or {})
        self.drawn += 1
        step = np.uint64(int(self.drawn) * GAMMA & KEY_LIMIT)
        drawn = splitmix64(self.key + step) % np.uint64(self.core.n_queries)
        self._restart(drawn.astype(np.int64) if fixed is None else fixed)
        self.elapsed = 0
        return {"query": self.query.copy()}

    def observe(self) -> Observation:
        """The observation of the present state, fresh arrays [B, ...]."""
        return self.core.observe(self.query, self.granularity, self.retrieved)

    def advance(self, g: NDArray[np.float32]) -> tuple[Step, bool]:
        """Use granularity g [B]; returns the step and whether the episodes have ended."""
        if self.elapsed < 0:
            raise DSAError("No episode is running: call reset() before step().")
        if self.elapsed >= self.core.horizon:
            raise DSAError(
                f"The episode ended after its {self.core.horizon} step(s): call reset() before "
                "step()."
            )
        step = self.core.step(self.query, g)
        self.granularity, self.retrieved = g, step.outcome.retrieved
        self.elapsed += 1
        return step, self.elapsed >= self.core.horizon

    def _restart(self, query: NDArray[np.int64]) -> None:
        self.query = query
        self.granularity = np.full(self.batch, START)
        self.retrieved = np.full(self.batch, -1, dtype=np.int64)

    def _chosen(self, options: dict[str, Any]) -> NDArray[np.int64] | None:
        """The queries that the reset options name, or None."""
        for name in options:
            if name != "query":
                raise unknown("reset option", name, ["query"])
        if options.get("query") is None:
            return None
        given = np.asarray(options["query"])
        if given.dtype.kind not in "iu" or given.shape not in ((), (self.batch,)):
            raise DSAError(
                'options["query"] must be one whole number'
                + (f", or {self.batch} of them" if self.batch > 1 else "")
                + f", got {options['query']!r}."
            )
        if given.min() < 0 or given.max() >= self.core.n_queries:
            raise DSAError(
                f'options["query"] must lie in 0..{self.core.n_queries - 1}, the queries of split '
                f"{self.core.split!r}, got {options['query']!r}."
            )
        return np.broadcast_to(given, (self.batch,)).astype(np.int64)
