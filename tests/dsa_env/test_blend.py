"""The closed form of the blended cosine equals blending, normalising and multiplying."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dsa_env.blend import blend, blended_cosine


def unit(rng: np.random.Generator, *shape: int) -> np.ndarray:
    vectors = rng.normal(size=shape)
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 40), st.floats(0, 1))
def test_closed_form_equals_the_full_computation(seed: int, dim: int, g: float) -> None:
    rng = np.random.default_rng(seed)
    query, fine, coarse = unit(rng, 5, 1, dim), unit(rng, 5, 7, dim), unit(rng, 5, 7, dim)
    mixed = blend(coarse, fine, g)
    expected = (query * mixed).sum(-1) / np.linalg.norm(mixed, axis=-1)
    found = blended_cosine(
        (query * fine).sum(-1), (query * coarse).sum(-1), (fine * coarse).sum(-1), g
    )
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-10)
    assert np.all(np.abs(found) <= 1 + 1e-12)


def test_the_ends_are_the_views_themselves() -> None:
    rng = np.random.default_rng(0)
    coarse, fine = unit(rng, 4, 8), unit(rng, 4, 8)
    np.testing.assert_array_equal(blend(coarse, fine, 0.0), coarse)
    np.testing.assert_array_equal(blend(coarse, fine, 1.0), fine)
    np.testing.assert_array_equal(blended_cosine(0.25, -0.5, 0.1, [0.0, 1.0]), [-0.5, 0.25])


def test_identical_views_do_not_care_about_granularity() -> None:
    np.testing.assert_allclose(blended_cosine(0.3, 0.3, 1.0, np.linspace(0, 1, 11)), 0.3)


def test_a_blend_that_vanishes_has_cosine_zero() -> None:
    assert blended_cosine(0.7, -0.7, -1.0, 0.5) == 0.0
    np.testing.assert_allclose(blended_cosine(0.7, -0.7, -1.0, [0.25, 0.75]), [-0.7, 0.7])


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_blend_broadcasts_one_granularity_a_row(dtype: type) -> None:
    coarse, fine = np.zeros((3, 4), dtype), np.ones((3, 4), dtype)
    mixed = blend(coarse, fine, [0.0, 0.25, 1.0])
    np.testing.assert_array_equal(mixed[:, 0], [0.0, 0.25, 1.0])
    assert mixed.dtype == np.result_type(dtype, np.float32)
