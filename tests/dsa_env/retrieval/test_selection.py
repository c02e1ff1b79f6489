"""Shortlists hold whoever ranks high for some granularity, and every positive."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dsa_env.bank.format import unit_rows
from dsa_env.bank.ragged import Ragged
from dsa_env.blend import blended_cosine
from dsa_env.retrieval.selection import GRID, natural_shortlist, shortlist_size, with_positives
from dsa_env.retrieval.similarity import Components


def random_components(seed: int, queries: int, n: int) -> Components:
    rng = np.random.default_rng(seed)
    query, fine, coarse = unit_rows(rng.normal(size=(3, queries, n, 5)))
    pairs = (query[:, :1], fine), (query[:, :1], coarse), (fine, coarse)
    return Components(*((a * b).sum(-1).astype(np.float32) for a, b in pairs))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 60), st.integers(1, 60))
def test_order_by_best_rank_over_the_grid(seed: int, n: int, size: int) -> None:
    parts, size = random_components(seed, 3, n), min(n, size)
    chosen = natural_shortlist(parts, size)
    for q in range(3):
        cosine = blended_cosine(
            *(part[q, :, None] for part in (parts.fine, parts.coarse, parts.cross)), GRID[None]
        )
        best = (np.argsort(np.argsort(-cosine, axis=0), axis=0)).min(axis=1)
        assert len(set(chosen[q].tolist())) == size
        assert best[chosen[q]].tolist() == sorted(best.tolist())[:size]


def test_everything_that_is_ever_among_the_ten_best_is_on_the_shortlist() -> None:
    parts = random_components(0, 20, 400)
    chosen = natural_shortlist(parts, 256)
    for q in range(20):
        cosine = blended_cosine(
            *(part[q, :, None] for part in (parts.fine, parts.coarse, parts.cross)),
            np.linspace(0, 1, 501)[None],
        )
        ever = np.unique(np.argsort(-cosine, axis=0)[:10])
        assert set(ever.tolist()) <= set(chosen[q].tolist())


def test_similarities_from_one_end_to_the_other() -> None:
    cosine = np.linspace(-1, 1, 9, dtype=np.float32)[None]
    chosen = natural_shortlist(Components(cosine, cosine, np.ones_like(cosine)), 9)
    assert chosen.tolist() == [list(range(8, -1, -1))]


def test_equal_candidates_stand_in_their_own_order() -> None:
    constant = np.full((2, 40), 0.25, dtype=np.float32)
    chosen = natural_shortlist(Components(constant, constant, constant), 12)
    np.testing.assert_array_equal(chosen, np.broadcast_to(np.arange(12), (2, 12)))


def test_missing_positives_take_the_last_places() -> None:
    natural = np.array([[4, 2, 0], [1, 3, 5], [6, 7, 8]])
    chosen, positive = with_positives(natural, Ragged.from_lists([[2, 9], [8, 5], [9, 6, 5, 4]]))
    assert chosen.tolist() == [[4, 2, 9], [1, 8, 5], [6, 5, 9]]
    assert positive.tolist() == [[False, True, True], [False, True, True], [True, True, True]]
    assert natural.tolist() == [[4, 2, 0], [1, 3, 5], [6, 7, 8]]


@pytest.mark.parametrize(
    ("requested", "gallery", "size"),
    [(None, 1, 1), (None, 512, 512), (None, 513, 256), (30, 1000, 30), (30, 8, 8), (900, 800, 800)],
)
def test_shortlist_sizes(requested: int | None, gallery: int, size: int) -> None:
    assert shortlist_size(requested, gallery) == size
