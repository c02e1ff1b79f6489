"""Queries are drawn from their streams without bias, rows copied whole."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsa_env.curves.turn import AHEAD, GAMMA, copy_rows, draw, remainder, scatter

LARGEST = 2**64 - 1


@pytest.mark.parametrize("width", [1, 16, 130])
@pytest.mark.parametrize("batch", [1, AHEAD, 50])
def test_rows_are_copied_to_their_places(batch: int, width: int) -> None:
    rng = np.random.default_rng(0)
    table = rng.random((9, width), dtype=np.float32)
    row = rng.integers(9, size=batch)
    rows = np.full((batch, width), np.nan, dtype=np.float32)
    copy_rows(table, row, 0, batch // 2, rows)
    assert np.isnan(rows[batch // 2 :]).all()
    copy_rows(table, row, batch // 2, batch, rows)
    np.testing.assert_array_equal(rows, table[row])


@given(st.integers(0, LARGEST), st.integers(2, 2**32 - 1))
def test_the_remainder_is_exact(number: int, n: int) -> None:
    assert remainder(np.uint64(number), np.uint64(n), 1.0 / n) == number % n


@given(st.integers(2, 2**32 - 1), st.integers(0, LARGEST))
def test_the_remainder_is_exact_beside_multiples(n: int, factor: int) -> None:
    multiple = factor // n * n
    for number in (multiple - 1, multiple, multiple + 1):
        number = min(max(number, 0), LARGEST)
        assert remainder(np.uint64(number), np.uint64(n), 1.0 / n) == number % n


def test_draws_are_remainders_of_the_streams() -> None:
    key = np.arange(50, dtype=np.uint64)
    for n in (1, 2, 3, 1000, 2**31):
        states = [np.uint64((one + 5 * int(GAMMA)) % 2**64) for one in range(50)]
        wanted = [int(scatter(state)) % n for state in states]
        assert draw(key, 5, n).tolist() == wanted
