"""Rounds are interleaved, warm-up does not count, and costs are paired within a round."""

from __future__ import annotations

import time

import numpy as np
import pytest

from dsa_agents.benchmark.timing import (
    clock_of,
    interleaved,
    milliseconds,
    relative_cost,
    synchroniser,
)


def test_every_round_does_all_the_work_and_warm_up_does_not_count() -> None:
    done: list[str] = []
    waits: list[int] = []
    times = interleaved(
        {"a": lambda: done.append("a"), "b": lambda: done.append("b")},
        5,
        warm_up=2,
        synchronise=lambda: waits.append(1),
    )
    assert [sorted(done[i : i + 2]) for i in range(0, 14, 2)] == [["a", "b"]] * 7
    assert {name: len(values) for name, values in times.items()} == {"a": 5, "b": 5}
    assert len(waits) == 28
    assert len({tuple(done[i : i + 2]) for i in range(0, 14, 2)}) == 2  # in both orders


def test_a_slow_round_slows_both_and_the_cost_stays_the_same() -> None:
    base = np.array([1.0, 1.0, 5.0, 1.0, 9.0])
    found = relative_cost(1.03 * base, base)
    assert found["mean"] == pytest.approx(3.0)


def test_the_interval_of_a_cost_holds_its_median() -> None:
    rng = np.random.default_rng(0)
    base = np.ones(40)
    found = relative_cost(1.02 + 0.01 * rng.normal(size=40), base)
    assert found["low"] < found["mean"] < found["high"]
    assert relative_cost(base[:1], base[:1]) == {"mean": 0.0, "low": None, "high": None}


def test_medians_are_told_in_milliseconds() -> None:
    assert milliseconds({"a": np.array([0.001, 0.002, 0.5])}) == {"a": 2.0}


def test_a_processor_needs_no_waiting() -> None:
    assert synchroniser("cpu") is None


def test_on_a_processor_only_the_process_own_time_counts() -> None:
    times = interleaved({"asleep": lambda: time.sleep(0.05)}, 2, warm_up=0, clock=clock_of("cpu"))
    assert max(times["asleep"]) < 0.04


def test_the_fastest_of_some_runs_counts_and_time_ends_the_rounds() -> None:
    done: list[str] = []
    times = interleaved({"a": lambda: done.append("a")}, 50, fastest_of=3, warm_up=0, seconds=0.0)
    assert len(times["a"]) == 5
    assert len(done) == 15
