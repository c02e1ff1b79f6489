"""Policies: whatever chooses a granularity for a query, by one protocol."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from dsa_env.errors import DSAError

if TYPE_CHECKING:
    from dsa_env.controller import GranularityController
    from dsa_env.core import RetrievalCore

Queries = NDArray[np.int64]
Granularity = NDArray[np.float32]

CHUNK = 1 << 14
"""Queries that a network is shown at once; bounds the memory of large splits."""


class Policy(Protocol):
    """Chooses how much detail to use: a granularity for each of B queries of a core's split."""

    def __call__(self, core: RetrievalCore, query: Queries) -> Granularity:
        """Return g [B] float32 in [0, 1] for the queries [B]."""


class RandomPolicy:
    """g drawn uniformly from [0, 1], the same for the same seed and query."""

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed

    def __call__(self, core: RetrievalCore, query: Queries) -> Granularity:
        """Draw g [B] float32; independent of the batch a query comes in."""
        drawn = np.random.default_rng(self.seed).random(core.n_queries, dtype=np.float32)
        return drawn[query]


class FixedPolicy:
    """The same g for every query."""

    def __init__(self, granularity: float) -> None:
        if not 0.0 <= granularity <= 1.0:
            raise DSAError(f"A granularity must lie in [0, 1], got {granularity!r}.")
        self.granularity = float(granularity)

    def __call__(self, core: RetrievalCore, query: Queries) -> Granularity:
        """Return g [B] float32, all equal."""
        return np.full(len(query), self.granularity, dtype=np.float32)


class ControllerPolicy:
    """A trained controller; with a horizon above 1 it refines g step by step, the last g counts."""

    def __init__(self, controller: GranularityController) -> None:
        self.controller = controller.eval()

    def __call__(self, core: RetrievalCore, query: Queries) -> Granularity:
        """Return the deterministic g [B] float32.

        Raises:
            DSAError: when the controller was made for features of another width.
        """
        parts = [query[start : start + CHUNK] for start in range(0, len(query), CHUNK)]
        return np.concatenate([self._refine(core, part) for part in parts])

    def _refine(self, core: RetrievalCore, query: Queries) -> Granularity:
        g = self.controller.predict(core.observe(query))
        for _ in range(core.horizon - 1):
            outcome = core.evaluate(query, g)[2]
            g = self.controller.predict(core.observe(query, g, outcome.retrieved))
        return g


class OraclePolicy:
    """The best g of every query, by its exact reward curve: what no policy can beat."""

    def __call__(self, core: RetrievalCore, query: Queries) -> Granularity:
        """Return g [B] float32; `DSAError` for a vector reward, which has no single best."""
        if core.reward_space is not None:
            raise DSAError("A vector reward has no oracle; weigh its terms, as 'clipped' does.")
        return core.oracle()[1][query].astype(np.float32)
