"""Compiled lookup in outcome curves: the hot path of a step."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dsa_env.curves.jit import compiled

Found = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int32], int]

BINS = 32
"""Equal parts of [0, 1] for each of which it is kept where a query's segments begin."""


@compiled
def first_segments(
    indptr: NDArray[np.int64], start: NDArray[np.float64], bins: int
) -> NDArray[np.int32]:
    """The segment, counted within its query, that holds the left edge of each bin, [Q, bins].

    Args:
        indptr: where each query's segments start, [Q + 1].
        start: where each segment starts, [S], ascending within a query from 0.
        bins: how many.
    """
    first = np.empty((len(indptr) - 1, bins), dtype=np.int32)
    for query in range(len(indptr) - 1):
        begin, end = indptr[query], indptr[query + 1]
        place = begin
        for b in range(bins):
            while place + 1 < end and start[place + 1] <= b / bins:
                place += 1
            first[query, b] = place - begin
    return first


@compiled
def look_up(
    indptr: NDArray[np.int64],
    start: NDArray[np.float64],
    rank: NDArray[np.float32],
    severity: NDArray[np.float32],
    item: NDArray[np.int32],
    first: NDArray[np.int32],
    query: NDArray[np.int64],
    g: NDArray[np.float32],
) -> Found:
    """Rank, severity and top item [B] of queries [B] at granularities g [B].

    The bin of g says where to begin; from there it is a segment or two. The same as
    ``curves.segment`` and three gathers, several times faster. Two passes, because the first one's
    loads do not wait for each other.

    Args:
        indptr: where each query's segments start, [Q + 1].
        start: where each segment starts, [S], ascending within a query from 0.
        rank: per segment, as the two following, [S].
        severity: see there.
        item: see there.
        first: of `first_segments`.
        query: in [0, Q).
        g: in [0, 1].

    Returns:
        The three arrays, and the first entry that is out of range, where it stopped (else -1).
    """
    size, bins = len(query), first.shape[1]
    ranks = np.empty(size, dtype=np.float32)
    severities = np.empty(size, dtype=np.float32)
    items = np.empty(size, dtype=np.int32)
    place = np.empty(size, dtype=np.int64)
    for b in range(size):
        if not (0 <= query[b] < len(indptr) - 1 and 0 <= g[b] <= 1):
            return ranks, severities, items, b
        place[b] = indptr[query[b]] + first[query[b], min(int(g[b] * bins), bins - 1)]
    for b in range(size):
        at, last = place[b], indptr[query[b] + 1] - 1
        while at < last and start[at + 1] <= g[b]:
            at += 1
        ranks[b], severities[b], items[b] = rank[at], severity[at], item[at]
    return ranks, severities, items, -1


@compiled
def clip_actions(actions: NDArray[np.float32]) -> tuple[NDArray[np.float32], int]:
    """Actions [B] drawn into [0, 1], and where the first one is that is no number (else -1)."""
    g = np.empty(len(actions), dtype=np.float32)
    for b in range(len(actions)):
        if np.isnan(actions[b]):
            return g, b
        g[b] = min(max(actions[b], np.float32(0)), np.float32(1))
    return g, -1
