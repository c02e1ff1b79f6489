"""The best granularity of every query, from its exact outcome curve."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dsa_env.curves.breakpoints import spans
from dsa_env.outcome import Outcome
from dsa_env.rewards import Reward, evaluate

if TYPE_CHECKING:
    from dsa_env.retrieval.retrieval import OutcomeCurves

NARROW = 1e-7
"""A stretch below this at an end of [0, 1] is that end, as far as a float32 action can tell."""
MARGIN = 1e-6
"""How far from the edge of a segment a float32 action is surely inside it."""


def best_granularity(
    curves: OutcomeCurves, reward: Reward, k: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The best reward of every query over all g, and a g that earns it.

    A query's outcome is constant between the breakpoints of its curve, so a reward that does not
    look at g itself is too, and its best over the segments is its best over [0, 1]. A reward that
    does look at g (a price for detail, say) is evaluated at both ends and the middle of every
    segment, which is exact where it is monotone or convex in g within a segment.

    Args:
        curves: the outcome curves of Q queries, S segments in all.
        reward: a scalar reward.
        k: the cut-off of the recall.

    Returns:
        The best reward [Q] and g [Q] in float64: the middle of the widest stretch of g that earns
        the best reward all along, or, where there is no such stretch, the best of the points.
    """
    queries = len(curves.indptr) - 1
    best, g = np.empty(queries), np.empty(queries)
    for begin, end in spans(curves.indptr):
        best[begin:end], g[begin:end] = _best_of(_part(curves, begin, end), begin, reward, k)
    return best, g


@dataclass(frozen=True, eq=False)
class _Part:
    """The curves of some queries in a row, as `OutcomeCurves` names them, and their ends."""

    indptr: NDArray[np.int64]
    start: NDArray[np.float64]
    end: NDArray[np.float64]
    rank: NDArray[np.float32]
    severity: NDArray[np.float32]
    item: NDArray[np.int32]


def _part(curves: OutcomeCurves, begin: int, end: int) -> _Part:
    indptr = curves.indptr[begin : end + 1]
    part = slice(indptr[0], indptr[-1])
    start, indptr = np.asarray(curves.start[part]), indptr - indptr[0]
    stop = np.append(start[1:], 1.0)
    stop[indptr[1:] - 1] = 1.0
    return _Part(indptr, start, stop, curves.rank[part], curves.severity[part], curves.item[part])


def _best_of(
    curves: _Part, begin: int, reward: Reward, k: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """`best_granularity` of some queries in a row, the first of which is `begin`."""
    points = np.stack([curves.start, (curves.start + curves.end) / 2, curves.end])
    query = np.repeat(np.arange(len(curves.indptr) - 1), np.diff(curves.indptr))
    values = np.stack([_on_segments(curves, reward, k, begin + query, g) for g in points])
    first = curves.indptr[:-1]
    best = np.maximum.reduceat(values.max(axis=0), first)
    flat = (values == best[query]).all(axis=0)
    g = _widest(curves, query, flat)
    bare = np.isnan(g)
    if bare.any():
        g[bare] = _best_point(values, _inside(points), query, best)[bare]
    return best, g


def _inside(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """The points [3, S] drawn so far into their segments that rounding to float32 keeps them there.

    The ends of [0, 1] stay: they belong to their segments.
    """
    start, _, end = points
    margin = np.minimum(MARGIN, (end - start) / 2)
    first = np.where(start == 0, 0.0, start + margin)
    last = np.where(end == 1, 1.0, end - margin)
    return np.clip(points, first, last)


def _on_segments(
    curves: _Part, reward: Reward, k: int, query: NDArray[np.int64], g: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The reward [S] of every segment's outcome, with granularity g [S]."""
    values, _ = evaluate(
        reward, Outcome.from_rank(query, g, curves.rank, curves.severity, curves.item, k)
    )
    return values.astype(np.float64)


def _widest(
    curves: _Part, query: NDArray[np.int64], flat: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """[Q] the middle of each query's widest run of `flat` segments; NaN where it has none."""
    middle = np.full(len(curves.indptr) - 1, np.nan)
    chosen = np.flatnonzero(flat)
    if len(chosen) == 0:
        return middle
    opens = np.ones(len(chosen), dtype=np.bool_)
    opens[1:] = (np.diff(chosen) > 1) | (np.diff(query[chosen]) > 0)
    run = np.flatnonzero(opens)
    begin = curves.start[chosen[run]]
    end = curves.end[chosen[np.append(run[1:], len(chosen)) - 1]]
    owner = query[chosen[run]]
    # Widest last within each query (the earliest among equals), so that it is what remains.
    order = np.lexsort((-begin, end - begin, owner))
    g = (begin + end) / 2
    at_an_end = (end - begin < NARROW) & ((begin == 0) | (end == 1))
    g[at_an_end] = np.round(g[at_an_end])
    middle[owner[order]] = g[order]
    return middle


def _best_point(
    values: NDArray[np.float64],
    points: NDArray[np.float64],
    query: NDArray[np.int64],
    best: NDArray[Any],
) -> NDArray[np.float64]:
    """[Q] the lowest of the evaluated points that earns each query's best reward."""
    g = np.full(len(best), np.inf)
    hit = values == best[query]
    np.minimum.at(g, np.broadcast_to(query, hit.shape)[hit], points[hit])
    return g
