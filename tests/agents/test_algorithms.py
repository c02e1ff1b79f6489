"""Hyperparameters: all written out, checked, with the nearest name suggested."""

from __future__ import annotations

from typing import Any

import pytest

from dsa_agents.algorithms import ALGORITHMS, SETTINGS, full_hyperparameters, get_algorithm
from dsa_env.errors import DSAError


def full(name: str, given: dict[str, Any], horizon: int = 1, n_envs: int = 8) -> dict[str, Any]:
    return full_hyperparameters(get_algorithm(name), given, horizon=horizon, n_envs=n_envs)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_every_default_is_a_legal_value(name: str) -> None:
    defaults = full(name, {})
    assert {n: SETTINGS[n].check(n, value) for n, value in defaults.items()} == defaults


def test_every_setting_is_used() -> None:
    assert set(SETTINGS) == {name for one in ALGORITHMS.values() for name in one.defaults}


def test_text_and_values_mean_the_same() -> None:
    text = {"learning_rate": "1e-2", "net_arch": "16,8", "normalize_advantage": "false"}
    values = {"learning_rate": 0.01, "net_arch": [16, 8], "normalize_advantage": False}
    assert full("ppo", text) == full("ppo", values)


def test_full_hyperparameters_are_their_own_completion() -> None:
    assert full("ppo", full("ppo", {"n_steps": 3})) == full("ppo", {"n_steps": 3})


def test_gamma_follows_the_horizon_unless_given() -> None:
    assert full("ppo", {})["gamma"] == 0
    assert full("ppo", {}, horizon=3)["gamma"] == 0.9
    assert full("ppo", {"gamma": 0.5}, horizon=3)["gamma"] == 0.5


def test_a_rollout_of_ppo_has_as_many_steps_whatever_the_number_of_environments() -> None:
    assert [full("ppo", {}, n_envs=n)["n_steps"] for n in (8, 1024, 4096)] == [256, 2, 1]
    assert full("ppo", {}, horizon=3, n_envs=1024)["n_steps"] == 8
    assert full("ppo", {"n_steps": 5}, n_envs=1024)["n_steps"] == 5


@pytest.mark.parametrize(
    ("n_envs", "expected"), [(1024, 1024), (100, 1000), (8, 1024), (5000, 1000), (1031, 1031)]
)
def test_a_default_minibatch_fits_the_rollout(n_envs: int, expected: int) -> None:
    assert full("ppo", {}, n_envs=n_envs)["batch_size"] == expected


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"learnin_rate": 1}, "Did you mean 'learning_rate'"),
        ({"tau": 0.1}, "Unknown hyperparameter of ppo 'tau'"),
        ({"learning_rate": "fast"}, "must be a number"),
        ({"learning_rate": 0}, r"\(0, 1\]"),
        ({"learning_rate": float("nan")}, r"\(0, 1\]"),
        ({"n_steps": 2.5}, "must be a whole number"),
        ({"n_steps": True}, "must be a whole number"),
        ({"n_steps": None}, "must be a whole number"),
        ({"net_arch": "16,x"}, "layer widths"),
        ({"net_arch": [0]}, "layer widths"),
        ({"normalize_advantage": 2}, "true or false"),
        ({"activation": "rleu"}, "Did you mean 'relu'"),
        ({"batch_size": 7}, "does not divide a rollout of 8 environments x 256 steps"),
        ({"learning_rate": "__import__('os')"}, "must be a number"),
    ],
)
def test_wrong_hyperparameters_name_the_cure(given: dict[str, Any], message: str) -> None:
    with pytest.raises(DSAError, match=message):
        full("ppo", given)


def test_an_unknown_algorithm_suggests_the_nearest() -> None:
    with pytest.raises(DSAError, match="Did you mean 'ppo'"):
        get_algorithm("ppp")
