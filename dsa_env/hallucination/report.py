"""How good a hallucination detector is: discrimination, calibration, and the report."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dsa_env.hallucination.pope_sampling import NEGATIVES, Questions

Floats = NDArray[np.floating]

GOALS = {"auroc": 0.90, "ece": 0.05}
"""At least this AUROC and at most this calibration error are what a detector should reach."""


def auroc(label: Floats, score: Floats) -> float:
    """Area under the ROC curve: the chance that a positive scores above a negative, ties half.

    By ranks (Mann-Whitney): (sum of the positives' mean ranks - p (p + 1) / 2) / (p n).

    Args:
        label: [M], 1 or 0.
        score: [M], higher for 1.

    Returns:
        In [0, 1]; NaN where one of the two labels does not occur.
    """
    from scipy.stats import rankdata

    positive = label > 0.5
    p, n = int(positive.sum()), int((~positive).sum())
    if not p or not n:
        return float("nan")
    return float((rankdata(score)[positive].sum() - p * (p + 1) / 2) / (p * n))


def calibration_error(label: Floats, probability: Floats, bins: int = 15) -> float:
    """Expected calibration error of the probability of 1, over bins of equal width.

    sum_b |b| / M * |mean label - mean probability| over the bins b of [0, 1] (Guo et al. 2017,
    https://arxiv.org/abs/1706.04599, here of the probability itself, which severity averages, not
    of the likelier answer's).

    Args:
        label: [M], 1 or 0.
        probability: [M] in [0, 1].
        bins: number of bins.

    Returns:
        In [0, 1]; NaN for no questions.
    """
    if not len(label):
        return float("nan")
    at = np.minimum((probability * bins).astype(np.int64), bins - 1)
    gap = np.bincount(at, weights=label - probability, minlength=bins)
    return float(np.abs(gap).sum() / len(label))


def cross_entropy(label: Floats, logits: Floats) -> float:
    """Mean binary cross-entropy in nats: log(1 + e^z) - y z."""
    z = np.asarray(logits, dtype=np.float64)
    return float(np.mean(np.logaddexp(0.0, z) - label * z))


def fit_temperature(label: Floats, logits: Floats) -> float:
    """The temperature T in [0.05, 20] at which sigmoid(logits / T) has the least cross-entropy.

    Temperature scaling (Guo et al. 2017, https://arxiv.org/abs/1706.04599); the objective is
    convex in 1 / T.
    """
    from scipy.optimize import minimize_scalar

    found = minimize_scalar(
        lambda log_t: cross_entropy(label, logits / np.exp(log_t)),
        bounds=(np.log(0.05), np.log(20.0)),
        method="bounded",
    )
    return float(np.exp(found.x))


def sigmoid(logits: Floats) -> Floats:
    """1 / (1 + e^-z), in float64."""
    from scipy.special import expit

    return np.asarray(expit(np.asarray(logits, dtype=np.float64)))


def measure(label: Floats, logits: Floats, temperature: float) -> dict[str, Any]:
    """AUROC, calibration error (with and without the temperature) and accuracy at 1/2.

    Returns:
        {"auroc", "ece", "ece_uncalibrated", "accuracy", "questions"}; None where undefined.
    """
    probability = sigmoid(logits / temperature)
    values = {
        "auroc": auroc(label, logits),
        "ece": calibration_error(label, probability),
        "ece_uncalibrated": calibration_error(label, sigmoid(logits)),
        "accuracy": float(np.mean((probability >= 0.5) == (label > 0.5))) if len(label) else np.nan,
    }
    rounded = {name: round(x, 4) if np.isfinite(x) else None for name, x in values.items()}
    return {**rounded, "questions": len(label)}


def breakdown(
    questions: Questions, logits: Floats, temperature: float, kinds: tuple[str, ...]
) -> dict[str, Any]:
    """`measure` of all questions, by kind of negative (with its positives) and by kind of fact."""

    def part(chosen: NDArray[np.bool_]) -> dict[str, Any]:
        return measure(questions.label[chosen], logits[chosen], temperature)

    return {
        "overall": part(np.ones(len(questions), dtype=bool)),
        "by_negative": {
            name: part(questions.negative == code) for code, name in enumerate(NEGATIVES)
        },
        "by_kind": {name: part(questions.kind == code) for code, name in enumerate(kinds)},
    }


def meets_goals(overall: dict[str, Any]) -> bool:
    """Whether the overall AUROC and calibration error are as `GOALS` wants them."""
    area, error = overall["auroc"], overall["ece"]
    return bool(area is not None and area >= GOALS["auroc"] and error <= GOALS["ece"])
