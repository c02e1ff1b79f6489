"""Samplers: what they draw depends on the seed and the trial's number alone."""

from __future__ import annotations

from typing import Any

import optuna
import pytest

from dsa_agents.run_folder import TrainConfig
from dsa_env.errors import DSAError
from dsa_tuning.samplers import make_sampler
from dsa_tuning.space import make_space
from dsa_tuning.trials import quiet_optuna

BASE = TrainConfig()
SPACE = make_space({}, BASE)
FIRST = SPACE.first(BASE)


def run(sampler: str, rounds: list[int], seed: int = 0) -> list[float]:
    """The shares of a study whose process is started anew for each round of trials."""
    with quiet_optuna():
        study = optuna.create_study(directions=["maximize"])
        for trials in rounds:
            study.sampler = make_sampler(sampler, SPACE, FIRST, sum(rounds), seed)
            study.optimize(lambda t: -((SPACE.suggest(t)["share"] - 0.3) ** 2), n_trials=trials)
    return [trial.params["share"] for trial in study.trials]


@pytest.mark.parametrize("sampler", ["gp", "tpe", "random"])
def test_a_study_that_stops_and_goes_on_draws_the_same(sampler: str) -> None:
    whole = run(sampler, [8])
    assert run(sampler, [3, 1, 4]) == whole
    assert run(sampler, [8], seed=1)[3:] != whole[3:]
    assert whole[:3] == [0.0, 1.0, 0.5]


def test_bayesian_optimisation_finds_the_top_of_a_hill() -> None:
    shares = run("gp", [12])
    assert min(abs(share - 0.3) for share in shares) < 0.02


def test_two_workers_that_draw_at_once_draw_differently() -> None:
    study = optuna.create_study(sampler=make_sampler("random", SPACE, [], 8, 0))
    other = optuna.create_study(sampler=make_sampler("random", SPACE, [], 8, 0))
    other.add_trial(optuna.trial.create_trial(state=optuna.trial.TrialState.FAIL))
    assert SPACE.suggest(study.ask()) != SPACE.suggest(other.ask())


def test_a_grid_visits_each_point_once() -> None:
    shares = run("grid", [5])
    assert sorted(shares) == [0.0, 0.25, 0.5, 0.75, 1.0]


def test_an_unknown_sampler_is_refused() -> None:
    with pytest.raises(DSAError, match="Did you mean 'gp'"):
        make_sampler("gpp", SPACE, FIRST, 4, 0)


def test_the_first_trials_are_given() -> None:
    given: list[dict[str, Any]] = [{"share": 0.125}]
    study = optuna.create_study(sampler=make_sampler("tpe", SPACE, given, 8, 0))
    assert SPACE.suggest(study.ask()) == {"share": 0.125}
