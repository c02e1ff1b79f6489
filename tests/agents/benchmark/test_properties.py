"""Properties of pictures and prompts are what the bank says they are."""

from __future__ import annotations

import numpy as np
import pytest

from dsa_agents.benchmark.properties import query_properties
from dsa_env.bank import FeatureBank


@pytest.fixture
def bank() -> FeatureBank:
    rng = np.random.default_rng(0)
    boxes = np.zeros((6, 3, 4))
    boxes[:, 0] = [0.25, 0.5, 0.5, 0.2]
    boxes[:, 1] = [0.75, 0.5, 0.1, 0.1]
    counts = np.array([2, 2, 1, 1, 2, 1])
    regions = rng.normal(size=(6, 3, 5))
    regions[np.arange(3)[None] >= counts[:, None]] = 0
    return FeatureBank.from_arrays(
        text=rng.normal(size=(12, 5)),
        coarse=rng.normal(size=(6, 5)),
        regions=regions,
        region_counts=counts,
        region_boxes=boxes,
        positives=np.repeat(np.arange(6), 2),
        splits=["test"] * 6,
        texts=["a red cube", "a cube"] * 6,
    )


def test_each_query_has_its_picture_s_properties(bank: FeatureBank) -> None:
    images = np.array([0, 0, 2, 2])
    found = query_properties(bank, images, ["long", "brief"] * 2, "test")
    assert found["prompt: brief"].tolist() == [0, 1, 0, 1]
    assert found["regions"].tolist() == [2, 2, 1, 1]
    assert found["mean region size"] == pytest.approx([0.055, 0.055, 0.1, 0.1])
    assert found["largest region size"] == pytest.approx([0.1] * 4)
    assert found["spread of regions"] == pytest.approx([0.25, 0.25, 0, 0])
    assert found["words of people's captions"].tolist() == [2.5] * 4
    assert "prompt: long" not in found
    assert "known facts" not in found


def test_the_nearest_other_picture_is_another_one(bank: FeatureBank) -> None:
    images = np.arange(6)
    found = query_properties(bank, images, ["x"] * 6, "test")["nearest other picture"]
    even = bank.image_coarse + bank.fine_features(images)
    even /= np.linalg.norm(even, axis=1, keepdims=True)
    cosine = even @ even.T
    np.fill_diagonal(cosine, -1)
    assert found == pytest.approx(cosine.max(axis=1), abs=1e-6)
