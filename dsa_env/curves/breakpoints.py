"""The outcome of a query as a function of g: exact and piecewise constant."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dsa_env.curves.crossings import outcome_steps

CHUNK = 1 << 18
"""Segments that are looked at at once; bounds the memory of large banks."""


def protect(record: object) -> None:
    """Make a dataclass's arrays read-only: records are kept and shared by whoever asks for them."""
    for field in fields(record):  # type: ignore[arg-type]
        value = getattr(record, field.name)
        if isinstance(value, np.ndarray):
            view = value.view()
            view.setflags(write=False)
            object.__setattr__(record, field.name, view)


def spans(indptr: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Runs of queries (from, up to) with `CHUNK` segments together at most, or with one query."""
    begin, queries = 0, len(indptr) - 1
    while begin < queries:
        last = int(np.searchsorted(indptr, indptr[begin] + CHUNK, side="right")) - 1
        end = min(max(last, begin + 1), queries)
        yield begin, end
        begin = end


@dataclass(frozen=True, eq=False)
class Curves:
    """What each of Q queries' outcome is in each of its segments of g, S segments in all.

    A segment holds from its start up to the next one's; at g = 0 and g = 1 an outcome of their own
    (candidates whose coarse views are equal are tied at g = 0, and only there) has a segment 1e-9
    wide.

    Attributes:
        indptr: where each query's segments start, [Q + 1] int64.
        start: [S] float64 in [0, 1), ascending within a query, the first one 0.
        rank: [S] float32, the expected rank of the best positive: 1 + negatives strictly better
            + half of the negatives tied with it.
        top: [S] int32, the position of the best candidate (the lowest one on a tie).
    """

    indptr: NDArray[np.int64]
    start: NDArray[np.float64]
    rank: NDArray[np.float32]
    top: NDArray[np.int32]

    def __post_init__(self) -> None:
        protect(self)

    @cached_property
    def _keys(self) -> NDArray[np.float64]:
        """[S] where each segment starts, queries 2 apart on one axis."""
        return 2.0 * self.query + self.start

    @property
    def query(self) -> NDArray[np.int64]:
        """The query that each segment belongs to, [S]."""
        return np.repeat(np.arange(len(self.indptr) - 1), np.diff(self.indptr))

    @property
    def end(self) -> NDArray[np.float64]:
        """Where each segment ends, [S]; the last one of a query at 1."""
        end = np.empty_like(self.start)
        end[:-1] = self.start[1:]
        end[self.indptr[1:] - 1] = 1.0
        return end

    def segment(self, query: ArrayLike, g: ArrayLike) -> NDArray[np.int64]:
        """The segments in which queries [B] are at granularities g [B] in [0, 1].

        One binary search for all: queries lie 2 apart on one axis, so that g = 1 stays in its own.
        """
        asked = 2.0 * np.asarray(query) + np.asarray(g, dtype=np.float64)
        return np.searchsorted(self._keys, asked, side="right") - 1


def curves(
    fine: ArrayLike, coarse: ArrayLike, cross: ArrayLike, positive: ArrayLike, valid: ArrayLike
) -> Curves:
    """The exact curves of Q queries with K candidates each.

    Args:
        fine: similarity of query and fine view, [Q, K] float32.
        coarse: similarity of query and coarse view, [Q, K].
        cross: similarity of fine and coarse view, [Q, K].
        positive: which candidates are relevant, [Q, K] bool; at least one valid one a query.
        valid: which candidates exist, [Q, K] bool.

    Raises:
        ValueError: a query has no valid positive.
    """
    valid = np.ascontiguousarray(valid, dtype=np.bool_)
    positive = np.ascontiguousarray(np.asarray(positive, dtype=np.bool_) & valid)
    if not positive.any(axis=1).all():
        missing = int(np.flatnonzero(~positive.any(axis=1))[0])
        raise ValueError(f"query {missing} has no valid positive; drop it")
    f, c, x = (np.ascontiguousarray(a, dtype=np.float32) for a in (fine, coarse, cross))
    indptr, start, rank, top = outcome_steps(f, c, x, positive, valid)
    return Curves(indptr, start.copy(), rank.astype(np.float32), top.astype(np.int32))
