"""Trials and workers: what is recorded, what goes on after a failure, and when it is enough."""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import psutil
import pytest
from optuna.trial import TrialState

from dsa_env.bank import FeatureBank, resolve_bank
from dsa_env.testing import synthetic_bank as make_bank
from dsa_tuning.config import TuneConfig
from dsa_tuning.storage import RETRY_OF, completed, open_storage, places
from dsa_tuning.trials import (
    INTERRUPTED,
    METRICS,
    REASON,
    REWARD,
    SEED_METRICS,
    WORKER,
    Job,
    SurplusError,
    put_back_dead,
    quiet_optuna,
    run_trial,
    work,
)
from tests.tuning.conftest import tiny


def begun(config: TuneConfig, folder: Path) -> Job:
    """A job on a new study in a journal."""
    job = Job(config.complete(), folder, None, "test")
    directions = list(job.objective.directions)
    optuna.create_study(
        study_name="test",
        storage=open_storage(None, folder),
        directions=directions,  # type: ignore[arg-type]
    )
    return job


def trials_of(job: Job) -> list[optuna.trial.FrozenTrial]:
    return optuna.load_study(study_name="test", storage=open_storage(None, job.folder)).trials


def fickle(outcome: Any, alpha: float = 1.0, beta: float = 1.0) -> Any:
    """A reward that fails for some weights and is NaN for others."""
    if alpha == 0:
        raise ZeroDivisionError("alpha is nought")
    if beta == 0 and len(outcome) > 3:
        return outcome.recall * np.float32(np.nan), {}
    return alpha * outcome.recall + beta * outcome.penalty, {"recall": outcome.recall}


def test_a_trial_records_what_it_led_to_seed_by_seed(
    synthetic_bank_path: Path, tmp_path: Path
) -> None:
    job = begun(tiny(synthetic_bank_path, trials=1), tmp_path)
    work(job)
    (trial,) = trials_of(job)
    assert trial.user_attrs[REWARD] == {"alpha": 1.0, "beta": 0.0}
    seeds = trial.user_attrs[SEED_METRICS]
    assert len(seeds) == 3
    means = trial.user_attrs[METRICS]
    assert means["recall@1"] == pytest.approx(np.mean([seed["recall@1"] for seed in seeds]))
    assert trial.values == pytest.approx([means["recall@1"], means["hallucination_rate"]])
    assert (tmp_path / "trials" / "0000" / "seed-2" / "best").is_dir()
    assert not (tmp_path / "trials" / "0000" / "seed-2" / "last").exists()


def test_a_failing_trial_is_recorded_with_its_reason_and_the_study_goes_on(
    synthetic_bank_path: Path, tmp_path: Path
) -> None:
    config = tiny(synthetic_bank_path, trials=3, base={"reward": f"{__name__}:fickle"})
    job = begun(config, tmp_path)
    work(job)
    trials = trials_of(job)  # shares 0, 1 and a half
    assert [trial.state for trial in trials] == [
        TrialState.FAIL,
        TrialState.FAIL,
        TrialState.COMPLETE,
    ]
    assert "finite" in trials[0].user_attrs[REASON]
    assert trials[1].user_attrs[REASON] == "ZeroDivisionError: alpha is nought"


def test_no_more_trials_are_run_than_were_asked_for(
    synthetic_bank_path: Path, tmp_path: Path
) -> None:
    job = begun(tiny(synthetic_bank_path, trials=2), tmp_path)
    work(job)
    work(job)
    assert len(trials_of(job)) == 2


def test_one_that_comes_too_late_steps_back(synthetic_bank_path: Path, tmp_path: Path) -> None:
    job = begun(tiny(synthetic_bank_path, trials=1), tmp_path)
    with quiet_optuna(), job.open() as study:
        study.ask()  # another worker takes the last place between the look and the asking
        study.optimize(lambda trial: run_trial(trial, job), n_trials=1, catch=(SurplusError,))
    late = trials_of(job)[1]
    assert late.state == TrialState.FAIL
    assert late.params == {}
    assert [trial.number for trial in places(trials_of(job))] == [0]


def test_an_interrupted_trial_waits_to_be_tried_again(
    synthetic_bank_path: Path, tmp_path: Path
) -> None:
    job = begun(tiny(synthetic_bank_path, trials=3, objective=f"{__name__}:interrupting"), tmp_path)
    job.objective  # noqa: B018 - tried once, before the study
    INTERRUPTIONS.append(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        work(job)
    stopped, waiting = trials_of(job)
    assert stopped.state == TrialState.FAIL
    assert stopped.user_attrs[REASON] == INTERRUPTED
    assert waiting.state == TrialState.WAITING
    assert waiting.user_attrs[RETRY_OF] == stopped.number
    work(job)
    assert [trial.state for trial in places(trials_of(job))] == [TrialState.COMPLETE] * 3


INTERRUPTIONS: list[signal.Signals] = []
"""What `interrupting` sends this process, once each."""


def interrupting(metrics: dict[str, float]) -> float:
    """An objective during which the user may press Ctrl-C."""
    if INTERRUPTIONS:
        os.kill(os.getpid(), INTERRUPTIONS.pop())
    return metrics["granularity"]


def test_bad_first_seeds_end_a_trial_of_a_single_objective(
    synthetic_bank_path: Path, tmp_path: Path
) -> None:
    config = tiny(synthetic_bank_path, trials=7, objective=f"{__name__}:mean_granularity")
    job = begun(config, tmp_path)
    work(job)
    trials = trials_of(job)
    pruned = [trial for trial in trials if trial.state == TrialState.PRUNED]
    assert all(len(trial.user_attrs[SEED_METRICS]) < 3 for trial in pruned)
    assert len(completed(trials)) + len(pruned) == 7
    firsts = sorted(trial.user_attrs[SEED_METRICS][0]["granularity"] for trial in trials[:5])
    for trial in trials[5:]:
        first = trial.user_attrs[SEED_METRICS][0]["granularity"]
        if first < firsts[0]:
            assert trial in pruned


def mean_granularity(metrics: dict[str, float]) -> float:
    """An objective that is easy to tell apart."""
    return metrics["granularity"]


def test_the_bound_is_kept_as_a_constraint(synthetic_bank_path: Path, tmp_path: Path) -> None:
    config = tiny(synthetic_bank_path, trials=1, objective="recall", max_hallucination=0.01)
    job = begun(config, tmp_path)
    work(job)
    (trial,) = trials_of(job)
    over = trial.user_attrs[METRICS]["hallucination_rate"] - 0.01
    assert list(trial.constraints.values()) == pytest.approx([over])


def test_the_trials_of_a_killed_worker_are_put_back_and_those_of_others_are_not(
    synthetic_bank_path: Path, tmp_path: Path
) -> None:
    job = begun(tiny(synthetic_bank_path), tmp_path)
    with job.open() as study:
        here, me = socket.gethostname(), psutil.Process()
        workers = [
            {"host": here, "pid": me.pid, "started": me.create_time()},  # alive
            {
                "host": here,
                "pid": me.pid,
                "started": me.create_time() - 5,
            },  # given out anew
            {"host": here, "pid": 2**22 + os.getpid(), "started": 0.0},  # gone
            {"host": here + "-elsewhere", "pid": 1, "started": 0.0},
        ]
        for worker in workers:
            trial = study.ask()
            trial.suggest_float("share", 0, 1)
            trial.set_user_attr(WORKER, worker)
        assert put_back_dead(study) == 2
        states = [trial.state for trial in study.trials]
        assert states[:4] == [
            TrialState.RUNNING,
            TrialState.FAIL,
            TrialState.FAIL,
            TrialState.RUNNING,
        ]
        assert [trial.user_attrs[RETRY_OF] for trial in study.trials[4:]] == [1, 2]
        assert put_back_dead(study) == 0


def test_a_job_can_be_sent_to_another_process(synthetic_bank_path: Path, tmp_path: Path) -> None:
    import pickle

    job = begun(tiny(synthetic_bank_path), tmp_path)
    sent = pickle.loads(pickle.dumps(job))
    assert sent.config == job.config
    assert sent.core.n_queries == job.core.n_queries


def test_without_facts_the_severity_stands_for_hallucination(tmp_path: Path) -> None:
    make_bank(100, facts=False, path=tmp_path / "bank")
    job = begun(tiny(tmp_path / "bank", trials=1), tmp_path / "study")
    assert job.objective.labels == ("recall@1", "severity")
    assert isinstance(resolve_bank(job.config.base.bank), FeatureBank)
