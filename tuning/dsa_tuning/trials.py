"""Trials: one is trained, measured and recorded; a worker runs one after the other."""

from __future__ import annotations

import shutil
import socket
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import psutil
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState

from dsa_agents.callbacks import StopRequest, stop_on_interrupt
from dsa_agents.policies import ControllerPolicy, FixedPolicy
from dsa_agents.run_folder import LAST, RunFolder, TrainConfig
from dsa_agents.train import train
from dsa_env.bank import resolve_bank
from dsa_env.core import RetrievalCore
from dsa_env.errors import DSAError
from dsa_tuning.config import TuneConfig
from dsa_tuning.metrics import Metrics, average, hallucination_metric, weight_free_metrics
from dsa_tuning.names import PARETO
from dsa_tuning.objective import Objective, resolve_objective
from dsa_tuning.samplers import make_sampler
from dsa_tuning.space import Space
from dsa_tuning.storage import SURPLUS, connected, places, put_back

TRIALS = "trials"
KEPT_PERCENTILE, STARTUP_TRIALS = 75.0, 5
"""After each seed a trial goes on if it is among the best three quarters so far; the first trials
always do."""
REASON, METRICS, SEED_METRICS, REWARD, SETTINGS, WORKER, SECONDS = (
    "reason",
    "metrics",
    "seed_metrics",
    "reward",
    "hyperparameters",
    "worker",
    "seconds",
)
"""Attributes of a trial."""


INTERRUPTED = "interrupted"
"""The reason of a trial that its user stopped."""
NAMELESS = timedelta(minutes=1)
"""How long a trial may run before its worker has said who it is."""


class SurplusError(Exception):
    """The last place was taken by another worker in the same moment."""


@dataclass(frozen=True)
class Job:
    """What every worker of a study needs; can be pickled.

    Attributes:
        config: complete.
        folder: the study's folder on this machine.
        storage: URL; None for the journal file.
        study: its name.
    """

    config: TuneConfig
    folder: Path
    storage: str | None
    study: str

    def __reduce__(self) -> tuple[type[Job], tuple[Any, ...]]:
        """Pickle the fields alone: what hangs on them is made anew where it is needed."""
        return Job, (self.config, self.folder, self.storage, self.study)

    @cached_property
    def core(self) -> RetrievalCore:
        """The validation split, under a reward that is never looked at."""
        return neutral_core(self.config.base, "validation")

    @cached_property
    def objective(self) -> Objective:
        """The checked objective."""
        return find_objective(self.config, self.core)

    @cached_property
    def space(self) -> Space:
        """The checked search space."""
        return self.config.space

    @contextmanager
    def open(self) -> Iterator[Study]:
        """The study, with its sampler and pruner; its storage is closed at the end."""
        config, space = self.config, self.space
        first = space.first(config.base)[: config.trials]
        sampler = make_sampler(config.sampler, space, first, config.trials, config.seed)
        pruner = optuna.pruners.PercentilePruner(KEPT_PERCENTILE, n_startup_trials=STARTUP_TRIALS)
        with connected(self.storage, self.folder) as storage:
            yield optuna.load_study(
                study_name=self.study, storage=storage, sampler=sampler, pruner=pruner
            )


def neutral_core(base: TrainConfig, split: str) -> RetrievalCore:
    """A split of the bank for weight-free measurements."""
    bank = resolve_bank(base.bank)
    if len(bank.split_images(split)) == 0:
        raise DSAError(f"The bank has no {split!r} images, which tuning needs.")
    return replace(base, reward="clipped", reward_kwargs={}).core(bank, split)


def find_objective(config: TuneConfig, core: RetrievalCore) -> Objective:
    """A configuration's objective, tried once on real metrics so that a wrong one is refused."""
    try:
        hallucination: str | None = hallucination_metric(core)
    except DSAError:
        if config.objective == PARETO or config.max_hallucination is not None:
            raise
        hallucination = None
    objective = resolve_objective(
        config.objective, config.base.k, hallucination, config.max_hallucination
    )
    metrics = weight_free_metrics(core, FixedPolicy(0.5))
    try:
        objective.values(metrics)
    except DSAError:
        raise
    except Exception as error:  # whatever the user's function does
        summary = " ".join(f"{type(error).__name__}: {error}".split())
        raise DSAError(
            f"Objective {config.objective!r} failed on the metrics {list(metrics)}: {summary}."
        ) from None
    return objective


def run_trial(trial: Trial, job: Job) -> tuple[float, ...]:
    """Train a trial's seeds one by one and measure each on the validation split.

    Returns:
        The objective's values, averaged over the seeds.

    Raises:
        optuna.TrialPruned: of a single-objective study, when the first seeds promise too little.
        SurplusError: another worker took the last place in the same moment.
    """
    if sum(other.number < trial.number for other in places(trial.study.get_trials())) >= (
        job.config.trials
    ):
        trial.set_user_attr(SURPLUS, True)
        raise SurplusError
    started = time.monotonic()
    config = job.space.apply(job.space.suggest(trial), job.config.base)
    trial.set_user_attr(REWARD, config.reward_kwargs)
    trial.set_user_attr(SETTINGS, config.hyperparameters)
    objective = job.objective
    metrics: list[Metrics] = []
    values: list[tuple[float, ...]] = []

    def judge(run: RunFolder, seed: int) -> None:
        policy = ControllerPolicy(run.controller(seed))
        metrics.append(weight_free_metrics(job.core, policy))
        values.append(objective.values(metrics[-1]))
        trial.set_user_attr(SEED_METRICS, metrics)
        trial.set_user_attr(METRICS, average(metrics))
        shutil.rmtree(run.seed_folder(seed) / LAST)  # no trial is resumed: keep the folder small
        if objective.single and len(metrics) < len(config.seeds):
            trial.report(_promise(objective, metrics, values), len(metrics) - 1)
            if trial.should_prune():
                raise optuna.TrialPruned(f"among the worst quarter after {len(metrics)} seeds")

    try:
        train(config, job.folder / TRIALS / f"{trial.number:04d}", progress=False, on_seed=judge)
    finally:
        trial.set_user_attr(SECONDS, round(time.monotonic() - started, 3))
    if objective.max_hallucination is not None:
        trial.set_constraint("hallucination", objective.violation(average(metrics)))
    return tuple(float(value) for value in np.mean(values, axis=0))


def work(job: Job, on_trial: Callable[[], Any] | None = None) -> None:
    """Run trials until all places are taken.

    A trial that fails is recorded with its reason, and the next one follows. One that is
    interrupted is put back into the queue.

    Raises:
        KeyboardInterrupt: after Ctrl-C.
    """
    with quiet_optuna(), job.open() as study, stop_on_interrupt() as stop:
        while not is_full(study, job.config.trials):
            try:
                study.optimize(
                    lambda trial: _recorded(trial, job, stop), n_trials=1, catch=(Exception,)
                )
                stop.check()
            except KeyboardInterrupt:
                put_back_own(study)
                raise
            if on_trial is not None:
                on_trial()


def is_full(study: Study, trials: int) -> bool:
    """Whether all places are taken and no trial waits to be tried again."""
    counted = places(study.get_trials(deepcopy=False))
    waiting = any(trial.state == TrialState.WAITING for trial in counted)
    return len(counted) >= trials and not waiting


def put_back_own(study: Study) -> None:
    """Queue what this process was running when it was interrupted."""
    mine = _this_process()
    for trial in places(study.get_trials(deepcopy=False)):
        if trial.user_attrs.get(WORKER) == mine and trial.user_attrs.get(REASON) == INTERRUPTED:
            put_back(study, trial, wanted=True)


def put_back_dead(study: Study) -> int:
    """Queue the trials of this machine's workers that are no more; returns how many.

    Those of other machines are theirs to put back; a database notices by itself when they stop
    giving signs of life.
    """
    found = 0
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        if not _dead(trial):
            continue
        try:
            study.tell(trial.number, state=TrialState.FAIL)
        except (ValueError, optuna.exceptions.UpdateFinishedTrialError):
            continue  # another process was faster
        put_back(study, trial)
        found += 1
    return found


def _recorded(trial: Trial, job: Job, stop: StopRequest) -> tuple[float, ...]:
    """`run_trial` with the reason of a failure kept."""
    try:
        trial.set_user_attr(WORKER, _this_process())
        stop.check()
        return run_trial(trial, job)
    except (SurplusError, optuna.TrialPruned):
        raise
    except KeyboardInterrupt:
        trial.set_user_attr(REASON, INTERRUPTED)
        raise
    except Exception as error:
        reason = str(error) if isinstance(error, DSAError) else f"{type(error).__name__}: {error}"
        trial.set_user_attr(REASON, " ".join(reason.split()))
        raise


def _promise(
    objective: Objective, metrics: list[Metrics], values: list[tuple[float, ...]]
) -> float:
    """What the pruner compares: the mean so far, less what it exceeds the bound by."""
    return float(np.mean(values)) - max(objective.violation(average(metrics)), 0.0)


def _this_process() -> dict[str, Any]:
    me = psutil.Process()
    return {"host": socket.gethostname(), "pid": me.pid, "started": me.create_time()}


def _dead(trial: FrozenTrial) -> bool:
    """Whether the worker of a running trial was one of this machine's and is no more."""
    worker = trial.user_attrs.get(WORKER)
    if worker is None:  # cut off before it could say who it was
        begun = trial.datetime_start
        return begun is not None and datetime.now() - begun > NAMELESS
    if worker["host"] != socket.gethostname():
        return False
    try:  # a number that was given out anew is another process
        return bool(psutil.Process(worker["pid"]).create_time() != worker["started"])
    except psutil.NoSuchProcess:
        return True


@contextmanager
def quiet_optuna() -> Iterator[None]:
    """Inside, Optuna neither logs every trial nor warns of what it calls experimental."""
    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(level)
