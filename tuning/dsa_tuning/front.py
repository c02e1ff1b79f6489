"""The Pareto front of a study, its knee, and how much it dominates."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from optuna.study import Study
from optuna.trial import FrozenTrial

from dsa_tuning.metrics import Metrics
from dsa_tuning.objective import Objective
from dsa_tuning.storage import completed, places
from dsa_tuning.trials import METRICS

Floats = NDArray[np.float64]


def choose(study: Study, objective: Objective) -> tuple[FrozenTrial | None, list[FrozenTrial]]:
    """The trial whose weights are taken, and the best trials from which it is taken.

    Of two objectives the best are the Pareto front, in the order of their recall, and the knee of
    it is taken; of one objective it is the best trial alone. Where a bound on hallucination is
    given only trials that keep it count; if none does, the one that exceeds it least is taken.

    Returns:
        The trial and the best ones; None and nothing while no trial is complete.
    """
    done = completed(places(study.get_trials(deepcopy=False)))
    if not done:
        return None, []
    kept = [trial for trial in done if violation(trial, objective) <= 0]
    if not kept:
        least = min(done, key=lambda trial: violation(trial, objective))
        return least, [least]
    values = np.array([trial.values for trial in kept])
    best = pareto(values * signs(objective.directions))
    front = sorted((kept[i] for i in np.flatnonzero(best)), key=lambda trial: trial.values[0])
    return front[knee(np.array([t.values for t in front]), objective.directions)], front


def violation(trial: FrozenTrial, objective: Objective) -> float:
    """How far a trial exceeds the bound on hallucination; at most 0 where it keeps it."""
    metrics: Metrics = trial.user_attrs[METRICS]
    return objective.violation(metrics)


def signs(directions: Sequence[str]) -> Floats:
    """1 for what is maximised, -1 for what is minimised."""
    return np.array([1.0 if direction == "maximize" else -1.0 for direction in directions])


def pareto(values: ArrayLike) -> NDArray[np.bool_]:
    """Which rows of `values` [n, m], all to be maximised, no other row dominates: [n] bool.

    A row dominates another that it equals or exceeds in all values and exceeds in one; of equal
    rows the first is kept.
    """
    rows = np.asarray(values, dtype=np.float64)
    kept = np.ones(len(rows), dtype=np.bool_)
    for i, row in enumerate(rows):
        no_worse = (rows >= row).all(axis=1)
        better = (rows > row).any(axis=1)
        equal_before = no_worse & ~better & (np.arange(len(rows)) < i)
        kept[i] = not ((no_worse & better) | equal_before).any()
    return kept


def knee(front: ArrayLike, directions: Sequence[str]) -> int:
    """The row of a two-objective front that lies farthest beyond the line between its ends.

    Both objectives are scaled to [0, 1] over the front first, so that their units do not matter
    (Das, "On characterizing the knee of the Pareto curve", Structural Optimization 18, 1999). A
    front of one or two points has no knee: its better end in the first objective is taken.

    Args:
        front: [n, m] values of mutually non-dominated trials.
        directions: ``"maximize"`` or ``"minimize"`` for each of the m objectives.
    """
    rows = np.asarray(front, dtype=np.float64) * signs(directions)
    if rows.shape[1] != 2 or len(rows) < 3:
        return int(np.argmax(rows[:, 0]))
    low, high = rows.min(axis=0), rows.max(axis=0)
    scaled = (rows - low) / np.where(high > low, high - low, 1.0)
    return int(np.argmax(scaled.sum(axis=1)))  # the line between the ends is x + y = 1


def hypervolume(values: ArrayLike, reference: ArrayLike) -> float:
    """The area that points of two objectives, both maximised, dominate above a reference point.

    Args:
        values: [n, 2].
        reference: [2], the worst corner; points beyond it add nothing.
    """
    rows = np.maximum(np.asarray(values, np.float64).reshape(-1, 2) - np.asarray(reference), 0.0)
    area = top = 0.0
    for x, y in rows[np.argsort(-rows[:, 0], kind="stable")]:
        area += x * max(y - top, 0.0)
        top = max(top, y)
    return area


def history(
    values: ArrayLike, directions: Sequence[str], reference: ArrayLike | None = None
) -> Floats:
    """What has been reached after each trial: the best value, or the dominated hypervolume.

    Args:
        values: [n, m] of the trials in their order.
        directions: of the m objectives.
        reference: worst corner [2] for two objectives; by default the worst of each value.

    Returns:
        [n]; for one objective in its own unit, for two an area.
    """
    rows = np.asarray(values, dtype=np.float64) * signs(directions)
    if rows.shape[1] == 1:
        best: Floats = np.maximum.accumulate(rows[:, 0]) * signs(directions)[0]
        return best
    corner = rows.min(axis=0) if reference is None else np.asarray(reference) * signs(directions)
    return np.array([hypervolume(rows[: n + 1], corner) for n in range(len(rows))])
