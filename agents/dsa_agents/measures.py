"""What each policy achieves on a split, query by query: the numbers that an evaluation averages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dsa_agents.policies import FixedPolicy, Granularity, Policy
from dsa_env.core import RetrievalCore

Floats = NDArray[np.float64]
Measures = dict[str, Floats]

CUTS = (1, 5, 10)
GROUPS = 3
"""Groups of about equal size into which pictures are sorted by how many regions they have."""


def measure(core: RetrievalCore, g: Granularity) -> Measures:
    """Metrics [Q] of every query of a split, each with its own g [Q].

    Returns:
        ``recall@K`` (for 1, 5, 10 and the core's k; 1 where the best positive's expected rank is
        at most K), ``hallucination_rate`` (share of the asserted facts that do not hold of the
        retrieved item, or of a caption's own picture, by the ground truth; NaN where nothing is
        asserted or known), ``reward``, ``regret`` (the oracle's reward less this one) and
        ``granularity``.
    """
    query = np.arange(core.n_queries)
    reward, _, outcome = core.evaluate(query, g)
    curves = core.retrieval.curves
    assert curves is not None
    recalls = {f"recall@{k}": outcome.rank <= k for k in sorted({*CUTS, core.k})}
    found = {
        **recalls,
        "hallucination_rate": curves.unsupported[curves.segment(query, g)],
        "reward": reward,
        "regret": core.oracle()[0] - reward,
        "granularity": outcome.granularity,
    }
    return {name: np.asarray(value, dtype=np.float64) for name, value in found.items()}


def measure_policies(core: RetrievalCore, policies: Sequence[Policy]) -> Measures:
    """The metrics of several seeds of one policy, [seeds, Q] each."""
    query = np.arange(core.n_queries)
    each = [measure(core, policy(core, query)) for policy in policies]
    return {name: np.stack([measures[name] for measures in each]) for name in each[0]}


@dataclass(frozen=True)
class Sweep:
    """Mean metrics of a split when every query uses the same g, for each g of a grid.

    Attributes:
        grid: [G] ascending, from 0 to 1.
        means: metric -> [G]; NaN where no query has the metric.
    """

    grid: Floats
    means: dict[str, Floats]


def sweep(core: RetrievalCore, points: int = 101) -> Sweep:
    """The metrics of every fixed g on an equidistant grid."""
    grid = np.linspace(0.0, 1.0, points)
    query = np.arange(core.n_queries)
    rows = [measure(core, FixedPolicy(g)(core, query)) for g in grid]
    means = {name: np.array([mean(row[name]) for row in rows]) for name in rows[0]}
    return Sweep(grid, means)


def mean(values: Floats) -> float:
    """The mean of what is not NaN; NaN where nothing is left."""
    valid = values[~np.isnan(values)]
    return float(valid.mean()) if valid.size else float("nan")


def query_groups(core: RetrievalCore) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    """Names of the kinds of queries that occur, and the code [Q] of each query into them.

    The queries' own kinds where they have them (of texts, or prompts); else, for pictures with
    regions, three groups by how many regions they have; else no names and codes of -1.
    """
    retrieval = core.retrieval
    if retrieval.kind is not None:
        used, code = np.unique(np.asarray(retrieval.kind), return_inverse=True)
        names = retrieval.kinds(core.bank)
        return tuple(names[kind] for kind in used), code
    counts = core.bank.region_counts
    if retrieval.asks_pictures and counts is not None:
        return _by_regions(np.asarray(counts)[retrieval.query_ids].astype(np.int64))
    return (), np.full(core.n_queries, -1)


def ambiguity_groups(core: RetrievalCore) -> dict[str, NDArray[np.bool_]]:
    """Which queries [Q] have one reading, several, or none that the grammar knows.

    Empty where queries are no texts, the bank keeps no texts, or all queries are in one group.
    """
    from dsa_env.logic.ambiguity import GROUPS, group_of, reading_counts

    texts = core.bank.texts
    if core.retrieval.asks_pictures or texts is None:
        return {}
    group = group_of(reading_counts([texts[i] for i in core.retrieval.query_ids]))
    found = {name: group == code for code, name in enumerate(GROUPS) if (group == code).any()}
    return found if len(found) > 1 else {}


def _by_regions(counts: NDArray[np.int64]) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    """Groups of neighbouring counts, named such as "2 to 4 regions"."""
    cuts = np.unique(np.quantile(counts, np.arange(1, GROUPS) / GROUPS, method="higher"))
    used, code = np.unique(np.searchsorted(cuts, counts, side="left"), return_inverse=True)
    if len(used) < 2:
        return (), np.full(len(counts), -1)
    spans = [
        (counts[code == group].min(), counts[code == group].max()) for group in range(len(used))
    ]
    names = [f"{low} regions" if low == high else f"{low} to {high} regions" for low, high in spans]
    return tuple(names), code
