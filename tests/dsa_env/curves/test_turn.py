"""Queries are drawn from their streams without bias, rows copied whole."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsa_env.curves.turn import AHEAD, GAMMA, draw, gather, remainder, scatter

LARGEST = 2**64 - 1


@pytest.mark.parametrize("width", [1, 16, 130])
@pytest.mark.parametrize("batch", [1, AHEAD, 50])
def test_rows_are_those_that_were_asked_for(batch: int, width: int) -> None:
    rng = np.random.default_rng(0)
    table = rng.random((9, width), dtype=np.float32)
    row = rng.integers(9, size=batch)
    np.testing.assert_array_equal(gather(table, row), table[row])


@given(st.integers(0, LARGEST), st.integers(1, 2**32 - 1))
def test_the_remainder_is_exact(number: int, n: int) -> None:
    assert remainder(*map(np.uint64, (number, n, LARGEST // n))) == number % n


@given(st.integers(1, 2**32 - 1), st.integers(0, LARGEST))
def test_the_remainder_is_exact_beside_multiples(n: int, factor: int) -> None:
    multiple = factor // n * n
    for number in (multiple - 1, multiple, multiple + 1):
        number = min(max(number, 0), LARGEST)
        assert remainder(*map(np.uint64, (number, n, LARGEST // n))) == number % n


def test_draws_are_remainders_of_the_streams() -> None:
    key = np.arange(50, dtype=np.uint64)
    for n in (1, 2, 3, 1000, 2**31):
        states = [np.uint64((one + 5 * int(GAMMA)) % 2**64) for one in range(50)]
        wanted = [int(scatter(state)) % n for state in states]
        assert draw(key, 5, n).tolist() == wanted
