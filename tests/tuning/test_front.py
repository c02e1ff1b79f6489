"""The Pareto front, its knee and the hypervolume: identities of the maths."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from dsa_tuning.front import history, hypervolume, knee, pareto

POINTS = arrays(np.float64, st.tuples(st.integers(1, 12), st.just(2)), elements=st.floats(0, 1))
BOTH = ("maximize", "maximize")


@given(POINTS)
def test_nobody_dominates_the_front_and_somebody_everything_else(points: np.ndarray) -> None:
    front = pareto(points)
    assert front.any()
    for i, point in enumerate(points):
        above = (points >= point).all(axis=1) & (points > point).any(axis=1)
        equal_on_front = ((points == point).all(axis=1) & front).any()
        assert front[i] <= (not above.any())
        assert above.any() or equal_on_front


@given(POINTS)
def test_the_hypervolume_is_the_area_that_is_dominated(points: np.ndarray) -> None:
    edges = np.unique(np.concatenate([[0.0], points.ravel()]))
    middles = (edges[1:] + edges[:-1]) / 2
    widths = np.diff(edges)
    area = sum(
        w * h
        for x, w in zip(middles, widths, strict=True)
        for y, h in zip(middles, widths, strict=True)
        if ((points[:, 0] >= x) & (points[:, 1] >= y)).any()
    )
    assert hypervolume(points, [0.0, 0.0]) == pytest.approx(float(area), abs=1e-9)


@given(POINTS)
def test_more_trials_never_shrink_what_was_reached(points: np.ndarray) -> None:
    grown = history(points, BOTH)
    assert (np.diff(grown) >= -1e-12).all()
    assert history(points[:, :1], ("minimize",))[-1] == points[:, 0].min()


def test_points_beyond_the_reference_add_nothing() -> None:
    assert hypervolume([[2.0, -1.0], [0.5, 0.5]], [0.0, 0.0]) == pytest.approx(0.25)
    assert hypervolume([], [0.0, 0.0]) == 0.0


def test_the_knee_bulges_most() -> None:
    front = [[0.0, 1.0], [0.8, 0.9], [0.95, 0.3], [1.0, 0.0]]
    assert knee(front, BOTH) == 1
    lower = [[x, 1 - y] for x, y in front]
    assert knee(lower, ("maximize", "minimize")) == 1


@given(st.floats(0.1, 100), st.floats(-5, 5))
def test_the_knee_does_not_care_for_units(scale: float, shift: float) -> None:
    front = np.array([[0.0, 1.0], [0.7, 0.6], [1.0, 0.0]])
    assert knee(front * [scale, 1.0] + [shift, 0.0], BOTH) == 1


def test_a_front_of_two_has_no_knee_and_its_first_objective_decides() -> None:
    assert knee([[0.2, 1.0], [0.9, 0.1]], BOTH) == 1
    assert knee([[0.2]], ("maximize",)) == 0
