"""A study's results as plain documents: ``results.json`` and ``best.json``."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
from optuna.importance import FanovaImportanceEvaluator, get_param_importances
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from dsa_agents.run_folder import TrainConfig
from dsa_env.bank import resolve_bank
from dsa_tuning.front import history, violation
from dsa_tuning.objective import Objective
from dsa_tuning.potential import Potential
from dsa_tuning.storage import completed, places
from dsa_tuning.trials import METRICS, REASON, REWARD, SECONDS, SEED_METRICS, SETTINGS, Job

STATES = {
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "running",
    TrialState.WAITING: "waiting",
}
LEAST_FOR_IMPORTANCE = 4
"""Complete trials below which an importance says nothing."""


def study_document(
    job: Job,
    study: Study,
    chosen: FrozenTrial | None,
    front: list[FrozenTrial],
    potential: Potential | None,
    tested: dict[str, Any] | None,
) -> dict[str, Any]:
    """All that a study found, as JSON can hold it.

    Returns:
        ``objective``, ``trials`` (each with its state, plain weights, values, metrics of every
        seed and, where it failed, the reason), ``counts`` by state, ``front`` and ``chosen``
        (numbers of trials), ``keeps_bound``, ``history``, ``importances``, ``potential``, ``test``
        and the ``config``.
    """
    trials = places(study.get_trials(deepcopy=False))
    objective = job.objective
    done = completed(trials)
    states = Counter(STATES[trial.state] for trial in trials)
    return {
        "objective": {
            "name": objective.name,
            "labels": list(objective.labels),
            "directions": list(objective.directions),
            "hallucination": objective.hallucination,
            "max_hallucination": objective.max_hallucination,
        },
        "trials": [_trial(trial) for trial in trials],
        "counts": {"wanted": job.config.trials} | {s: states[s] for s in STATES.values()},
        "front": [trial.number for trial in front],
        "chosen": None if chosen is None else chosen.number,
        "keeps_bound": chosen is not None and violation(chosen, objective) <= 0,
        "history": []
        if not done
        else history([trial.values for trial in done], objective.directions).tolist(),
        "importances": importances(study, objective, done, job.config.seed),
        "potential": None
        if potential is None
        else {**potential.to_json(), "matters": potential.matters, "sentence": potential.sentence},
        "test": tested,
        "config": job.config.to_json(),
    }


def best_document(job: Job, study: Study, chosen: FrozenTrial) -> dict[str, Any]:
    """What ``dsa train --weights`` takes: the plain weights, and all else that was tuned with them.

    ``alpha`` and ``beta`` stand on top where the reward has them.
    """
    base: TrainConfig = job.config.base
    reward = chosen.user_attrs[REWARD]
    return {
        **{name: reward[name] for name in ("alpha", "beta") if name in reward},
        "train": {
            "bank": base.bank,
            "direction": base.direction,
            "k": base.k,
            "horizon": base.horizon,
            **base.options,
            "ambiguity": base.ambiguity,
            "algorithm": base.algorithm,
            "reward": base.reward,
            "reward_kwargs": reward,
            "hyperparameters": chosen.user_attrs[SETTINGS],
        },
        "validation": chosen.user_attrs[METRICS],
        "study": study.study_name,
        "trial": chosen.number,
        "bank_sha256": resolve_bank(base.bank).sha256,
    }


def importances(
    study: Study, objective: Objective, done: list[FrozenTrial], seed: int
) -> dict[str, dict[str, float]]:
    """Each parameter's share of the variance of each value (functional ANOVA).

    Hutter, Hoos and Leyton-Brown, ICML 2014, as Optuna has it. Empty while too few trials are
    complete, or where they all have one value.
    """
    if len(done) < LEAST_FOR_IMPORTANCE:
        return {}
    values = np.array([trial.values for trial in done])
    return {
        label: get_param_importances(
            study,
            evaluator=FanovaImportanceEvaluator(seed=seed),
            target=lambda trial, at=at: trial.values[at],  # type: ignore[misc]
        )
        for at, label in enumerate(objective.labels)
        if np.ptp(values[:, at]) > 0
    }


def _trial(trial: FrozenTrial) -> dict[str, Any]:
    attributes = trial.user_attrs
    return {
        "number": trial.number,
        "state": STATES[trial.state],
        "parameters": trial.params,
        "reward": attributes.get(REWARD),
        "values": trial.values if trial.state == TrialState.COMPLETE else None,
        "metrics": attributes.get(METRICS),
        "seeds": attributes.get(SEED_METRICS, []),
        "reason": attributes.get(REASON) or CUT_OFF.get(trial.state),
        "seconds": attributes.get(SECONDS),
    }


CUT_OFF = {TrialState.FAIL: "cut off: its worker was killed"}
