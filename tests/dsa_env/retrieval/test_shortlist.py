"""Retrievals: exact against full embeddings in float64, complete, and free of leaks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dsa_env.bank import FeatureBank
from dsa_env.bank.format import unit_rows
from dsa_env.blend import blend
from dsa_env.errors import BankError, DSAError
from dsa_env.retrieval import shortlist
from dsa_env.retrieval.shortlist import DIRECTIONS, ShortlistRetrieval, load_retrieval

Array = np.ndarray[Any, Any]
GRID = np.concatenate([[0.0], np.linspace(0.0021, 0.9973, 20), [1.0]])


@pytest.fixture(autouse=True)
def fresh_process() -> None:
    """Nothing is remembered from another test."""
    shortlist._loaded.clear()


def random_bank(seed: int, images: int = 24, texts: int = 40, **changes: Any) -> FeatureBank:
    """Texts that resemble their images in the coarse or in one region's features."""
    rng = np.random.default_rng(seed)
    dim = 6
    coarse, regions = rng.normal(size=(images, dim)), rng.normal(size=(images, 4, dim))
    positives = rng.integers(0, images, texts)
    about = np.where(rng.random((texts, 1)) < 0.5, coarse[positives], regions[positives, 0])
    arguments: dict[str, Any] = {
        "text": about + 0.5 * rng.normal(size=(texts, dim)),
        "coarse": coarse,
        "regions": regions,
        "region_counts": rng.integers(0, 5, images),
        "positives": positives,
        "splits": ["test"] * images,
        "kinds": rng.choice(["scene", "object"], texts),
        "temperature": 0.2,
    }
    return FeatureBank.from_arrays(**(arguments | changes))


def fine_views(bank: FeatureBank, text: Array | None) -> Array:
    """The fine view of every image (for a text), [N, D] in float64, by definition."""
    views = unit_rows(bank.image_coarse)
    if bank.image_fine is not None:
        return unit_rows(bank.image_fine)
    assert bank.image_regions is not None
    assert bank.region_counts is not None
    for image, count in enumerate(bank.region_counts):
        if count:
            rows = unit_rows(bank.image_regions[image, :count])
            attended = text is not None and bank.fine == "attended"
            weight = np.exp(rows @ text / bank.temperature) if attended else np.ones(count)
            views[image] = unit_rows(weight @ rows)
    return views


def full_scores(bank: FeatureBank, direction: str, query: int, g: float) -> Array:
    """Blend, normalise and multiply full embeddings: the score of every item of the bank."""
    texts, coarse = unit_rows(bank.text_features), unit_rows(bank.image_coarse)
    if direction == "text_to_image":
        views = blend(coarse, fine_views(bank, texts[query]), g)
        return unit_rows(views) @ texts[query]
    view = blend(coarse[query], fine_views(bank, None)[query], g)
    return texts @ unit_rows(view)


def hold_against_full_computation(
    bank: FeatureBank, retrieval: ShortlistRetrieval, gallery: Array
) -> None:
    """Rank, recall, top item and best g of every query, at every g of the grid."""
    positives = (
        bank.positives if retrieval.direction == "text_to_image" else bank.captions_of
    ).to_lists()
    for q, query in enumerate(retrieval.query_ids):
        relevant = np.isin(gallery, positives[query])
        outcome = retrieval.outcomes(np.full(len(GRID), q), GRID, 10)
        best = 0.0
        for i, g in enumerate(GRID):
            score = full_scores(bank, retrieval.direction, query, g)[gallery]
            top, others = score[relevant].max(), score[~relevant]
            above, near = (others > top + 1e-6).sum(), (np.abs(others - top) <= 1e-6).sum()
            assert 1 + above <= outcome.rank[i] <= 1 + above + near
            if not near:
                assert outcome.recall[i] == (1 + above <= 10)
                best = max(best, 1 / (1 + above))
            retrieved = np.flatnonzero(gallery == outcome.retrieved[i])[0]
            assert score[retrieved] >= score.max() - 1e-6
        own = slice(*retrieval.curves.indptr[q : q + 2])
        assert 1 / retrieval.curves.rank[own].min() >= best - 1e-6


@settings(max_examples=12, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from(DIRECTIONS),
    st.sampled_from(["attended", "mean", "given"]),
)
def test_the_closed_form_equals_the_full_computation(seed: int, direction: str, fine: str) -> None:
    changes: dict[str, Any] = {"fine_variant": fine}
    if fine == "given":
        views = np.random.default_rng(seed).normal(size=(24, 6))
        changes = {"fine": views, "regions": None, "region_counts": None}
    bank = random_bank(seed, texts=30, **changes)
    retrieval = load_retrieval(bank, direction, "test")
    gallery = np.arange(bank.n_images if direction == "text_to_image" else bank.n_texts)
    hold_against_full_computation(bank, retrieval, gallery)


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_several_positives_and_any_dtype(direction: str, dtype: type) -> None:
    rng = np.random.default_rng(0)
    bank = random_bank(
        1,
        text=rng.normal(size=(40, 6)).astype(dtype),
        positives=[rng.choice(24, 1 + i % 3, replace=False).tolist() for i in range(40)],
    )
    retrieval = load_retrieval(bank, direction, "test")
    rows = bank.positives if direction == "text_to_image" else bank.captions_of
    for q, query in enumerate(retrieval.query_ids):
        relevant = retrieval.candidates[q][retrieval.positive[q]]
        assert sorted(relevant.tolist()) == sorted(rows.row(query).tolist())
    gallery = np.arange(24 if direction == "text_to_image" else 40)
    hold_against_full_computation(bank, retrieval, gallery)


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_a_constant_embedding_has_the_expected_rank(direction: str) -> None:
    constant = np.ones((25, 4))
    bank = FeatureBank.from_arrays(constant, constant, constant, splits=["test"] * 25)
    retrieval = load_retrieval(bank, direction, "test")
    for g in (0.0, 0.3, 1.0):
        outcome = retrieval.outcomes(np.arange(25), np.full(25, g), 10)
        np.testing.assert_array_equal(outcome.rank, 13.0)
        np.testing.assert_array_equal(outcome.recall, 0.0)
    assert len(retrieval.curves.start) == 25


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_duplicates_of_the_positive_share_its_rank(direction: str) -> None:
    rng = np.random.default_rng(0)
    text, view = np.repeat(rng.normal(size=(2, 12, 5)), 3, axis=1)
    bank = FeatureBank.from_arrays(text, view, view, splits=["test"] * 36)
    retrieval = load_retrieval(bank, direction, "test")
    rank = retrieval.outcomes(np.arange(36), np.full(36, 0.5), 10).rank
    np.testing.assert_array_equal(rank % 3, 2.0)


def test_constant_coarse_features_are_tied_at_g_zero_only() -> None:
    rng = np.random.default_rng(0)
    fine = np.pad(rng.normal(size=(25, 8)), ((0, 0), (0, 1)))
    coarse = np.eye(9)[np.full(25, 8)]
    bank = FeatureBank.from_arrays(fine, coarse, fine, splits=["test"] * 25)
    retrieval = load_retrieval(bank, "text_to_image", "test")
    query = np.arange(25)
    np.testing.assert_array_equal(retrieval.outcomes(query, np.zeros(25), 10).rank, 13.0)
    np.testing.assert_array_equal(retrieval.outcomes(query, np.full(25, 1e-6), 10).rank, 1.0)
    assert retrieval.curves.start[1] == 1e-9


def test_a_gallery_of_one() -> None:
    bank = FeatureBank.from_arrays([[1.0, 0.0]], [[0.0, 1.0]], [[1.0, 1.0]], splits=["test"])
    for direction in DIRECTIONS:
        retrieval = load_retrieval(bank, direction, "test")
        assert retrieval.candidates.tolist() == [[0]]
        assert retrieval.curves.rank.tolist() == [1.0]


def test_a_positive_that_retrieval_does_not_find_is_a_candidate_all_the_same() -> None:
    rng = np.random.default_rng(0)
    text, view = rng.normal(size=(2, 300, 8))
    text[0] = -view[0]  # the worst of all
    bank = FeatureBank.from_arrays(text, view, view, splits=["test"] * 300)
    short = load_retrieval(bank, "text_to_image", "test", shortlist=20)
    whole = load_retrieval(bank, "text_to_image", "test")
    assert short.candidates.shape == (300, 20)
    assert whole.candidates.shape == (300, 300)
    assert short.candidates[0, -1] == 0
    assert short.positive.sum(axis=1).tolist() == [1] * 300
    for g in (0.0, 0.5, 1.0):
        one, other = (r.outcomes(np.arange(300), np.full(300, g), 10) for r in (short, whole))
        np.testing.assert_array_equal(one.recall, other.recall)
        np.testing.assert_array_equal(one.retrieved, other.retrieved)
        found = other.rank <= 10
        np.testing.assert_array_equal(one.rank[found], other.rank[found])


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_galleries_keep_queries_to_their_own_items(direction: str) -> None:
    bank = random_bank(3, images=50, texts=90, gallery_size=20)
    retrieval = load_retrieval(bank, direction, "test")
    home = np.minimum(np.arange(50) // 20, 2)
    first = bank.positives.first
    image_of_query = (
        first[retrieval.query_ids] if direction == "text_to_image" else (retrieval.query_ids)
    )
    np.testing.assert_array_equal(retrieval.cluster, image_of_query)
    sizes = np.bincount(home) if direction == "text_to_image" else np.bincount(home[first])
    assert retrieval.candidates.shape[1] == sizes.max()
    for q in range(len(retrieval)):
        items = retrieval.candidates[q][retrieval.candidates[q] >= 0]
        images = items if direction == "text_to_image" else first[items]
        own = home[image_of_query[q]]
        assert set(home[images]) == {own}
        assert len(items) == sizes[own]
        assert len(set(items.tolist())) == len(items)
    texts = np.flatnonzero(np.ones(90)) if direction == "text_to_image" else np.unique(first)
    assert sorted(retrieval.query_ids.tolist()) == sorted(texts.tolist())


def test_a_positive_in_another_gallery_is_no_candidate() -> None:
    eye = np.eye(6)
    bank = FeatureBank.from_arrays(
        eye, eye, eye, positives=[[0, 5], [1], [2], [3], [4], [5]], splits=["test"] * 6,
        gallery_size=3,
    )  # fmt: skip
    retrieval = load_retrieval(bank, "text_to_image", "test")
    assert sorted(retrieval.candidates[0].tolist()) == [0, 1, 2]
    assert retrieval.candidates[0][retrieval.positive[0]].tolist() == [0]


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("fine", ["attended", "mean"])
@pytest.mark.parametrize("size", [None, 20])
def test_who_is_the_positive_leaves_every_observation_bit_identical(
    direction: str, fine: str, size: int | None
) -> None:
    rng = np.random.default_rng(5)
    given_arrays: dict[str, Any] = {
        "text": rng.normal(size=(60, 6)),
        "coarse": rng.normal(size=(60, 6)),
        "regions": rng.normal(size=(60, 3, 6)),
        "splits": ["test"] * 60,
        "fine_variant": fine,
    }
    one, other = (
        FeatureBank.from_arrays(**given_arrays, positives=positives)
        for positives in (np.arange(60), rng.permutation(60))
    )
    first, second = (
        load_retrieval(bank, direction, "test", shortlist=size) for bank in (one, other)
    )
    np.testing.assert_array_equal(first.query_ids, second.query_ids)
    assert first.observation.tobytes() == second.observation.tobytes()
    assert not np.array_equal(first.curves.rank, second.curves.rank)


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_what_is_observed(direction: str) -> None:
    bank = random_bank(7, images=50, texts=50, positives=np.arange(50))
    retrieval = load_retrieval(bank, direction, "test")
    views = unit_rows(bank.image_coarse), bank.fine_features(np.arange(50), np.float64)
    texts = unit_rows(bank.text_features)
    assert retrieval.observation.dtype == np.float32
    seen = retrieval.observed(retrieval.observation)
    for q in (0, 17):
        order = np.argsort(retrieval.candidates[q])
        fine, coarse = retrieval.fine[q][order], retrieval.coarse[q][order]
        means = []
        for similarity, features in (
            (coarse, views[0] if direction == "text_to_image" else texts),
            (fine, views[1] if direction == "text_to_image" else texts),
        ):
            top = np.argsort(-similarity, kind="stable")[:32]
            weight = np.exp(similarity[top].astype(np.float64) / 0.05)
            means.append(weight @ features[top] / weight.sum())
        aggregated = np.concatenate(means)
        own = np.concatenate([views[0][q], views[1][q]])
        text, image = (texts[q], aggregated) if direction == "text_to_image" else (aggregated, own)
        np.testing.assert_allclose(seen["text"][q], text, atol=1e-5)
        np.testing.assert_allclose(seen["image"][q], image, atol=1e-5)


def test_kinds_belong_to_texts() -> None:
    bank = random_bank(8)
    assert bank.text_kind is not None
    forward = load_retrieval(bank, "text_to_image", "test")
    assert forward.kind is not None
    np.testing.assert_array_equal(forward.kind, bank.text_kind[forward.query_ids])
    assert load_retrieval(bank, "image_to_text", "test").kind is None


def test_wrong_requests_are_one_clear_line() -> None:
    bank = random_bank(9)
    with pytest.raises(DSAError, match="Did you mean 'text_to_image'"):
        load_retrieval(bank, "text_to_imag", "test")
    with pytest.raises(DSAError, match="Did you mean 'test'"):
        load_retrieval(bank, "text_to_image", "tset")
    with pytest.raises(BankError, match="'train' has no images; choose one of test"):
        load_retrieval(bank, "text_to_image", "train")
    with pytest.raises(DSAError, match="shortlist must be at least 20"):
        load_retrieval(bank, "text_to_image", "test", shortlist=5)
    splits = ["test"] + ["train"] * 24
    lonely = random_bank(9, images=25, positives=np.zeros(40, int), splits=splits)
    with pytest.raises(BankError, match="'train' has images but no texts"):
        load_retrieval(lonely, "image_to_text", "train")


def test_a_retrieval_is_loaded_once_a_process(monkeypatch: pytest.MonkeyPatch) -> None:
    bank = random_bank(10)
    first = load_retrieval(bank, "text_to_image", "test")
    assert load_retrieval(random_bank(10), "text_to_image", "test") is first
    assert load_retrieval(bank, "text_to_image", "test", shortlist=21) is not first
    monkeypatch.setattr(shortlist, "KEPT", 2)
    load_retrieval(bank, "image_to_text", "test")
    assert len(shortlist._loaded) == 2
    assert load_retrieval(bank, "text_to_image", "test") is not first
