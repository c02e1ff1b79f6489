"""Curves equal counting by brute force at every g."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from dsa_env.blend import blended_cosine
from dsa_env.curves.breakpoints import Curves, curves

GRID = np.concatenate([[0.0], np.linspace(0.00091, 0.99917, 1500), [1.0]])


Array = NDArray[Any]


def brute_force(
    f: Array, c: Array, x: Array, positive: Array, valid: Array, g: Array
) -> tuple[Array, Array]:
    """Expected rank of the best positive and the best cosine of one query at each g [G]."""
    s = blended_cosine(f[:, None], c[:, None], x[:, None], g[None])
    s = np.where(valid[:, None], s, -np.inf)
    best = s[positive & valid].max(axis=0)
    negative = s[~positive & valid]
    tied = np.abs(negative - best) < 1e-12
    rank = 1 + ((negative > best) & ~tied).sum(axis=0) + 0.5 * tied.sum(axis=0)
    return rank, s


def check(
    f: Any, c: Any, x: Any, positive: Any, valid: Any = None, avoid_middle: float = 0.0
) -> Curves:
    """Hold the curves of [Q, K] components against brute force, but not right at crossings.

    Opposite views make the cosine jump at g = 0.5, where rounding is all there is: `avoid_middle`.
    """
    f, c, x = (np.atleast_2d(np.asarray(a, dtype=np.float32)) for a in (f, c, x))
    positive = np.atleast_2d(positive)
    valid = np.ones_like(positive) if valid is None else np.atleast_2d(valid)
    found = curves(f, c, x, positive, valid)
    check_form(found, len(f))
    for q in range(len(f)):
        row = [a[q].astype(np.float64) for a in (f, c, x)]
        rank, s = brute_force(*row, positive[q], valid[q], GRID)
        own = found.start[found.indptr[q] : found.indptr[q + 1]]
        away = np.abs(GRID[:, None] - own[None]).min(axis=1) > 1e-9
        away &= np.abs(GRID - 0.5) >= avoid_middle
        away[[0, -1]] = True
        segment = found.segment(np.full(len(GRID), q), GRID)
        np.testing.assert_array_equal(found.rank[segment][away], rank[away])
        top = found.top[segment]
        assert valid[q][top].all()
        best = s.max(axis=0)
        np.testing.assert_allclose(s[top, np.arange(len(GRID))][away], best[away], atol=1e-12)
    return found


def check_form(found: Curves, queries: int) -> None:
    assert len(found.indptr) == queries + 1
    np.testing.assert_array_equal(found.start[found.indptr[:-1]], 0.0)
    assert found.start.dtype == np.float64
    assert found.rank.dtype == np.float32
    assert found.top.dtype == np.int32
    assert np.all(found.end > found.start)
    np.testing.assert_array_equal(found.end[found.indptr[1:] - 1], 1.0)
    same = np.diff(found.query) == 0
    changed = (np.diff(found.rank) != 0) | (np.diff(found.top) != 0)
    assert changed[same].all()


def components(
    rng: np.random.Generator, queries: int, k: int, dim: int = 6, spread: float = 1.0
) -> tuple[Array, Array, Array]:
    """Similarities of random unit vectors, [queries, k] each."""

    def unit(v: Array) -> Array:
        return v / np.linalg.norm(v, axis=-1, keepdims=True)

    t = unit(rng.normal(size=(queries, 1, dim)))
    c = unit(rng.normal(size=(queries, k, dim)) + spread * t)
    f = unit(rng.normal(size=(queries, k, dim)) + spread * t)
    return (t * f).sum(-1), (t * c).sum(-1), (f * c).sum(-1)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 24),
    st.integers(1, 4),
    st.integers(1, 8),
)
def test_curves_equal_brute_force(seed: int, k: int, positives: int, dim: int) -> None:
    rng = np.random.default_rng(seed)
    f, c, x = components(rng, 4, k, dim, spread=rng.choice([0.0, 1.0, 3.0]))
    positive = rng.permuted(np.broadcast_to(np.arange(k) < positives, (4, k)), axis=1)
    valid = positive | (rng.random((4, k)) < 0.8)
    check(f, c, x, positive, valid, avoid_middle=0.01 if dim == 1 else 0)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 16))
def test_curves_with_many_ties_equal_brute_force(seed: int, k: int) -> None:
    """Values on a coarse lattice: equal candidates, equal views, crossings at round places."""
    rng = np.random.default_rng(seed)
    f, c = rng.integers(-4, 5, size=(2, 4, k)) / 8
    x = rng.integers(-7, 9, size=(4, k)) / 8
    same = rng.random((4, k)) < 0.3
    f, x = np.where(same, c, f), np.where(same, 1.0, x)
    positive = rng.random((4, k)) < 0.3
    positive[:, 0] = True
    check(f, c, x, positive)


def test_one_candidate_is_always_first() -> None:
    found = check(0.1, -0.3, 0.2, True)
    assert found.rank.tolist() == [1.0]
    assert found.top.tolist() == [0]


@pytest.mark.parametrize("k", [2, 5, 100])
def test_a_constant_embedding_has_the_expected_rank(k: int) -> None:
    positive = np.arange(k) == k - 1
    found = check(np.full(k, 0.4), np.full(k, 0.2), np.full(k, 0.5), positive)
    assert found.rank.tolist() == [(k + 1) / 2]
    assert found.top.tolist() == [0]


def test_views_equal_at_one_end_only_are_tied_there_and_only_there() -> None:
    positive = np.array([False, False, True])
    found = check([0.1, 0.2, 0.9], [0.5, 0.5, 0.5], [0.3, 0.3, 0.3], positive)
    rank = found.rank[found.segment([0, 0, 0], [0.0, 1e-6, 1.0])]
    assert rank.tolist() == [2.0, 1.0, 1.0]
    found = check([0.5, 0.5, 0.5], [0.1, 0.2, 0.9], [0.3, 0.3, 0.3], positive)
    rank = found.rank[found.segment([0, 0, 0], [0.0, 1 - 1e-6, 1.0])]
    assert rank.tolist() == [1.0, 1.0, 2.0]


def test_identical_fine_and_coarse_views_give_one_segment() -> None:
    s = np.array([0.3, 0.1, 0.5])
    found = check(s, s, np.ones(3), np.array([True, False, False]))
    assert found.rank.tolist() == [2.0]
    assert found.top.tolist() == [2]


def test_a_crossing_lies_where_the_cosines_are_equal() -> None:
    f, c, x = [0.9, 0.2], [0.1, 0.6], [0.35, -0.2]
    found = check(f, c, x, np.array([True, False]))
    assert found.rank.tolist() == [2.0, 1.0]
    assert found.top.tolist() == [1, 0]
    f, c, x = (np.float32(a) for a in (f, c, x))
    s = blended_cosine(f, c, x, found.start[1])
    assert abs(s[0] - s[1]) < 1e-12


def test_two_curves_may_cross_more_than_once() -> None:
    """A view whose blend shrinks is bent: it leads in the middle and trails at both ends."""
    found = check([0.5, 0.52], [0.5, 0.52], [0.0, 0.9], np.array([True, False]))
    assert found.rank.tolist() == [2.0, 1.0, 2.0]


def test_opposite_views_jump_where_the_blend_vanishes() -> None:
    found = check([0.4, 0.1], [-0.4, 0.1], [-1.0, 1.0], np.array([True, False]), avoid_middle=0.01)
    assert found.rank[found.segment([0, 0], [0.4, 0.6])].tolist() == [2.0, 1.0]


def test_g_of_one_stays_in_its_query() -> None:
    rng = np.random.default_rng(1)
    f, c, x = components(rng, 50, 8)
    found = curves(f, c, x, np.arange(8) == np.zeros((50, 1)), np.ones((50, 8), bool))
    query = np.arange(50)
    np.testing.assert_array_equal(found.segment(query, np.ones(50)), found.indptr[1:] - 1)
    np.testing.assert_array_equal(found.segment(query, np.zeros(50)), found.indptr[:-1])
    assert found.segment(query, np.ones(50, np.float32)).max() == len(found.start) - 1


def test_the_order_of_candidates_changes_nothing_but_their_positions() -> None:
    rng = np.random.default_rng(2)
    f, c, x = (a.astype(np.float32) for a in components(rng, 20, 30))
    positive = np.arange(30) < np.full((20, 1), 2)
    valid = np.ones((20, 30), bool)
    order = rng.permutation(30)
    one = curves(f, c, x, positive, valid)
    other = curves(f[:, order], c[:, order], x[:, order], positive[:, order], valid)
    np.testing.assert_array_equal(one.indptr, other.indptr)
    np.testing.assert_allclose(one.start, other.start, atol=1e-10)
    np.testing.assert_array_equal(one.rank, other.rank)
    np.testing.assert_array_equal(one.top, order[other.top])


def test_a_query_without_positive_is_refused() -> None:
    with pytest.raises(ValueError, match="query 1 has no valid positive"):
        curves(*np.zeros((3, 2, 2)), [[True, False], [True, False]], [[True, True], [False, True]])
