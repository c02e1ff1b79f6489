"""Outcome curves packed for compiled lookup."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dsa_env.bank.format import release
from dsa_env.curves.breakpoints import spans
from dsa_env.curves.jit import compiled, prefetch

Floats = NDArray[np.float32]
Found = tuple[Floats, Floats, NDArray[np.int32], int]

BINS = 64
"""Equal parts of [0, 1] for each of which it is kept where a query's segments begin."""
RECORD = np.dtype([("end", "<f4"), ("rank", "<f4"), ("severity", "<f4"), ("item", "<i4")])
"""A segment in 16 bytes, so that one line of the processor's cache holds four of them."""


def pack(
    indptr: NDArray[np.int64],
    start: NDArray[np.float64],
    rank: Floats,
    severity: Floats,
    item: NDArray[np.int32],
    allocate: Callable[..., NDArray[Any]] = lambda _name, *form: np.zeros(*form),
) -> tuple[NDArray[np.void], NDArray[np.unsignedinteger]]:
    """Outcome curves as `look_up` reads them.

    A segment's end is the smallest float32 that is not below it, so that comparing a float32 g
    with it is exact; a query's last segment never ends.

    Args:
        indptr: where each query's segments start, [Q + 1].
        start: where each segment starts, [S], ascending within a query from 0.
        rank: per segment, as the two following, [S].
        severity: see there.
        item: see there.
        allocate: makes ``"records"`` and ``"first"`` from a name, a shape and a dtype.

    Returns:
        The segments [S] of `RECORD`, and the segment that holds the left edge of each of `BINS`
        bins, [Q, BINS].
    """
    queries = len(indptr) - 1
    records = allocate("records", (len(start),), RECORD)
    first = allocate("first", (queries, BINS), np.uint32 if len(start) < 2**32 else np.uint64)
    for begin, stop in spans(indptr):
        bounds = indptr[begin : stop + 1] - indptr[begin]
        part = slice(int(indptr[begin]), int(indptr[stop]))
        edges = np.append(start[part][1:], np.inf)
        end = edges.astype(np.float32)
        below = end < edges
        end[below] = np.nextafter(end[below], np.float32(np.inf))
        end[bounds[1:] - 1] = np.inf
        columns = {"end": end, "rank": rank[part], "severity": severity[part], "item": item[part]}
        for name, column in columns.items():
            records[part][name] = column
        places = np.empty((stop - begin, BINS), dtype=first.dtype)
        first_segments(bounds, end, places)
        first[begin:stop] = places + first.dtype.type(part.start)
        for array in (start, rank, severity, item, records, first):
            release(array)
    return records, first


@compiled
def first_segments(
    indptr: NDArray[np.int64], end: Floats, first: NDArray[np.unsignedinteger]
) -> None:
    """Fill [Q, bins] with the segment that holds the left edge of each bin; segments' ends [S]."""
    bins = first.shape[1]
    for query in range(len(first)):
        place = indptr[query]
        for b in range(bins):
            while end[place] <= np.float32(b / bins):
                place += 1
            first[query, b] = place


@compiled
def bin_of(g: float, bins: int) -> int:
    """The bin of g in [0, 1]; 1 belongs to the last."""
    return min(int(g * bins), bins - 1)


@compiled
def look_up(
    records: NDArray[np.void],
    first: NDArray[np.unsignedinteger],
    query: NDArray[np.int64],
    g: Floats,
) -> Found:
    """Rank, severity and top item [B] of queries [B] at granularities g [B].

    The bin of g says where to begin; from there it is a segment or two. The same as
    ``curves.segment`` and three gathers, several times faster.

    Args:
        records: the segments [S], of `pack`.
        first: where each bin's begin, [Q, bins], of `pack`.
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
        if not (0 <= query[b] < len(first) and 0 <= g[b] <= 1):
            return ranks, severities, items, b
        place[b] = first[query[b], bin_of(g[b], bins)]
        prefetch(records, place[b])
    for b in range(size):
        at = place[b]
        while records[at].end <= g[b]:
            at += 1
        ranks[b], severities[b] = records[at].rank, records[at].severity
        items[b] = records[at].item
    return ranks, severities, items, -1


@compiled
def clip_actions(actions: Floats) -> tuple[Floats, bool]:
    """Actions [B] drawn into [0, 1], what is no number to 0; and whether one is no number."""
    g = np.empty(len(actions), dtype=np.float32)
    wrong = False
    for b in range(len(actions)):
        action = actions[b]
        wrong |= action != action
        above = action if action > np.float32(0) else np.float32(0)
        g[b] = above if above < np.float32(1) else np.float32(1)
    return g, wrong
