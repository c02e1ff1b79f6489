"""Outcomes of a retrieval, and the null retrieval."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest

from dsa_env.retrieval.retrieval import ShortlistRetrieval, null_retrieval, outcome_curves
from dsa_env.retrieval.severity import pair_severity, pair_unsupported
from dsa_env.retrieval.shortlist import DIRECTIONS, load_retrieval
from dsa_env.testing import synthetic_bank

BANK = synthetic_bank(120, captions=3, seed=1)


@pytest.fixture(params=DIRECTIONS)
def retrieval(request: pytest.FixtureRequest) -> ShortlistRetrieval:
    return load_retrieval(BANK, request.param, "train")


def test_outcomes_read_the_curves(retrieval: ShortlistRetrieval) -> None:
    rng = np.random.default_rng(0)
    query, g = rng.integers(0, len(retrieval), 200), rng.random(200).astype(np.float32)
    outcome = retrieval.outcomes(query, g, 5)
    curves = retrieval.curves
    for i in range(200):
        own = np.arange(*curves.indptr[query[i] : query[i] + 2])
        segment = own[np.searchsorted(curves.start[own], g[i], side="right") - 1]
        assert outcome.rank[i] == curves.rank[segment]
        assert outcome.retrieved[i] == curves.item[segment]
        assert outcome.severity[i] == curves.severity[segment]
    np.testing.assert_array_equal(outcome.recall, outcome.rank <= 5)
    np.testing.assert_array_equal(outcome.query, query)
    np.testing.assert_array_equal(outcome.granularity, g)
    assert outcome.k == 5


def test_the_top_item_is_charged_with_its_own_severity(retrieval: ShortlistRetrieval) -> None:
    curves = retrieval.curves
    query = retrieval.query_ids[curves.query]
    np.testing.assert_array_equal(curves.item, retrieval.candidates[curves.query, curves.top])
    pair = (query, curves.item) if retrieval.direction == "text_to_image" else (curves.item, query)
    np.testing.assert_array_equal(curves.severity, pair_severity(BANK, *pair))
    np.testing.assert_array_equal(curves.unsupported, pair_unsupported(BANK, *pair))
    right = retrieval.positive[curves.query, curves.top]
    np.testing.assert_array_equal(curves.unsupported[right], 0.0)
    assert curves.unsupported.max() > 0


@pytest.mark.parametrize("chunk", [1, 3000])
def test_curves_are_the_same_in_parts(
    retrieval: ShortlistRetrieval, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dsa_env.retrieval.retrieval.CHUNK", chunk)
    monkeypatch.setattr("dsa_env.curves.breakpoints.CHUNK", chunk)
    names = ("query_ids", "candidates", "positive", "fine", "coarse", "cross")
    parts = [getattr(retrieval, name) for name in names]
    found = outcome_curves(BANK, retrieval.direction, *parts)
    for field in fields(found):
        ours, whole = getattr(found, field.name), getattr(retrieval.curves, field.name)
        np.testing.assert_array_equal(ours, whole)
        assert ours.dtype == whole.dtype


def test_the_null_retrieval_keeps_everything_but_the_fine_components(
    retrieval: ShortlistRetrieval,
) -> None:
    null = null_retrieval(retrieval, BANK, seed=0)
    for name in ("query_ids", "candidates", "positive", "coarse", "observation"):
        np.testing.assert_array_equal(getattr(null, name), getattr(retrieval, name))
    assert not np.array_equal(null.fine, retrieval.fine)
    again = null_retrieval(retrieval, BANK, seed=0)
    np.testing.assert_array_equal(again.fine, null.fine)
    assert not np.array_equal(null_retrieval(retrieval, BANK, seed=1).fine, null.fine)
    expected = outcome_curves(
        BANK,
        null.direction,
        null.query_ids,
        null.candidates,
        null.positive,
        null.fine,
        null.coarse,
        null.cross,
    )
    np.testing.assert_array_equal(null.curves.rank, expected.rank)
    np.testing.assert_array_equal(null.curves.item, expected.item)


def test_null_components_come_from_one_other_query_role_by_role(
    retrieval: ShortlistRetrieval,
) -> None:
    """Every query gets a donor of its own: positives from positives, negatives in their order."""
    null = null_retrieval(retrieval, BANK, seed=3)
    donors = []
    for q in range(len(retrieval)):
        positive = retrieval.positive[q]
        donor = None
        for d in range(len(retrieval)):
            theirs = retrieval.positive[d]
            if positive.sum() != theirs.sum():
                continue
            if np.array_equal(null.fine[q][~positive], retrieval.fine[d][~theirs]):
                donor = d
                np.testing.assert_array_equal(null.fine[q][positive], retrieval.fine[d][theirs])
                np.testing.assert_array_equal(null.cross[q][positive], retrieval.cross[d][theirs])
                np.testing.assert_array_equal(null.cross[q][~positive], retrieval.cross[d][~theirs])
        assert donor is not None
        donors.append(donor)
    assert sorted(donors) == list(range(len(retrieval)))
    assert all(donor != q for q, donor in enumerate(donors))


def test_null_roles_go_around_where_the_donor_has_fewer() -> None:
    from dsa_env.retrieval.retrieval import _aligned

    positive = np.array([[1, 1, 0, 0], [0, 0, 1, 0], [1, 0, 0, 0]], dtype=bool)
    valid = np.array([[1, 1, 1, 1], [1, 1, 1, 1], [1, 0, 0, 0]], dtype=bool)
    places = _aligned(positive, valid, np.array([1, 2, 0]))
    assert places[0].tolist() == [2, 2, 0, 1]
    assert places[1].tolist() == [0, 0, 0, 0]
    assert places[2][0] == 0


def test_granularity_matters_less_once_the_views_are_re_paired() -> None:
    """What the best g of each query gains over the best fixed one is more than luck."""
    retrieval = load_retrieval(BANK, "text_to_image", "train")
    gains = []
    for one in (retrieval, null_retrieval(retrieval, BANK, seed=0)):
        query = np.arange(len(one))
        fixed = max(
            one.outcomes(query, np.full(len(one), g), 1).recall.mean()
            for g in np.linspace(0, 1, 21)
        )
        hit = np.maximum.reduceat((one.curves.rank <= 1).astype(float), one.curves.indptr[:-1])
        gains.append(hit.mean() - fixed)
    assert gains[0] > gains[1]
