"""Bootstrap intervals against answers that are known without a bootstrap."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dsa_agents.statistics import Estimate, bootstrap_means, interquartile_mean
from dsa_env.errors import DSAError


def half_width(estimate: Estimate) -> float:
    low, high = estimate.interval()
    return (high - low) / 2


def test_interval_of_independent_values_is_the_normal_one() -> None:
    values = np.random.default_rng(0).normal(2.0, 1.0, 900)
    found = bootstrap_means({"x": values}, np.arange(900))["x"]
    assert found.point == pytest.approx(values.mean())
    assert half_width(found) == pytest.approx(1.96 * values.std() / 30, rel=0.06)
    assert sum(found.interval()) / 2 == pytest.approx(values.mean(), abs=0.01)


def test_copies_of_a_picture_add_no_certainty() -> None:
    rng = np.random.default_rng(1)
    values = rng.normal(size=300)
    once = bootstrap_means({"x": values}, np.arange(300))["x"]
    copied = bootstrap_means({"x": np.repeat(values, 5)}, np.repeat(np.arange(300), 5))["x"]
    ignored = bootstrap_means({"x": np.repeat(values, 5)}, np.arange(1500))["x"]
    assert half_width(copied) == pytest.approx(half_width(once), rel=1e-9)
    assert half_width(ignored) == pytest.approx(half_width(once) / np.sqrt(5), rel=0.1)


def test_clusters_of_unequal_size_weigh_by_their_queries() -> None:
    found = bootstrap_means({"x": np.array([1.0, 1.0, 1.0, 0.0])}, np.array([7, 7, 7, 3]))["x"]
    assert found.point == 0.75
    assert set(np.unique(found.draws)) == {0.0, 0.75, 1.0}


def test_a_difference_is_paired() -> None:
    values = np.random.default_rng(2).normal(size=200)
    found = bootstrap_means({"a": values + 0.25, "b": values}, np.arange(200))
    difference = found["a"] - found["b"]
    assert difference.summary() == pytest.approx({"mean": 0.25, "low": 0.25, "high": 0.25})


def test_a_ratio_of_proportional_columns_is_exact() -> None:
    values = 1 + np.random.default_rng(3).random(50)
    found = bootstrap_means({"a": values * 0.9, "b": values, "zero": values * 0}, np.arange(50))
    ratio = found["a"] / found["b"]
    assert ratio.summary() == pytest.approx({"mean": 0.9, "low": 0.9, "high": 0.9})
    assert (found["a"] / found["zero"]).summary() == {"mean": None, "low": None, "high": None}


def test_seeds_widen_the_interval() -> None:
    """With queries that all agree, what is left is the spread of the seeds."""
    seeds = np.array([0.1, 0.2, 0.3, 0.4, 0.5])
    columns = {"seeded": np.tile(seeds[:, None], (1, 80)), "single": np.full(80, 0.3)}
    found = bootstrap_means(columns, np.arange(80))
    assert found["seeded"].point == pytest.approx(0.3)
    assert half_width(found["single"]) == pytest.approx(0.0, abs=1e-12)
    low, high = found["seeded"].interval()
    assert 0.1 <= low < 0.2
    assert 0.4 < high <= 0.5


def test_the_mean_over_seeds_resists_one_failed_seed() -> None:
    scores = np.array([0.5, 0.52, 0.51, 0.49, 0.0])
    column = np.tile(scores[:, None], (1, 10))
    found = bootstrap_means({"x": column}, np.arange(10), resamples=0)["x"]
    assert found.point == pytest.approx(np.mean([0.5, 0.51, 0.49]))


def test_queries_that_do_not_count_are_left_out() -> None:
    values = np.array([1.0, np.nan, 3.0, np.nan])
    empty = np.full(4, np.nan)
    found = bootstrap_means({"x": values, "none": empty}, np.arange(4), resamples=50)
    assert found["x"].point == 2.0
    assert found["none"].summary() == {"mean": None, "low": None, "high": None}


def test_one_picture_has_a_mean_and_no_interval() -> None:
    found = bootstrap_means({"x": np.array([0.0, 1.0])}, np.array([4, 4]))["x"]
    assert found.summary() == {"mean": 0.5, "low": None, "high": None}


def test_the_seed_decides_the_draws() -> None:
    values = np.random.default_rng(5).random((2, 40))
    runs = [
        bootstrap_means({"x": values}, np.arange(40), resamples=30, seed=seed)["x"].draws
        for seed in (1, 1, 2)
    ]
    assert np.array_equal(runs[0], runs[1])
    assert not np.array_equal(runs[0], runs[2])


def test_columns_must_agree() -> None:
    with pytest.raises(DSAError, match=r"expected \[3 or 1, 4\]"):
        bootstrap_means({"a": np.zeros((3, 4)), "b": np.zeros((2, 4))}, np.arange(4))


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(-10, 10), min_size=4, max_size=12))
def test_the_interquartile_mean_lies_between_the_quarters(values: list[float]) -> None:
    ordered = np.sort(values)
    cut = len(values) // 4
    middle = ordered[cut : len(values) - cut]
    assert middle[0] - 1e-9 <= interquartile_mean(np.array(values)) <= middle[-1] + 1e-9
    assert interquartile_mean(np.array(values)) == pytest.approx(middle.mean(), abs=1e-9)
