"""Recall of a bank before and after alignment, with paired intervals over pictures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dsa_agents.statistics import Estimate, bootstrap_means
from dsa_agents.verdict import signed
from dsa_env.core import RetrievalCore
from dsa_env.errors import DSAError
from dsa_env.retrieval.shortlist import DIRECTIONS

if TYPE_CHECKING:
    from rich.console import Console

    from dsa_env.bank import FeatureBank

VIEWS = ("coarse", "fine", "best_fixed")
CUTOFFS = (1, 5, 10)
"""The k of Recall@k."""
GRID = tuple(round(0.1 * step, 1) for step in range(11))
"""The granularities from which the best fixed one is chosen."""
LABELS = {"coarse": "coarse, g = 0", "fine": "fine, g = 1", "best_fixed": "best fixed g"}


def compare_recall(
    before: FeatureBank,
    after: FeatureBank,
    *,
    split: str = "test",
    choose_on: str = "validation",
    resamples: int = 2000,
    seed: int = 0,
) -> dict[str, Any]:
    """Recall@1, @5 and @10 of two banks of the same texts and images, and the paired difference.

    The best fixed g of each bank is chosen on `choose_on`, by the sum of the three recalls. The
    intervals are those of `dsa_agents.statistics.bootstrap_means`, which resamples pictures; both
    banks see the same resamples.

    Args:
        before: the source.
        after: its aligned twin.
        split: where recall is measured.
        choose_on: where the best fixed g is chosen.
        resamples: of the bootstrap; 0 for no intervals.
        seed: of the resampling.

    Returns:
        For JSON: {"split", "queries", "pictures", direction: {"granularity": {"before", "after"},
        view: {"recall@k": {"before", "after", "difference", each {"mean", "low", "high"}}}}} with
        the views "coarse", "fine" and "best_fixed".

    Raises:
        DSAError: the banks have other texts or images, or the split has none.
    """
    if (before.n_texts, before.n_images) != (after.n_texts, after.n_images):
        raise DSAError(
            f"The banks hold {before.n_texts} and {after.n_texts} texts, {before.n_images} and "
            f"{after.n_images} images; compare a bank with its own aligned twin."
        )
    found: dict[str, Any] = {"split": split, "chosen_on": choose_on}
    for direction in DIRECTIONS:
        columns: dict[tuple[str, str, int], NDArray[np.float32]] = {}
        chosen: dict[str, float] = {}
        for when, bank in (("before", before), ("after", after)):
            chosen[when] = _best_granularity(RetrievalCore(bank, direction, choose_on))
            core = RetrievalCore(bank, direction, split)
            cluster = core.retrieval.cluster
            for view, g in zip(VIEWS, (0.0, 1.0, chosen[when]), strict=True):
                columns |= {(when, view, k): found for k, found in _hits(core, g).items()}
        estimates = bootstrap_means(columns, cluster, resamples=resamples, seed=seed)
        found[direction] = {
            "queries": len(cluster),
            "granularity": chosen,
            **{
                view: {
                    f"recall@{k}": _pair(estimates["before", view, k], estimates["after", view, k])
                    for k in CUTOFFS
                }
                for view in VIEWS
            },
        }
    return found


def print_recall(found: Mapping[str, Any], console: Console) -> None:
    """Print a table for each direction: before, after and the difference, with intervals."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    for direction in DIRECTIONS:
        one = found[direction]
        table = Table(box=SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
        for name in ("", "Recall", "before", "after", "difference"):
            table.add_column(name)
        for view in VIEWS:
            for k in CUTOFFS:
                values = one[view][f"recall@{k}"]
                table.add_row(
                    LABELS[view] if k == CUTOFFS[0] else "",
                    f"@{k}",
                    _with_reach(values["before"]),
                    _with_reach(values["after"]),
                    Text(signed(values["difference"])),
                )
        chosen = one["granularity"]
        title = f"{direction.replace('_', ' ')}, {found['split']} split: {one['queries']:,} queries"
        note = (
            f"best fixed g on {found['chosen_on']}: {chosen['before']:.1f} before, "
            f"{chosen['after']:.1f} after"
        )
        console.print(Text(title, "bold"), table, Text(note, "dim"), "", sep="\n")


def _hits(core: RetrievalCore, g: float) -> dict[int, NDArray[np.float32]]:
    """Whether each query finds a positive among the k best when all use the same g: k -> [Q]."""
    query = np.arange(core.n_queries)
    rank = core.outcome(query, np.full(len(query), g, dtype=np.float32)).rank
    return {k: (rank <= k).astype(np.float32) for k in CUTOFFS}


def _best_granularity(core: RetrievalCore) -> float:
    """The fixed g in `GRID` with the largest sum of the recalls on a split."""
    return max(GRID, key=lambda g: sum(float(hits.mean()) for hits in _hits(core, g).values()))


def _with_reach(summary: Mapping[str, float | None]) -> str:
    """A mean, and half the width of its interval."""
    mean, low, high = (summary[name] for name in ("mean", "low", "high"))
    reach = "" if low is None or high is None else f" ±{(high - low) / 2:.3f}"
    return f"{mean:.3f}{reach}"


def _pair(before: Estimate, after: Estimate) -> dict[str, Any]:
    return {
        "before": before.summary(),
        "after": after.summary(),
        "difference": (after - before).summary(),
    }
