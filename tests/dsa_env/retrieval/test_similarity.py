"""Similarity components equal the ones computed from full vectors in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dsa_env.bank import FeatureBank
from dsa_env.bank.format import unit_rows
from dsa_env.retrieval import similarity
from dsa_env.retrieval.similarity import Components, component_blocks

Array = np.ndarray[Any, Any]


def bank_of(seed: int, fine: str = "attended", **changes: Any) -> FeatureBank:
    """A random bank of 30 images with up to five regions and 40 texts."""
    rng = np.random.default_rng(seed)
    images, texts, dim = 30, 40, 7
    views: dict[str, Any] = (
        {"fine": rng.normal(size=(images, dim))}
        if fine == "given"
        else {
            "regions": rng.normal(size=(images, 5, dim)),
            "region_counts": rng.integers(0, 6, images),
            "fine_variant": fine,
        }
    )
    arguments: dict[str, Any] = {
        "text": rng.normal(size=(texts, dim)),
        "coarse": rng.normal(size=(images, dim)),
        "positives": rng.integers(0, images, texts),
        "splits": ["test"] * images,
        "temperature": 0.3,
    }
    return FeatureBank.from_arrays(**(arguments | views | changes))


def fine_vector(bank: FeatureBank, image: int, text: Array | None) -> Array:
    """The fine view of an image (for a text), by definition."""
    coarse = unit_rows(bank.image_coarse[image])
    if bank.image_regions is None:
        assert bank.image_fine is not None
        return unit_rows(bank.image_fine[image])
    assert bank.region_counts is not None
    regions = unit_rows(bank.image_regions[image, : bank.region_counts[image]])
    if not len(regions):
        return coarse
    weight = np.ones(len(regions))
    if text is not None and bank.fine == "attended":
        weight = np.exp(regions @ text / bank.temperature)
    return unit_rows(weight @ regions)


def components(bank: FeatureBank, direction: str, queries: Array, items: Array) -> Components:
    blocks = list(component_blocks(bank, direction, queries, items))
    covered = np.concatenate([np.arange(rows.start, rows.stop) for rows, _ in blocks])
    np.testing.assert_array_equal(covered, np.arange(len(queries)))
    return Components.stack([part for _, part in blocks])


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from(["attended", "mean", "given"]))
def test_text_to_image_equals_the_definition(seed: int, fine: str) -> None:
    bank = bank_of(seed, fine)
    queries, items = np.array([3, 17, 3]), np.arange(4, 30)
    found = components(bank, "text_to_image", queries, items)
    for row, query in enumerate(queries):
        text = unit_rows(bank.text_features[query])
        for column, image in enumerate(items):
            f, c = fine_vector(bank, image, text), unit_rows(bank.image_coarse[image])
            expected = [f @ text, c @ text, f @ c]
            got = [found.fine[row, column], found.coarse[row, column], found.cross[row, column]]
            np.testing.assert_allclose(got, expected, atol=1e-6)
    assert found.fine.dtype == found.coarse.dtype == found.cross.dtype == np.float32


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from(["attended", "mean", "given"]))
def test_image_to_text_equals_the_definition(seed: int, fine: str) -> None:
    bank = bank_of(seed, fine)
    queries, items = np.arange(30), np.array([0, 5, 39])
    found = components(bank, "image_to_text", queries, items)
    texts = unit_rows(bank.text_features[items])
    for row, image in enumerate(queries):
        f, c = fine_vector(bank, image, None), unit_rows(bank.image_coarse[image])
        np.testing.assert_allclose(found.fine[row], texts @ f, atol=1e-6)
        np.testing.assert_allclose(found.coarse[row], texts @ c, atol=1e-6)
        np.testing.assert_allclose(found.cross[row], f @ c, atol=1e-6)


@pytest.mark.parametrize("direction", ["text_to_image", "image_to_text"])
@pytest.mark.parametrize("fine", ["attended", "mean"])
def test_blocks_change_nothing(direction: str, fine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    bank = bank_of(1, fine)
    queries, items = np.arange(30), np.arange(30)
    whole = components(bank, direction, queries, items)
    monkeypatch.setattr(similarity, "BLOCK_BYTES", 2000)
    monkeypatch.setattr(similarity, "SMALL_BLOCK_BYTES", 1000)
    assert len(list(component_blocks(bank, direction, queries, items))) > 3
    cut = components(bank, direction, queries, items)
    for name in ("fine", "coarse", "cross"):
        np.testing.assert_allclose(getattr(cut, name), getattr(whole, name), atol=1e-7)


@pytest.mark.parametrize("fine", ["attended", "mean", "given"])
def test_equal_embeddings_have_equal_components(fine: str) -> None:
    """Duplicates tie exactly, wherever they stand among 600 candidates."""
    rng = np.random.default_rng(0)
    original = bank_of(2, fine)
    copies = rng.integers(0, 30, 600)
    views: dict[str, Any] = (
        {"fine": original.image_fine[copies]}
        if original.image_fine is not None
        else {
            "regions": original.image_regions[copies],
            "region_counts": original.region_counts[copies],
            "fine_variant": fine,
        }
    )
    bank = FeatureBank.from_arrays(
        original.text_features,
        original.image_coarse[copies],
        **views,
        positives=np.arange(40),
        splits=["test"] * 600,
    )
    found = components(bank, "text_to_image", np.arange(40), np.arange(600))
    for image in range(30):
        for part in (found.fine, found.coarse, found.cross):
            same = part[:, copies == image]
            np.testing.assert_array_equal(same, np.broadcast_to(same[:, :1], same.shape))


def test_identical_views_have_cross_one_and_equal_similarities() -> None:
    rng = np.random.default_rng(3)
    views = rng.normal(size=(30, 7))
    bank = FeatureBank.from_arrays(views, views, regions=views[:, None], splits=["test"] * 30)
    found = components(bank, "text_to_image", np.arange(30), np.arange(30))
    np.testing.assert_array_equal(found.cross, 1.0)
    np.testing.assert_allclose(found.fine, found.coarse, atol=1e-7)


def test_images_without_regions_use_their_coarse_view() -> None:
    bank = bank_of(4, region_counts=np.zeros(30, int))
    found = components(bank, "text_to_image", np.arange(40), np.arange(30))
    np.testing.assert_array_equal(found.fine, found.coarse)
    np.testing.assert_array_equal(found.cross, 1.0)


def test_float16_features_are_renormalised() -> None:
    bank = bank_of(5)
    rows = bank.text_features.astype(np.float16)
    length = np.linalg.norm(unit_rows(rows), axis=1)
    np.testing.assert_allclose(length, 1.0, atol=1e-12)
