"""The verdict says what the intervals say."""

from __future__ import annotations

from typing import Any

import pytest

from dsa_agents.verdict import label, percent, plain, signed, verdict

Summary = dict[str, float | None]


def summary(mean: float | None, half: float | None = None) -> Summary:
    if mean is None or half is None:
        return {"mean": mean, "low": None, "high": None}
    return {"mean": mean, "low": mean - half, "high": mean + half}


def results(full: Summary, agent: Summary, closed: dict[str, Any]) -> dict[str, Any]:
    def only(value: Summary) -> dict[str, Summary]:
        return {"recall@10": value}

    return {
        "k": 10,
        "agent": "ppo",
        "fixed_granularity": 0.6,
        "fixed_in_hindsight": {"granularity": 0.7, "reward": 0.4, "recall@10": 0.41},
        "policies": {"fixed": only(summary(0.4)), "full_information": only(summary(0.45))},
        "relative_gain": {"full_information": summary(0.125)},
        "gap_closed": closed,
        "differences": {
            "full_information-fixed": only(full),
            "ppo-fixed": only(agent),
            "oracle-fixed": only(summary(0.2, 0.01)),
            "null_oracle-null_fixed": only(summary(0.1, 0.01)),
        },
    }


def test_a_clear_gain_matters() -> None:
    found = verdict(results(summary(0.05, 0.01), summary(0.04, 0.01), summary(0.8, 0.1)))
    assert found[0].startswith("Granularity matters on this bank")
    assert "from 0.400 (best fixed g = 0.60) to 0.450 (+12.5%)" in found[0]
    assert "g = 0.70 would have earned most, with a Recall@10 of 0.410" in found[1]
    assert "The oracle gains +0.200 [+0.190, +0.210]" in found[2]
    assert "an oracle still gains +0.100 [+0.090, +0.110]" in found[2]
    assert found[3] == (
        "PPO beats the best fixed g (+0.040 [+0.030, +0.050] in Recall@10) "
        "and closes 80% [70%, 90%] of the full-information gain."
    )


def test_an_interval_around_zero_does_not_matter() -> None:
    closed = {**summary(None), "note": "There is no gap to close."}
    found = verdict(results(summary(0.005, 0.01), summary(0.0, 0.01), closed))
    assert found[0].startswith("It is not shown that granularity matters")
    assert "PPO is not shown to beat the best fixed g" in found[3]
    assert found[3].endswith("there is no gap to close.")


def test_harm_is_called_harm() -> None:
    closed = {**summary(None), "note": "There is no gap to close."}
    found = verdict(results(summary(-0.05, 0.01), summary(-0.05, 0.01), closed))
    assert found[0].startswith("Choosing g per query does harm")
    assert "PPO is worse than the best fixed g" in found[3]


def test_without_intervals_nothing_is_claimed() -> None:
    closed = {**summary(None), "note": "There is no gap to close."}
    found = verdict(results(summary(0.05), summary(0.05), closed))
    assert found[0].startswith("Without intervals")
    assert "PPO against the best fixed g" in found[3]


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        (plain, "0.500 [0.400, 0.600]"),
        (signed, "+0.500 [+0.400, +0.600]"),
        (percent, "50% [40%, 60%]"),
    ],
)
def test_numbers_carry_their_interval(form: Any, expected: str) -> None:
    assert form(summary(0.5, 0.1)) == expected
    assert form(summary(None)) == "unknown"
    assert "[" not in form(summary(0.5))


def test_trained_policies_are_called_by_their_algorithm() -> None:
    assert label("sac") == "SAC"
    assert label("null_oracle") == "null oracle"
