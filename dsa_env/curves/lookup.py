"""Compiled lookup in outcome curves: the hot path of a step."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dsa_env.curves.jit import compiled

Found = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int32], int]


@compiled
def look_up(
    indptr: NDArray[np.int64],
    start: NDArray[np.float64],
    rank: NDArray[np.float32],
    severity: NDArray[np.float32],
    item: NDArray[np.int32],
    query: NDArray[np.int64],
    g: NDArray[np.float32],
) -> Found:
    """Rank, severity and top item [B] of queries [B] at granularities g [B].

    For each query a binary search among its own segments (some tens), so that what it touches
    stays in the cache; the same as ``curves.segment`` and three gathers, several times faster.

    Args:
        indptr: where each query's segments start, [Q + 1].
        start: where each segment starts, [S], ascending within a query from 0.
        rank: per segment, as the two following, [S].
        severity: see there.
        item: see there.
        query: in [0, Q).
        g: in [0, 1].

    Returns:
        The three arrays, and the first entry that is out of range, where it stopped (else -1).
    """
    size = len(query)
    ranks = np.empty(size, dtype=np.float32)
    severities = np.empty(size, dtype=np.float32)
    items = np.empty(size, dtype=np.int32)
    for b in range(size):
        if not (0 <= query[b] < len(indptr) - 1 and 0 <= g[b] <= 1):
            return ranks, severities, items, b
        low, high = indptr[query[b]], indptr[query[b] + 1]
        while high - low > 1:
            middle = (low + high) >> 1
            if start[middle] <= g[b]:
                low = middle
            else:
                high = middle
        ranks[b], severities[b], items[b] = rank[low], severity[low], item[low]
    return ranks, severities, items, -1
