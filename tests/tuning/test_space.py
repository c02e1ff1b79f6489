"""The search space: what it searches, and what it refuses before any training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsa_agents.algorithms import get_algorithm
from dsa_agents.run_folder import TrainConfig
from dsa_env.errors import DSAError
from dsa_env.rewards import resolve_reward
from dsa_tuning.space import make_space, read_tables, weights_of

BASE = TrainConfig()


def price(outcome: Any, price: float = 0.1) -> Any:
    """A reward without alpha and beta."""
    return outcome.recall - price * outcome.granularity, {"recall": outcome.recall}


PRICED = TrainConfig(reward=f"{__name__}:price")


@given(st.floats(0, 1), st.floats(0.1, 10))
def test_a_share_gives_weights_whose_sum_is_the_scale(share: float, scale: float) -> None:
    alpha, beta = weights_of(share, scale)
    assert alpha >= 0
    assert beta >= 0
    assert alpha + beta == pytest.approx(scale)
    assert beta / (alpha + beta) == pytest.approx(share)


def test_the_whole_share_is_searched_by_default() -> None:
    space = make_space({}, BASE)
    assert list(space.parameters) == ["share"]
    assert space.shares == (0.0, 1.0)
    assert space.apply({"share": 0.25}, BASE).reward_kwargs == {"alpha": 0.75, "beta": 0.25}


def test_the_share_is_searched_beside_hyperparameters_too() -> None:
    space = make_space({"hyperparameters": {"learning_rate": [1e-4, 1e-2]}}, BASE)
    assert set(space.parameters) == {"share", "learning_rate"}


def test_a_plain_value_fixes_a_parameter() -> None:
    tables = {"weights": {"share": 0.2}, "hyperparameters": {"ent_coef": [0.0, 0.1]}}
    space = make_space(tables, BASE)
    assert list(space.parameters) == ["ent_coef"]
    assert not space.has_share
    config = space.apply(space.fixed | {"ent_coef": 0.05}, BASE)
    assert config.reward_kwargs == {"alpha": 0.8, "beta": 0.2}
    assert config.hyperparameters == {"ent_coef": 0.05}


def test_scale_and_bounds_reach_the_reward() -> None:
    tables = {"weights": {"share": [0, 1], "scale": [0.5, 4.0], "low": [-1.0, -0.2]}}
    space = make_space(tables, BASE)
    kwargs = space.apply({"share": 0.5, "scale": 2.0, "low": -0.5}, BASE).reward_kwargs
    assert kwargs == {"alpha": 1.0, "beta": 1.0, "low": -0.5}
    resolve_reward("clipped", kwargs)


def test_a_reward_of_ones_own_is_searched_by_its_arguments() -> None:
    space = make_space({"reward": {"price": [0.0, 0.5]}}, PRICED)
    assert list(space.parameters) == ["reward.price"]
    assert space.apply({"reward.price": 0.3}, PRICED).reward_kwargs == {"price": 0.3}
    assert space.first(PRICED) == [{"reward.price": 0.25}]


def test_every_study_begins_with_the_ends_and_the_middle_of_the_share() -> None:
    tables = {"hyperparameters": {"learning_rate": {"low": 1e-4, "high": 1e-2, "log": True}}}
    first = make_space(tables, BASE).first(BASE)
    assert [one["share"] for one in first] == [0.0, 1.0, 0.5]
    usual = get_algorithm("ppo").defaults["learning_rate"]
    assert {one["learning_rate"] for one in first} == {usual}


def test_a_trial_gets_a_value_for_all_parameters() -> None:
    tables = {"weights": {"share": [0, 1]}, "hyperparameters": {"gamma": 0.0, "n_epochs": [1, 4]}}
    space = make_space(tables, BASE)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    values = space.suggest(study.ask())
    assert set(values) == {"share", "gamma", "n_epochs"}
    assert isinstance(values["n_epochs"], int)


def test_a_grid_has_at_most_as_many_points_as_there_are_trials() -> None:
    assert make_space({}, BASE).grid(5) == {"share": [0.0, 0.25, 0.5, 0.75, 1.0]}
    tables = {"hyperparameters": {"activation": {"choices": ["relu", "tanh"]}}}
    grid = make_space(tables, BASE).grid(7)
    assert {name: len(values) for name, values in grid.items()} == {"share": 3, "activation": 2}
    with pytest.raises(DSAError, match="grid over 2 parameters needs more than 3"):
        make_space(tables, BASE).grid(3)


@pytest.mark.parametrize(
    ("tables", "words"),
    [
        ({"weigths": {}}, "Did you mean 'weights'"),
        ({"weights": {"shar": [0, 1]}}, "Did you mean 'share'"),
        ({"weights": {"share": [0.0, 1.5]}}, r"lies in \[0, 1\]"),
        ({"weights": {"share": [0.7, 0.3]}}, "empty"),
        ({"weights": {"share": "half"}}, "must be a number"),
        ({"weights": 3}, "must be a table"),
        ({"weights": {"share": 0.5}}, "nothing to search"),
        ({"weights": {"scale": [-1.0, 2.0]}}, "scale must be above 0"),
        ({"weights": {"scale": [0.2, 0.9]}}, "clip never bites"),
        ({"weights": {"low": [-1.0, 0.5], "high": [0.2, 1.0]}}, "low must stay below"),
        ({"hyperparameters": {"learning_rat": [1e-4, 1e-2]}}, "Did you mean 'learning_rate'"),
        ({"hyperparameters": {"learning_rate": [1e-4, 3.0]}}, "learning_rate must lie in"),
        ({"hyperparameters": {"tau": [0.1, 0.2]}}, "hyperparameter of ppo"),
        ({"hyperparameters": {"n_epochs": [1.5, 3.0]}}, "whole numbers"),
        ({"hyperparameters": {"activation": {"choices": ["relu", "gelu"]}}}, "activation"),
        ({"hyperparameters": {"net_arch": {"choices": [[64], ["wide"]]}}}, "net_arch"),
        ({"hyperparameters": {"batch_size": [64, 128]}}, "give it choices"),
        ({"hyperparameters": {"batch_size": {"choices": [64, 1000]}}}, "does not divide"),
        ({"reward": {"alpha": [0, 1]}}, r"belongs under \[weights\]"),
        ({"reward": {"pric": [0, 1]}}, "argument of reward"),
    ],
)
def test_what_cannot_work_is_refused_with_its_name(tables: dict[str, Any], words: str) -> None:
    with pytest.raises(DSAError, match=words):
        make_space(tables, BASE)


def test_weights_of_a_reward_that_has_none_are_refused() -> None:
    with pytest.raises(DSAError, match="takes no alpha and beta"):
        make_space({"weights": {"share": [0, 1]}}, PRICED)
    with pytest.raises(DSAError, match="nothing to search"):
        make_space({}, PRICED)


def test_a_file_is_read_and_a_broken_one_is_named(tmp_path: Path) -> None:
    path = tmp_path / "space.toml"
    path.write_text("[weights]\nshare = [0.0, 0.5]\n")
    assert read_tables(path) == {"weights": {"share": [0.0, 0.5]}}
    path.write_text("[weights\n")
    with pytest.raises(DSAError, match="not valid TOML"):
        read_tables(path)
    with pytest.raises(DSAError, match="cannot be read"):
        read_tables(tmp_path / "missing.toml")
