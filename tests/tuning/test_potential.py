"""How much the weights can matter, said before anything is trained."""

from __future__ import annotations

from pathlib import Path

from dsa_tuning.potential import Potential, weight_potential
from tests.agents.made_runs import QUICK
from tests.tuning.conftest import tiny


def potential(*points: tuple[float, float]) -> Potential:
    metrics = tuple({"recall@1": r, "hallucination_rate": h} for r, h in points)
    shares = tuple(n / (len(points) - 1) for n in range(len(points)))
    return Potential(shares, metrics, "recall@1", "hallucination_rate")


def test_it_is_measured_share_by_share_within_the_searched_range(
    synthetic_bank_path: Path,
) -> None:
    config = tiny(synthetic_bank_path, tables={"weights": {"share": [0.2, 0.6]}}).complete()
    found = weight_potential(config, "hallucination_rate", points=3, fit=QUICK, progress=False)
    assert found.shares == (0.2, 0.4, 0.6)
    assert len(found.metrics) == 3
    low, high = found.span("recall@1")
    assert 0 <= low <= high <= 1
    assert Potential.from_json(found.to_json()) == found


def test_the_line_says_how_much() -> None:
    found = potential((0.6, 0.3), (0.5, 0.2))
    assert found.matters
    assert found.sentence.startswith("The weights can matter here")
    assert "0.500 to 0.600 (10.0 points)" in found.sentence
    assert "0.200 to 0.300 (33% of the larger)" in found.sentence


def test_the_line_says_how_little() -> None:
    found = potential((0.6, 0.300), (0.599, 0.299))
    assert not found.matters
    assert found.sentence.startswith("The weights hardly matter here")


def test_no_hallucination_at_all_is_no_division_by_nought() -> None:
    assert "0% of the larger" in potential((0.6, 0.0), (0.6, 0.0)).sentence
