"""The verdict on low precision: identical encoders agree, scrambled ones do not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import Image

from dsa_env.encoders.precision import rankings_agree, rankings_survive
from dsa_env.errors import DSAError
from tests.dsa_env.encoders.conftest import Loaded

TEXTS = ["a small red cube", "two large blue spheres", "a wooden floor"]


class _Given:
    """An encoder of given cosines: pictures are axes, a text's row holds its cosines."""

    def __init__(self, cosines: list[list[float]]) -> None:
        self.cosines = np.array(cosines, dtype=np.float32)

    def text(self, texts: Any) -> Any:
        return self.cosines

    def look(self, prepared: Any) -> Any:
        return np.eye(self.cosines.shape[1], dtype=np.float32), []


def _agreement(low: list[list[float]], high: list[list[float]]) -> Any:
    count = len(high[0])
    return rankings_agree(_Given(low), _Given(high), ["t"] * len(high), [{}] * count)  # type: ignore[arg-type]


def test_bf16_of_the_embedded_model_keeps_its_rankings(pictures: list[Image.Image]) -> None:
    from dsa_env.encoders.families import load_encoder

    low, exact = load_encoder("embedded", dtype="bf16"), load_encoder("embedded")
    agreement = rankings_survive(low, exact, TEXTS, pictures)
    assert agreement.survives
    assert 0 < agreement.largest_difference < 0.02
    assert "3 texts keep 100.0% of their 2 best of 8 pictures" in str(agreement)


def test_an_encoder_agrees_with_itself(loaded: Loaded, pictures: list[Image.Image]) -> None:
    agreement = rankings_survive(loaded("siglip"), loaded("siglip"), TEXTS, pictures)
    assert (agreement.same_top, agreement.same_best, agreement.largest_difference) == (1, 1, 0)
    assert agreement.rank_correlation == pytest.approx(1)


def test_other_orders_do_not_survive() -> None:
    high = [[0.9, 0.5, 0.1, 0.0], [0.1, 0.2, 0.3, 0.4]]
    turned = [row[::-1] for row in high]
    agreement = _agreement(turned, high)
    assert (agreement.same_best, agreement.rank_correlation) == (0, pytest.approx(-1))
    assert not agreement.survives
    half = _agreement([high[0], turned[1]], high)
    assert (half.same_best, half.rank_correlation) == (0.5, pytest.approx(0))
    assert half.margin == pytest.approx(0.25)


def test_near_ties_at_the_top_are_not_held_against_a_precision() -> None:
    rng = np.random.default_rng(0)
    high = rng.uniform(0, 0.5, (20, 30))
    high[:, :2] = [0.9, 0.9 - 1e-4]
    low = high + rng.uniform(-2e-4, 2e-4, high.shape)
    agreement = _agreement(low.tolist(), high.tolist())
    assert agreement.top == 10
    assert agreement.same_best < 0.9 < agreement.same_top
    assert agreement.margin < agreement.largest_difference
    assert agreement.survives
    rough = _agreement((high + rng.normal(0, 0.2, high.shape)).tolist(), high.tolist())
    assert not rough.survives


def test_of_a_tie_at_the_top_either_counts_and_a_constant_correlates_with_nothing() -> None:
    agreement = _agreement([[0.3, 0.9, 0.2], [0.5, 0.5, 0.5]], [[0.9, 0.9, 0.2], [0.5, 0.2, 0.1]])
    assert agreement.same_best == 1
    assert agreement.rank_correlation == pytest.approx((np.sqrt(3) / 2 + 0) / 2)
    assert not agreement.survives


def test_a_sample_must_be_large_enough_to_rank(loaded: Loaded, pictures: list[Image.Image]) -> None:
    with pytest.raises(DSAError, match="at least 3 pictures and 1 text"):
        rankings_survive(loaded("clip"), loaded("clip"), TEXTS, pictures[:2])
