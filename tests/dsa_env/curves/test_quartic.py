"""All roots of a quartic in (0, 1) are found, in order."""

from __future__ import annotations

from math import comb

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.polynomial import Polynomial

from dsa_env.curves.quartic import LIMIT, STACK, isolate, sign_changes, single_root


def bernstein(polynomial: Polynomial) -> list[float]:
    """The five Bernstein coefficients on [0, 1] of a polynomial of degree 4 or less."""
    powers = np.zeros(5)
    powers[: len(polynomial.coef)] = polynomial.coef
    return [float(sum(comb(i, j) / comb(4, j) * powers[j] for j in range(i + 1))) for i in range(5)]


def roots(*b: float) -> list[float]:
    out = np.empty(LIMIT)
    return out[: isolate(*b, out, np.empty((STACK, 6)))].tolist()


@settings(max_examples=300, deadline=None)
@given(st.lists(st.floats(-0.5, 1.5), min_size=4, max_size=4), st.sampled_from([-3.0, 0.01, 1.0]))
def test_real_roots_inside_are_found_and_others_are_not(places: list[float], scale: float) -> None:
    places = sorted(places)
    apart = np.diff([-2.0, *places, 3.0]).min()
    near_ends = min(min(abs(p), abs(p - 1)) for p in places)
    assume(apart > 1e-3)
    assume(near_ends > 1e-6)
    found = roots(*bernstein(scale * Polynomial.fromroots(places)))
    inside = [place for place in places if 0 < place < 1]
    np.testing.assert_allclose(found, inside, atol=1e-8)


@given(st.floats(-2, 2), st.floats(0.01, 2), st.floats(0.05, 0.95), st.floats(0.05, 0.95))
def test_complex_roots_are_none(middle: float, size: float, one: float, other: float) -> None:
    assume(abs(one - other) > 1e-3)
    pair = Polynomial([middle**2 + size**2, -2 * middle, 1])
    found = roots(*bernstein(pair * Polynomial.fromroots([one, other])))
    np.testing.assert_allclose(found, sorted([one, other]), atol=1e-8)


def test_roots_at_the_ends_are_left_out_and_trap_nothing() -> None:
    assert roots(*bernstein(Polynomial.fromroots([0, 0.25, 1, 2]))) == pytest.approx([0.25])
    assert roots(*bernstein(Polynomial.fromroots([0, 0, 1, 1]))) == []
    assert roots(0.0, 0.0, 0.0, 0.0, 0.0) == []


def test_a_root_exactly_where_the_interval_is_halved() -> None:
    found = roots(*bernstein(Polynomial.fromroots([0.25, 0.5, 0.75, 3.0])))
    np.testing.assert_allclose(found, [0.25, 0.5, 0.75], atol=1e-12)


def test_rounding_at_an_end_does_not_hide_a_root() -> None:
    """Met in the wild: the last coefficient is zero but for rounding, with the wrong sign."""
    b = (-0.125, -0.048828125, -0.0026041666666666665, 0.013671875, 3.5e-18)
    assert single_root(*b) == pytest.approx(16 / 23)


@pytest.mark.parametrize(
    ("b", "changes"),
    [((1, 2, 3, 4, 5), 0), ((0, 0, -1, 0, 2), 1), ((1, 0, -1, 0, 1), 2), ((1, -1, 1, -1, 1), 4)],
)
def test_signs_are_counted_without_zeros(b: tuple[float, ...], changes: int) -> None:
    assert sign_changes(*map(float, b)) == changes
