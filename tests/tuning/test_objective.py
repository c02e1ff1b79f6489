"""Objectives: weight-free, checked on arrival."""

from __future__ import annotations

import pytest

from dsa_env.errors import DSAError
from dsa_tuning.metrics import Metrics
from dsa_tuning.objective import describe, resolve_objective

METRICS = {"recall@5": 0.6, "hallucination_rate": 0.2, "severity": 0.25}


def balanced(metrics: Metrics) -> float:
    """A user's own objective."""
    return metrics["recall@5"] - metrics["hallucination_rate"]


NOT_CALLABLE = 3


def test_pareto_maximises_recall_and_minimises_hallucination() -> None:
    objective = resolve_objective("pareto", 5, "hallucination_rate")
    assert objective.values(METRICS) == (0.6, 0.2)
    assert objective.directions == ("maximize", "minimize")
    assert not objective.single
    assert objective.violation(METRICS) == 0


def test_recall_alone_can_be_bounded() -> None:
    objective = resolve_objective("recall", 5, "severity", 0.15)
    assert objective.values(METRICS) == (0.6,)
    assert objective.single
    assert objective.violation(METRICS) == pytest.approx(0.1)


def test_ones_own_is_named_by_module() -> None:
    objective = resolve_objective(f"{__name__}:balanced", 5, "hallucination_rate")
    assert objective.values(METRICS) == (pytest.approx(0.4),)
    assert objective.labels == ("balanced",)


def test_a_value_that_is_no_finite_number_is_refused() -> None:
    objective = resolve_objective("recall", 5, None)
    with pytest.raises(DSAError, match="not a finite number"):
        objective.values({"recall@5": float("nan")})


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("parteo", "Did you mean 'pareto'"),
        (f"{__name__}:balancde", "Did you mean 'balanced'"),
        ("no_such_module:thing", "no_such_module"),
        (f"{__name__}:NOT_CALLABLE", "cannot be called"),
    ],
)
def test_unknown_objectives_are_refused(name: str, words: str) -> None:
    with pytest.raises(DSAError, match=words):
        resolve_objective(name, 5, "hallucination_rate")


def test_hallucination_must_be_known_where_it_counts() -> None:
    assert resolve_objective("recall", 5, None).violation(METRICS) == 0
    for name, bound in (("pareto", None), ("recall", 0.2)):
        with pytest.raises(DSAError, match="says nothing of hallucination"):
            resolve_objective(name, 5, None, bound)
    with pytest.raises(DSAError, match="share in"):
        resolve_objective("recall", 5, "severity", 1.5)


def test_labels_are_words() -> None:
    assert describe("recall@10") == "Recall@10"
    assert describe("hallucination_rate") == "hallucination rate"
    assert "estimated" in describe("severity")
