"""What a search-space file may say of one parameter."""

from __future__ import annotations

from typing import Any

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from dsa_env.errors import DSAError
from dsa_tuning.distributions import grid_of, is_fixed, nearest, parse, suggest, values_of


def test_two_numbers_are_a_range() -> None:
    assert parse("x", [0, 2]) == FloatDistribution(0.0, 2.0)
    assert parse("x", [1, 8], whole=True) == IntDistribution(1, 8)


def test_a_table_can_ask_for_logarithms_and_steps() -> None:
    assert parse("x", {"low": 1e-4, "high": 1e-2, "log": True}) == FloatDistribution(
        1e-4, 1e-2, log=True
    )
    assert parse("x", {"low": 0.0, "high": 1.0, "step": 0.25}) == FloatDistribution(0, 1, step=0.25)
    assert parse("x", {"low": 2, "high": 8, "step": 2}, whole=True) == IntDistribution(2, 8, step=2)


def test_choices_may_be_words_or_layer_widths() -> None:
    assert parse("x", {"choices": ["relu", "tanh"]}).choices == ("relu", "tanh")  # type: ignore[attr-defined]
    found = parse("net_arch", {"choices": [[64], [256, 128]]})
    assert isinstance(found, CategoricalDistribution)
    assert found.choices == ("64", "256,128")


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ([0.5, 0.5], "range of x is empty"),
        ([1.0, 0.0], "range of x is empty"),
        ([0.0, 1.0, 2.0], "is no range"),
        ([0.0, float("nan")], "needs numbers"),
        ([0.0, float("inf")], "needs numbers"),
        (["a", "b"], "needs numbers"),
        ([False, True], "needs numbers"),
        ({"low": 0.0}, "lacks high"),
        ({"low": 0.0, "hihg": 1.0}, "Did you mean 'high'"),
        ({"low": 0.0, "high": 1.0, "log": True}, "log of x"),
        ({"low": 0.0, "high": 1.0, "step": 2.0}, "step of x"),
        ({"low": 0.0, "high": 1.0, "step": 0.3}, "does not divide"),
        ({"choices": []}, "needs a list of choices"),
        ({"choices": ["one"]}, "two or more different"),
        ({"choices": [1, 1]}, "two or more different"),
        ({"choices": [1, 2], "low": 0}, "and nothing else"),
        ({"choices": [{}, {}]}, "must be numbers, words"),
    ],
)
def test_what_cannot_be_searched_is_refused_by_name(entry: Any, words: str) -> None:
    with pytest.raises(DSAError, match=words):
        parse("x", entry)


def test_a_fraction_is_no_whole_number() -> None:
    with pytest.raises(DSAError, match="whole numbers"):
        parse("n_epochs", [1, 2.5], whole=True)


@given(
    st.floats(1e-6, 1e3),
    st.floats(1.001, 1e3),
    st.booleans(),
    st.integers(1, 12),
)
def test_a_grid_lies_in_its_range_and_reaches_both_ends(
    low: float, factor: float, log: bool, points: int
) -> None:
    distribution = FloatDistribution(low, low * factor, log=log)
    values = grid_of(distribution, points)
    assert values == sorted(values)
    assert len(values) == points
    assert all(distribution.low <= value <= distribution.high for value in values)
    if points > 1:
        assert values[0] == pytest.approx(distribution.low)
        assert values[-1] == pytest.approx(distribution.high)


def test_a_grid_of_whole_numbers_has_no_doubles() -> None:
    assert grid_of(IntDistribution(1, 3), 9) == [1, 2, 3]
    assert grid_of(FloatDistribution(0, 1, step=0.5), 9) == [0.0, 0.5, 1.0]


@pytest.mark.parametrize(
    "distribution",
    [
        FloatDistribution(0.5, 2.0),
        FloatDistribution(0.5, 2.0, log=True),
        FloatDistribution(0.0, 1.0, step=0.1),
        IntDistribution(2, 8, step=3),
        CategoricalDistribution(["a", "b"]),
    ],
)
def test_nearest_and_suggested_values_are_allowed(
    distribution: optuna.distributions.BaseDistribution,
) -> None:
    for wanted in (-7, 0.3, 4.4, 99):
        value = nearest(distribution, wanted)
        assert distribution._contains(distribution.to_internal_repr(value))
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    value = suggest(study.ask(), "x", distribution)
    assert distribution._contains(distribution.to_internal_repr(value))


def test_plain_values_are_fixed_and_ends_decide() -> None:
    assert is_fixed(0.3)
    assert is_fixed("relu")
    assert not is_fixed([0, 1])
    assert not is_fixed({"choices": [1, 2]})
    assert values_of(FloatDistribution(0, 1)) == [0, 1]
    assert values_of(CategoricalDistribution(["a", "b"])) == ["a", "b"]
