"""The compiled lookup finds what a search among all segments finds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from dsa_env.curves.breakpoints import Curves
from dsa_env.curves.lookup import BINS, clip_actions, look_up, pack


def random_curves(seed: int, queries: int, most: int) -> Curves:
    """Curves with up to `most` segments a query, some of them hair-thin."""
    rng = np.random.default_rng(seed)
    counts = rng.integers(1, most + 1, queries)
    starts = []
    for count in counts:
        inner = rng.random(count - 1)
        inner[: count // 3] = inner[:1].repeat(count // 3) + np.arange(count // 3) * 1e-12
        starts.append(np.unique(np.concatenate([[0.0], np.clip(inner, 1e-9, 1 - 1e-9)])))
    indptr = np.concatenate([[0], np.cumsum([len(part) for part in starts])]).astype(np.int64)
    size = int(indptr[-1])
    rank = rng.integers(1, 50, size).astype(np.float32)
    return Curves(indptr, np.concatenate(starts), rank, np.arange(size, dtype=np.int32))


def packed(found: Curves) -> tuple[NDArray[np.void], NDArray[np.unsignedinteger]]:
    severity = (found.rank / 50).astype(np.float32)
    return pack(found.indptr, found.start, found.rank, severity, found.top)


@given(st.integers(0, 1000), st.integers(1, 30), st.integers(1, 40))
def test_it_finds_the_segment_of_every_granularity(seed: int, queries: int, most: int) -> None:
    found = random_curves(seed, queries, most)
    rng = np.random.default_rng(seed)
    near = found.start[:20].astype(np.float32)
    near = np.concatenate([near, np.nextafter(near, 2), np.nextafter(near, -2)])
    edges = np.concatenate([np.arange(BINS + 1) / BINS, near, [0.0, 1.0]])
    g = np.concatenate([rng.random(50), np.clip(edges, 0, 1)]).astype(np.float32)
    query = rng.integers(0, queries, len(g))
    wanted = found.segment(query, g)
    rank, severity, item, wrong = look_up(*packed(found), query, g)
    assert wrong == -1
    np.testing.assert_array_equal(item, wanted)
    np.testing.assert_array_equal(rank, found.rank[wanted])
    np.testing.assert_array_equal(severity, (found.rank / 50).astype(np.float32)[wanted])


@pytest.mark.parametrize(("query", "g"), [(-1, 0.5), (3, 0.5), (0, -0.1), (0, 1.1), (0, np.nan)])
def test_it_says_which_entry_is_out_of_range(query: int, g: float) -> None:
    found = random_curves(0, 3, 5)
    asked = np.array([1, query, 2]), np.array([0.5, g, 0.5], dtype=np.float32)
    assert look_up(*packed(found), *asked)[3] == 1


@given(st.lists(st.floats(-3, 3, width=32), min_size=1, max_size=20))
def test_actions_are_drawn_into_the_unit_interval(actions: list[float]) -> None:
    given_actions = np.array(actions, dtype=np.float32)
    g, wrong = clip_actions(given_actions)
    assert not wrong
    np.testing.assert_array_equal(g, np.clip(given_actions, 0, 1))


def test_an_action_that_is_no_number_is_found() -> None:
    g, wrong = clip_actions(np.array([0.5, np.nan], dtype=np.float32))
    assert wrong
    assert g.tolist() == [0.5, 0.0]
