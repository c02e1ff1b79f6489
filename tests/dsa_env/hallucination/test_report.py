"""The detector's measures against scikit-learn, against definitions and against known answers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import log_loss, roc_auc_score

from dsa_env.hallucination.pope_sampling import NEGATIVES, Questions
from dsa_env.hallucination.report import (
    auroc,
    breakdown,
    calibration_error,
    cross_entropy,
    fit_temperature,
    measure,
    meets_goals,
    sigmoid,
)


def drawn(seed: int, n: int = 4000) -> tuple[np.ndarray, np.ndarray]:
    """Calibrated logits and labels drawn from them."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, n)
    return (rng.random(n) < sigmoid(logits)).astype(np.float64), logits


@given(
    st.lists(st.tuples(st.booleans(), st.integers(-5, 5)), min_size=2, max_size=60).filter(
        lambda rows: len({label for label, _ in rows}) == 2
    )
)
def test_auroc_and_cross_entropy_equal_scikit_learns_ties_included(
    rows: list[tuple[bool, int]],
) -> None:
    label, score = (np.array(column, dtype=float) for column in zip(*rows, strict=True))
    assert auroc(label, score) == pytest.approx(roc_auc_score(label, score))
    assert cross_entropy(label, score) == pytest.approx(log_loss(label, sigmoid(score)))


def test_auroc_of_one_answer_is_undefined() -> None:
    assert np.isnan(auroc(np.ones(4), np.arange(4.0)))
    assert measure(np.ones(4), np.arange(4.0), 1.0)["auroc"] is None


@given(st.lists(st.tuples(st.booleans(), st.floats(0, 1)), min_size=1, max_size=60))
def test_calibration_error_is_its_definition(rows: list[tuple[bool, float]]) -> None:
    label, probability = (np.array(column, dtype=float) for column in zip(*rows, strict=True))
    expected = 0.0
    at = np.minimum((probability * 15).astype(int), 14)
    for b in range(15):
        if (at == b).any():
            gap = label[at == b].mean() - probability[at == b].mean()
            expected += (at == b).mean() * abs(gap)
    found = calibration_error(label, probability)
    assert found == pytest.approx(expected)
    assert 0 <= found <= 1


def test_perfect_and_reversed_confidence_have_error_zero_and_one() -> None:
    label = np.array([0.0, 1, 1, 0])
    assert calibration_error(label, label) == 0
    assert calibration_error(label, 1 - label) == 1


@pytest.mark.parametrize("true_temperature", [0.4, 1.0, 3.0])
def test_the_temperature_is_found_and_calibrates(true_temperature: float) -> None:
    label, logits = drawn(0)
    found = fit_temperature(label, logits * true_temperature)
    assert found == pytest.approx(true_temperature, rel=0.1)
    result = measure(label, logits * true_temperature, found)
    assert result["ece"] < 0.03
    if true_temperature != 1.0:
        assert result["ece"] < result["ece_uncalibrated"] - 0.03


def test_the_temperature_changes_neither_order_nor_answers() -> None:
    label, logits = drawn(1)
    cold, warm = (measure(label, logits, temperature) for temperature in (0.5, 4.0))
    assert cold["auroc"] == warm["auroc"]
    assert cold["accuracy"] == warm["accuracy"]


def test_the_breakdown_holds_each_part_and_all_questions() -> None:
    label, logits = drawn(2, n=600)
    ids = np.arange(600)
    questions = Questions(ids, ids, label.astype(np.float32), ids % 3, ids % 2)
    found = breakdown(questions, logits, 1.0, ("scene", "object"))
    assert list(found["by_negative"]) == list(NEGATIVES)
    assert found["by_kind"]["object"] == measure(label[1::2], logits[1::2], 1.0)
    for parts in (found["by_negative"], found["by_kind"]):
        assert sum(part["questions"] for part in parts.values()) == 600
    assert found["overall"]["questions"] == 600


def test_goals_need_both_measures() -> None:
    assert meets_goals({"auroc": 0.95, "ece": 0.02})
    assert not meets_goals({"auroc": 0.95, "ece": 0.08})
    assert not meets_goals({"auroc": 0.85, "ece": 0.02})
    assert not meets_goals({"auroc": None, "ece": 0.02})
