"""The speed benchmark takes contenders in turns and says plainly what it missed."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("matplotlib")

from benchmarks.speed.measure import Contender, Rounds, Row, in_turns, machine
from benchmarks.speed.oracle import Problem, exact, on_grid, weights_of
from benchmarks.speed.report import write_report
from dsa_env.rewards import ClippedReward


def test_contenders_run_in_turns() -> None:
    calls: list[str] = []

    def contender(name: str) -> Contender:
        return Contender(lambda: calls.append(name) or 10, 0.0)

    found = in_turns({"ours": contender("ours"), "peer": contender("peer")}, rounds=3)
    assert calls == ["ours", "peer"] * 5
    assert len(found.rates["ours"]) == len(found.rates["peer"]) == 3


def test_a_ratio_is_the_median_of_the_rounds_own() -> None:
    rounds = Rounds({"ours": [10.0, 20.0, 90.0], "peer": [5.0, 4.0, 30.0]})
    row = rounds.row("what", "ours", "peer", 4)
    assert (row.ours, row.peer, row.ratio) == (20.0, 5.0, 3.0)
    assert row.met is False
    assert rounds.row("what", "ours", "peer", 3).met is True
    assert rounds.row("what", "ours", "peer", None).met is None


def test_the_report_prints_missed_goals_as_missed(tmp_path: Path) -> None:
    rows = [
        Row("fast", 30.0, 10.0, "steps/s", 3.0, 2.0, None, "so it is"),
        Row("slow", 1234.0, 10.0, "steps/s", 1.5, 2.0, (1.2, 1.7), "why"),
        Row("small", 10.0, 20.0, "MiB", 0.5, 1.0, None, "less is better", at_most=True),
    ]
    section = {"rows": [asdict(row) | {"met": row.met} for row in rows], "machine": machine()}
    write_report({"environments": section}, tmp_path)
    text = (tmp_path / "RESULTS.md").read_text()
    assert "| fast | 30 steps/s | 10 steps/s | 3 | >= 2 | yes |" in text
    assert "| slow | 1,234 steps/s | 10 steps/s | 1.5 (1.2 to 1.7) | >= 2 | **missed** |" in text
    assert "| small | 10 MiB | 20 MiB | 0.5 | <= 1 | yes |" in text
    assert "- slow: why." in text


def test_the_grid_never_beats_the_exact_oracle_and_comes_near() -> None:
    rng = np.random.default_rng(0)
    query, fine, coarse = (rng.standard_normal((60, n, 6)) for n in (1, 25, 25))
    query, fine, coarse = (
        v / np.linalg.norm(v, axis=2, keepdims=True) for v in (query, fine, coarse)
    )
    parts = [(a * b).sum(axis=2) for a, b in ((fine, query), (coarse, query), (fine, coarse))]
    f, c, x = (part.astype(np.float32) for part in parts)
    positive = np.arange(25) == rng.integers(25, size=(60, 1))
    problem = Problem(f, c, x, positive, rng.random((60, 25), dtype=np.float32))
    weights = weights_of(ClippedReward())
    grid = on_grid(*vars(problem).values(), np.linspace(0, 1, 501), 10, weights)
    best = exact(problem)
    assert (grid <= best).all()
    assert (grid == best).mean() > 0.9
