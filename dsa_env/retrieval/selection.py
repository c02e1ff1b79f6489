"""Which candidates make a query's shortlist: those that rank high for some granularity."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from dsa_env.bank.ragged import Ragged
from dsa_env.curves.jit import compiled
from dsa_env.retrieval.similarity import Components

GRID = np.linspace(0.0, 1.0, 33, dtype=np.float32)
"""The granularities at which candidates are ranked."""
WHOLE, DEFAULT = 512, 256
"""Galleries up to WHOLE are kept whole; of larger ones DEFAULT candidates are."""


def natural_shortlist(components: Components, size: int) -> NDArray[np.int64]:
    """The candidates of each query with the best ranks, by their best rank over `GRID`.

    Knows nothing of who is a positive. Ties go to the lower position.

    Args:
        components: of B queries and n candidates.
        size: K <= n, how many to keep.

    Returns:
        Positions [B, K], best first.
    """
    queries, n = components.fine.shape
    keys = np.empty((len(GRID), n), dtype=np.int64)
    chosen = np.empty((queries, size), dtype=np.int64)
    scratch = np.empty(n, dtype=np.int64)
    for q in range(queries):
        _sort_keys(components.fine[q], components.coarse[q], components.cross[q], GRID, keys)
        best = keys if size == n else np.partition(keys, size - 1, axis=1)[:, :size]
        _by_best_rank(np.sort(best, axis=1), scratch, chosen[q])
    return chosen


@compiled
def _sort_keys(
    fine: NDArray[np.float32],
    coarse: NDArray[np.float32],
    cross: NDArray[np.float32],
    grid: NDArray[np.float32],
    keys: NDArray[np.int64],
) -> None:
    """Ints [G, n] that sort as the blended cosines do, largest first, then as the positions.

    The distance 1 - cosine takes the upper 31 bits and the position the lower 32.
    """
    one, tiny, scale = np.float32(1.0), np.float32(1e-12), np.float32(2.0**29)
    for row in range(len(grid)):
        g = grid[row]
        h = one - g
        square, twice = g * g + h * h, (g + g) * h
        for i in range(len(fine)):
            length = math.sqrt(max(square + twice * cross[i], tiny))
            cosine = (g * fine[i] + h * coarse[i]) / length
            distance = (one - min(max(cosine, -one), one)) * scale
            keys[row, i] = (np.int64(distance) << 32) | i


@compiled
def _by_best_rank(
    keys: NDArray[np.int64], best: NDArray[np.int64], chosen: NDArray[np.int64]
) -> None:
    """Fill `chosen` [K] with positions by their best column in the sorted keys [G, K]."""
    size = len(chosen)
    best[:] = size
    for row in range(keys.shape[0]):
        for rank in range(size):
            i = keys[row, rank] & 0xFFFFFFFF
            best[i] = min(best[i], rank)
    begin = np.zeros(size + 2, dtype=np.int64)
    for rank in best:
        begin[rank + 1] += 1
    begin = np.cumsum(begin)
    for i in range(len(best)):
        place = begin[best[i]]
        if place < size:
            chosen[place] = i
            begin[best[i]] += 1


def with_positives(
    natural: NDArray[np.int64], positives: Ragged
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Put the positives that did not make the shortlist in place of the last negatives.

    Args:
        natural: positions [B, K], best first.
        positives: the positions of each query's positives, B rows.

    Returns:
        Positions [B, K] and which of them are positives [B, K].
    """
    chosen = natural.copy()
    positive = np.zeros(natural.shape, dtype=np.bool_)
    _add_positives(chosen, positive, positives.indptr, positives.indices)
    return chosen, positive


@compiled
def _add_positives(
    chosen: NDArray[np.int64],
    positive: NDArray[np.bool_],
    indptr: NDArray[np.int64],
    indices: NDArray[np.int32],
) -> None:
    for q in range(len(chosen)):
        row = indices[indptr[q] : indptr[q + 1]]
        missing = np.empty(len(row), dtype=np.int64)
        count = 0
        for item in row:
            found = False
            for place in range(chosen.shape[1]):
                if chosen[q, place] == item:
                    positive[q, place], found = True, True
                    break
            if not found:
                missing[count] = item
                count += 1
        place = chosen.shape[1] - 1
        for item in missing[:count]:
            while place >= 0 and positive[q, place]:
                place -= 1
            if place >= 0:
                chosen[q, place], positive[q, place] = item, True


def shortlist_size(requested: int | None, gallery: int) -> int:
    """How many candidates a query keeps of a gallery: all of up to 512, else 256, or as asked."""
    if requested is not None:
        return min(requested, gallery)
    return gallery if gallery <= WHOLE else DEFAULT
