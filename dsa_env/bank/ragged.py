"""Rows of different lengths in two flat arrays (compressed sparse rows without values)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True, eq=False)
class Ragged:
    """Row i holds ``indices[indptr[i]:indptr[i + 1]]``.

    Attributes:
        indptr: where each row starts, [n + 1] int64, ascending from 0 to ``len(indices)``.
        indices: the rows' entries one after the other, int32.
    """

    indptr: NDArray[np.int64]
    indices: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.indptr) - 1

    @property
    def lengths(self) -> NDArray[np.int64]:
        """How many entries each row has, [n] int64."""
        return np.diff(self.indptr)

    @property
    def row_of(self) -> NDArray[np.int64]:
        """The row that each entry belongs to, aligned with `indices`."""
        return np.repeat(np.arange(len(self), dtype=np.int64), self.lengths)

    @property
    def first(self) -> NDArray[np.int32]:
        """The first entry of each row, [n] int32; -1 where a row is empty."""
        first = np.full(len(self), -1, dtype=np.int32)
        filled = self.lengths > 0
        first[filled] = self.indices[self.indptr[:-1][filled]]
        return first

    def row(self, i: int) -> NDArray[np.int32]:
        """The entries of row `i` (a view); negative `i` counts from the end."""
        i = range(len(self))[i]
        return self.indices[self.indptr[i] : self.indptr[i + 1]]

    def take(self, rows: ArrayLike) -> Ragged:
        """The rows named by `rows` ([m] ints), in that order."""
        chosen = np.asarray(rows, dtype=np.int64)
        starts, lengths = self.indptr[chosen], self.lengths[chosen]
        indptr = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        offset = np.repeat(starts - indptr[:-1], lengths)
        return Ragged(indptr, self.indices[np.arange(indptr[-1]) + offset])

    def transpose(self, n_columns: int) -> Ragged:
        """Column to rows: row j of the result lists, ascending, the rows that hold j."""
        order = np.argsort(self.indices, kind="stable")
        counts = np.bincount(self.indices, minlength=n_columns)
        indptr = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        return Ragged(indptr, self.row_of[order].astype(np.int32))

    def to_lists(self) -> list[list[int]]:
        """The rows as lists of ints."""
        return [self.row(i).tolist() for i in range(len(self))]

    @classmethod
    def from_lists(cls, rows: Iterable[Iterable[Any]]) -> Ragged:
        """From one iterable of ints a row; empty rows are allowed."""
        parts = [np.asarray(list(row)) for row in rows]
        for number, part in enumerate(parts):
            if part.size and (part.ndim != 1 or part.dtype.kind not in "iu"):
                raise TypeError(f"row {number} must be a flat list of ints, not {part.tolist()!r}")
        lengths = [len(part) for part in parts]
        indptr = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        flat = np.concatenate(parts) if indptr[-1] else np.empty(0)
        return cls(indptr, flat.astype(np.int32))
