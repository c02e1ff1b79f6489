"""The regression finds what made a gain, says how sure it is, and leaves out what tells nothing."""

from __future__ import annotations

import numpy as np
import pytest

from dsa_agents.benchmark.regression import regress_gain


def test_it_finds_the_property_that_makes_the_gain() -> None:
    rng = np.random.default_rng(0)
    picture = np.arange(600) // 2
    crowd = rng.integers(1, 9, 300).astype(float)[picture]
    other = rng.normal(size=600)
    gain = 0.3 * (crowd - crowd.mean()) / crowd.std() + 0.1 * rng.normal(size=600) + 0.2
    found = regress_gain(gain, {"crowd": crowd, "other": other}, picture)
    assert (found["queries"], found["pictures"]) == (600, 300)
    crowded = found["coefficients"]["crowd"]
    assert crowded["low"] < 0.3 < crowded["high"]
    assert crowded["p"] < 1e-6
    nothing = found["coefficients"]["other"]
    assert nothing["low"] < 0 < nothing["high"]
    assert found["intercept"]["mean"] == pytest.approx(0.2, abs=0.02)
    assert found["r_squared"] > 0.8
    assert found["p_all"] < 1e-6


def test_queries_of_one_picture_are_no_independent_witnesses() -> None:
    rng = np.random.default_rng(1)
    picture = np.repeat(np.arange(100), 10)
    shared = rng.normal(size=100)[picture]
    gain = rng.normal(size=100)[picture]
    clustered = regress_gain(gain, {"x": shared}, picture)["coefficients"]["x"]
    alone = regress_gain(gain, {"x": shared}, np.arange(1000))["coefficients"]["x"]
    assert clustered["high"] - clustered["low"] > 2 * (alone["high"] - alone["low"])


def test_what_is_constant_or_follows_from_others_is_left_out_and_named() -> None:
    rng = np.random.default_rng(2)
    x = rng.normal(size=100)
    properties = {"x": x, "same": np.ones(100), "twice": 2 * x + 1}
    found = regress_gain(rng.normal(size=100), properties, np.arange(100))
    assert list(found["coefficients"]) == ["x"]
    assert found["left_out"] == {
        "same": "the same for every query",
        "twice": "follows from the others",
    }


def test_a_property_of_two_values_counts_as_zero_and_one() -> None:
    brief = np.tile([3.0, 7.0], 100)
    gain = np.where(brief > 5, 0.5, 0.0) + 0.01 * np.random.default_rng(3).normal(size=200)
    found = regress_gain(gain, {"brief": brief}, np.arange(200) // 2)
    assert found["coefficients"]["brief"]["mean"] == pytest.approx(0.5, abs=0.01)


def test_queries_without_a_number_do_not_count() -> None:
    rng = np.random.default_rng(4)
    gain, x = rng.normal(size=100), rng.normal(size=100)
    gain[:30], x[30:40] = np.nan, np.nan
    assert regress_gain(gain, {"x": x}, np.arange(100))["queries"] == 60


@pytest.mark.parametrize(
    ("gain", "properties", "note"),
    [
        (np.zeros(50), {"x": np.arange(50.0)}, "nothing to explain"),
        (np.arange(50.0), {"x": np.ones(50)}, "No property varies"),
        (np.arange(50.0), {}, "No property varies"),
        (np.arange(5.0), {"x": np.arange(5.0)}, "too few"),
        (np.full(50, np.nan), {"x": np.arange(50.0)}, "too few"),
    ],
)
def test_what_cannot_be_fitted_is_said(
    gain: np.ndarray, properties: dict[str, np.ndarray], note: str
) -> None:
    found = regress_gain(gain, properties, np.arange(len(gain)))
    assert note in found["note"]
    assert found["coefficients"] == {}
