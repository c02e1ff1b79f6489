"""One environment's episodes of one step, drawn ahead: what `Episodes` of a batch of one does."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dsa_env.core import Observation, RetrievalCore
from dsa_env.curves.turn import GAMMA, draw
from dsa_env.episodes import chosen_queries, not_running
from dsa_env.infos import LazyInfos, first_info
from dsa_env.one_pass import OnePass
from dsa_env.step import FLOAT32, Step, check_actions, diverged

AHEAD = 256
"""Episodes that are drawn and gathered at once; one at a time, calling numpy costs more than it."""


class Solo:
    """One environment, of a core whose episodes have one step.

    Args:
        core: with a horizon of 1.

    Attributes:
        query: of the running or just ended episode.
        granularity: the g that ended it; None before.
    """

    def __init__(self, core: RetrievalCore) -> None:
        self.core = core
        self.query = 0
        self.granularity: float | None = None
        self._running = self._begun = False
        self._pass: OnePass | None = None
        self.seed(0)

    def seed(self, key: int) -> None:
        """Start the stream of queries anew from this key."""
        self._key, self._drawn = key, 0
        self._waiting: list[tuple[int, Observation, Observation]] = []
        self._last: Observation = {}

    def begin(self, options: dict[str, Any] | None = None) -> tuple[Observation, dict[str, Any]]:
        """Start an episode; ``options={"query": i}`` says on which query."""
        fixed = None if not options else chosen_queries(self.core, 1, options)
        if not self._waiting:
            self._draw()
        self.query, seen, self._last = self._waiting.pop()
        if fixed is not None:
            self.query = int(fixed[0])
            seen, self._last = (rows_of(self.core.observe(fixed))[0] for _ in range(2))
        self.granularity = None
        self._running = self._begun = True
        return seen, {"query": self.query}

    def advance(self, action: Any) -> tuple[Observation, Any, dict[str, Any]]:
        """Take the action, drawn into [0, 1]; returns the observation, the reward and the info."""
        if not self._running:
            raise not_running(self.core, self._begun)
        if type(action) is np.ndarray and action.dtype is FLOAT32 and action.shape == (1,):
            g = action.item()
            if g != g:
                raise diverged(action)
            g = min(max(g, 0.0), 1.0)
        else:
            g = check_actions(action, ((1,), ())).item()
        if self._pass is None or self._pass.retrieval is not self.core.retrieval:
            self._pass = OnePass(self.core)
        value, step = self._pass.single(self.query, g)
        self.granularity, self._running = g, False
        return self._last, value, LazyInfos(info_of_one, None, self._pass, self.query, g, step)

    def _draw(self) -> None:
        """Draw the next episodes' queries, as their stream has them, and gather what is seen."""
        steps = np.arange(self._drawn + 1, self._drawn + AHEAD + 1, dtype=np.uint64)
        states = np.uint64(self._key) + steps * GAMMA
        queries: NDArray[np.int64] = draw(states, 0, self.core.n_queries)
        self._drawn += AHEAD
        seen, last = (rows_of(self.core.observe(queries)) for _ in range(2))
        self._waiting = list(zip(queries.tolist(), seen, last, strict=True))[::-1]


def info_of_one(one_pass: OnePass, query: int, g: float, step: Step | None) -> dict[str, Any]:
    """The info of one environment's step, which is taken once more if it was not kept."""
    return first_info((step or one_pass.step_of_one(query, g)).info())


def rows_of(observation: Observation) -> list[Observation]:
    """One observation an environment."""
    rows = zip(*observation.values(), strict=True)
    if len(observation) == 2:  # nearly always; a literal is made in half the time
        one, other = observation
        return [{one: first, other: second} for first, second in rows]
    return [dict(zip(observation, row, strict=False)) for row in rows]
