"""Ragged rows equal lists of lists."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsa_env.bank.ragged import Ragged

rows_of_ids = st.lists(st.lists(st.integers(0, 9), max_size=5, unique=True), min_size=1, max_size=8)


@given(rows_of_ids)
def test_round_trip_rows_and_lengths(rows: list[list[int]]) -> None:
    ragged = Ragged.from_lists(rows)
    assert len(ragged) == len(rows)
    assert ragged.to_lists() == rows
    assert ragged.lengths.tolist() == [len(row) for row in rows]
    assert [ragged.row(i).tolist() for i in range(-len(rows), 0)] == rows
    assert ragged.first.tolist() == [row[0] if row else -1 for row in rows]
    assert ragged.row_of.tolist() == [i for i, row in enumerate(rows) for _ in row]
    assert ragged.indptr.dtype == np.int64
    assert ragged.indices.dtype == np.int32


@given(rows_of_ids)
def test_transpose_lists_the_rows_of_each_column(rows: list[list[int]]) -> None:
    columns = Ragged.from_lists(rows).transpose(10).to_lists()
    assert columns == [[i for i, row in enumerate(rows) if j in row] for j in range(10)]


@given(rows_of_ids, st.lists(st.integers(0, 100), max_size=6))
def test_take_picks_rows(rows: list[list[int]], picks: list[int]) -> None:
    chosen = [pick % len(rows) for pick in picks]
    assert Ragged.from_lists(rows).take(chosen).to_lists() == [rows[i] for i in chosen]


def test_a_row_that_does_not_exist_is_an_index_error() -> None:
    with pytest.raises(IndexError):
        Ragged.from_lists([[1]]).row(1)


@pytest.mark.parametrize("rows", [[[0.5]], [["a"]], [[[1, 2], [3, 4]]]])
def test_only_flat_lists_of_ints(rows: list[list[object]]) -> None:
    with pytest.raises(TypeError, match="row 0 must be a flat list of ints"):
        Ragged.from_lists(rows)
