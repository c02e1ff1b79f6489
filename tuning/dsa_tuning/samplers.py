"""How the next trial is chosen: Optuna's samplers, made independent of who runs the trial."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, GPSampler, GridSampler, RandomSampler, TPESampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from dsa_env.errors import unknown
from dsa_tuning.names import SAMPLERS
from dsa_tuning.space import Space

STARTUP = 2
"""Trials per parameter, beside the first ones of the space, before a model is trusted."""


def make_sampler(
    name: str, space: Space, first: Sequence[Mapping[str, Any]], trials: int, seed: int
) -> BaseSampler:
    """The sampler of that name.

    Args:
        name: ``"gp"``, ``"tpe"``, ``"random"`` or ``"grid"``.
        space: what is searched.
        first: the parameters of the first trials; a grid has none.
        trials: of the whole study; how fine a grid is.
        seed: of all random choices.

    Raises:
        DSAError: an unknown name, or a grid that does not fit.
    """
    if name not in SAMPLERS:
        raise unknown("sampler", name, SAMPLERS)
    if name == "grid":
        return GridSampler(space.grid(trials), seed=seed)
    startup = len(first) + STARTUP * (len(space.parameters) - 1) + 1
    makers: dict[str, Callable[[int], BaseSampler]] = {
        "gp": lambda one: GPSampler(
            seed=one, n_startup_trials=startup, warn_independent_sampling=False
        ),
        "tpe": lambda one: TPESampler(seed=one, n_startup_trials=startup),
        "random": lambda one: RandomSampler(seed=one),
    }
    return SampledByNumber(makers[name], first, seed)


class SampledByNumber(BaseSampler):
    """A sampler whose random choices depend on the seed and the trial's number alone.

    Numbers are given out by the storage, so any number of workers on any number of machines draw
    different samples from one seed, and a study that is resumed goes on as if it had not stopped.
    The first trials are given.
    """

    def __init__(
        self,
        make: Callable[[int], BaseSampler],
        first: Sequence[Mapping[str, Any]],
        seed: int,
    ) -> None:
        self._make = make
        self._first = first
        self._seed = seed
        self._number = -1
        self._sampler = make(seed)

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """As Optuna asks for; nothing where the trial is given."""
        if trial.number < len(self._first):
            return {}
        return self._of(trial).infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """As Optuna asks for; nothing where the trial is given."""
        if trial.number < len(self._first):
            return {}
        return self._of(trial).sample_relative(study, trial, search_space)

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """As Optuna asks for; the given value where the trial is given."""
        if trial.number < len(self._first):
            return self._first[trial.number][param_name]
        return self._of(trial).sample_independent(study, trial, param_name, param_distribution)

    def after_trial(
        self,
        study: Study,
        trial: FrozenTrial,
        state: TrialState,
        values: Sequence[float] | None,
    ) -> None:
        """Pass the result on."""
        self._of(trial).after_trial(study, trial, state, values)

    def _of(self, trial: FrozenTrial) -> BaseSampler:
        """The sampler of one trial."""
        if trial.number != self._number:
            seed = np.random.SeedSequence([self._seed, trial.number]).generate_state(1)[0]
            self._sampler, self._number = self._make(int(seed) % 2**31), trial.number
        return self._sampler
