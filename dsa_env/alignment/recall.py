"""Recall of a bank's features at fixed granularities, query by query and exact."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dsa_env.blend import VANISHED
from dsa_env.curves.jit import compiled
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

    Ranks are those of the environment: by the blended cosine (`dsa_env.blend`), and half of the
    negatives that tie with the best positive count as better.

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
    asked_g = np.asarray(granularities, dtype=np.float64)
    for gallery in split_galleries(bank, direction, split):
        for block in exact_blocks(bank, direction, gallery):
            parts = block.components
            positive = np.zeros(parts.fine.shape, dtype=np.bool_)
            positive[block.positives.row_of, block.positives.indices] = True
            ranks = np.empty((len(asked_g), len(positive)))
            _ranks(parts.fine, parts.coarse, parts.cross, positive, asked_g, ranks)
            found.append(ranks[:, None] <= np.array(CUTOFFS)[:, None])
            asked = gallery.queries[block.rows].astype(np.int64)
            of_text = direction == "text_to_image"
            clusters.append(bank.positives.first[asked].astype(np.int64) if of_text else asked)
    return np.concatenate(found, axis=2).astype(np.float32), np.concatenate(clusters)


def best_granularity(bank: FeatureBank, direction: str, split: str = "validation") -> float:
    """The fixed g in `GRID` with the largest sum of Recall@1, @5 and @10 on a split."""
    total = hits(bank, direction, split, GRID)[0].mean(axis=2).sum(axis=1)
    return GRID[int(np.argmax(total))]


@compiled
def _ranks(
    fine: NDArray[np.float32],
    coarse: NDArray[np.float32],
    cross: NDArray[np.float32],
    positive: NDArray[np.bool_],
    granularities: NDArray[np.float64],
    out: NDArray[np.float64],
) -> None:
    """Fill [G, b] with the expected rank of each row's best positive."""
    queries, n = fine.shape
    cosine = np.empty(n)
    for row in range(len(granularities)):
        g = granularities[row]
        h = 1.0 - g
        for q in range(queries):
            best = -np.inf
            for i in range(n):
                square = g * g + 2.0 * g * h * cross[q, i] + h * h
                along = g * fine[q, i] + h * coarse[q, i]
                cosine[i] = along / np.sqrt(square) if square > VANISHED else 0.0
                if positive[q, i] and cosine[i] > best:
                    best = cosine[i]
            above, level = 0, 0
            for i in range(n):
                if not positive[q, i]:
                    above += cosine[i] > best + TIE
                    level += abs(cosine[i] - best) <= TIE
            out[row, q] = 1.0 + above + level / 2.0
