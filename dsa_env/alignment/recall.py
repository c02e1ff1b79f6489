"""Recall of a bank's features at fixed granularities, query by query and exact."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dsa_env.blend import blended_cosine
from dsa_env.errors import unknown
from dsa_env.retrieval.galleries import exact_blocks, split_galleries
from dsa_env.retrieval.shortlist import DIRECTIONS

if TYPE_CHECKING:
    from dsa_env.bank import FeatureBank

CUTOFFS = (1, 5, 10)
"""The k of Recall@k."""
GRID = tuple(round(0.1 * step, 1) for step in range(11))
"""The granularities from which the best fixed one is chosen."""
TIE = 1e-12
"""Cosines nearer than this are tied: what rounding leaves of equal ones."""


def hits(
    bank: FeatureBank, direction: str, split: str, granularities: Sequence[float]
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Whether each query finds a positive among the k best of its whole gallery, at fixed g.

    Ranks are those of the environment: half of the negatives that tie with the best positive count
    as better.

    Args:
        bank: the bank.
        direction: "text_to_image" or "image_to_text".
        split: whose queries.
        granularities: G values in [0, 1].

    Returns:
        Hits [G, 3, Q] in {0, 1} for k = 1, 5, 10, and the image [Q] that each query belongs to.

    Raises:
        DSAError: no such direction or split, or the split has no images or texts.
    """
    if direction not in DIRECTIONS:
        raise unknown("direction", direction, DIRECTIONS)
    found, clusters = [], []
    for gallery in split_galleries(bank, direction, split):
        for block in exact_blocks(bank, direction, gallery):
            parts = block.components
            positive = np.zeros(parts.fine.shape, dtype=np.bool_)
            positive[block.positives.row_of, block.positives.indices] = True
            ranks = [
                _rank(blended_cosine(parts.fine, parts.coarse, parts.cross, g), positive)
                for g in granularities
            ]
            found.append(np.stack(ranks)[:, None] <= np.array(CUTOFFS)[:, None])
            asked = gallery.queries[block.rows].astype(np.int64)
            of_text = direction == "text_to_image"
            clusters.append(bank.positives.first[asked].astype(np.int64) if of_text else asked)
    return np.concatenate(found, axis=2).astype(np.float32), np.concatenate(clusters)


def best_granularity(bank: FeatureBank, direction: str, split: str = "validation") -> float:
    """The fixed g in `GRID` with the largest sum of Recall@1, @5 and @10 on a split."""
    total = hits(bank, direction, split, GRID)[0].mean(axis=2).sum(axis=1)
    return GRID[int(np.argmax(total))]


def _rank(similarity: NDArray[np.float64], positive: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The expected rank [b] of each row's best positive."""
    best = np.where(positive, similarity, -np.inf).max(axis=1, keepdims=True)
    others = np.where(positive, -np.inf, similarity)
    above = (others > best + TIE).sum(axis=1)
    level = (others >= best - TIE).sum(axis=1) - above
    rank: NDArray[np.float64] = 1 + above + level / 2
    return rank
