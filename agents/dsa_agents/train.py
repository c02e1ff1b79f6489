"""Training: from a configuration to a run's folder, one seed after the other, resumable."""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dsa_agents.adapter import (
    CoreVecEnv,
    feature_table,
    input_widths,
    observation_statistics,
    require_scalar,
)
from dsa_agents.algorithms import build_model, full_hyperparameters, get_algorithm
from dsa_agents.callbacks import StopRequest, TrainingCallback, TrainingState, stop_on_interrupt
from dsa_agents.checkpoint import load_checkpoint
from dsa_agents.export import controller_from_model
from dsa_agents.run_folder import (
    CHECKPOINT,
    LAST,
    RunFolder,
    TrainConfig,
    check_free,
    create_run,
    open_bank,
    read_run,
)
from dsa_agents.validation import validate
from dsa_env.bank import FeatureBank, resolve_bank
from dsa_env.core import OBSERVATIONS, RetrievalCore
from dsa_env.errors import DSAError, unknown
from dsa_env.progress import bar

if TYPE_CHECKING:
    from stable_baselines3.common.base_class import BaseAlgorithm

    from dsa_env.controller import GranularityController

TORCH_THREADS = 1
"""With one busy neighbour core two threads fell from 67k to 0.8k steps/s; one kept 56k."""
VALIDATIONS = 40


def train(
    config: TrainConfig | None,
    out: str | Path,
    *,
    resume: bool = False,
    progress: bool = True,
    checkpoint_seconds: float = 30.0,
    on_seed: Callable[[RunFolder, int], None] | None = None,
) -> RunFolder:
    """Train every seed of a configuration; the result is the same on every run of one machine.

    Ctrl-C writes a checkpoint and says how to continue; a killed training continues from its last
    checkpoint. Either way the resumed training ends with exactly the weights that it would have
    ended with. The caller's random generators and number of torch threads are left as they were.

    Args:
        config: what to train; None only with `resume`, for the folder's own.
        out: the run's folder; new or empty unless `resume`.
        resume: continue the run in `out`.
        progress: show a progress bar on standard error.
        checkpoint_seconds: seconds between two checkpoints.
        on_seed: called with the run and a seed as soon as that seed is finished; what it raises
            ends the training there, the later seeds untouched.

    Returns:
        The finished run.

    Raises:
        DSAError: wrong configuration, an unusable bank, a folder in use, nothing to resume.
        KeyboardInterrupt: after Ctrl-C, once the checkpoint is written.
    """
    folder = Path(out)
    config, bank = _resumed(folder, config) if resume else _checked(folder, config)
    job = _Job.prepare(folder, config, bank)
    if not resume:
        create_run(folder, config, bank, TORCH_THREADS)
    with _isolated(), stop_on_interrupt() as stop:
        run = RunFolder(folder, config, {})
        for seed in config.seeds:
            if not run.finished(seed):
                _train_seed(job, seed, stop, progress, checkpoint_seconds)
            if on_seed is not None:
                on_seed(run, seed)
        stop.check()  # too late for a checkpoint, but whoever called us shall know
    return RunFolder.open(folder, bank=bank)


def complete(config: TrainConfig) -> TrainConfig:
    """The configuration with every default written out, checked.

    Raises:
        DSAError: one line that names the field and the cure.
    """
    algorithm = get_algorithm(config.algorithm)
    timesteps = algorithm.timesteps if config.timesteps is None else config.timesteps
    n_envs = algorithm.n_envs if config.n_envs is None else config.n_envs
    every = max(timesteps // VALIDATIONS, 1)
    every = every if config.validate_every is None else config.validate_every
    for name, value in (("timesteps", timesteps), ("n_envs", n_envs), ("validate_every", every)):
        if not isinstance(value, int) or value < 1:
            raise DSAError(f"{name} must be a whole number of at least 1, got {value!r}.")
    seeds = tuple(config.seeds)
    if not seeds or len(set(seeds)) < len(seeds) or any(s < 0 or s >= 2**32 for s in seeds):
        raise DSAError(f"Seeds must be different whole numbers from 0 to 2**32 - 1, got {seeds}.")
    if config.observation not in OBSERVATIONS:
        raise unknown("observation", config.observation, OBSERVATIONS)
    if config.observation == "index" and config.horizon > 1:
        raise DSAError(
            "observation 'index' needs a horizon of 1: above it the observation changes within an "
            "episode; use 'features'."
        )
    if not isinstance(config.reward, str):
        raise DSAError("A run's reward is given by name; name yours as 'package.module:name'.")
    try:
        json.dumps(config.reward_kwargs, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise DSAError(f"reward_kwargs must be plain finite values: {error}.") from None
    bank, model = str(config.bank), Path(config.model).expanduser()
    return replace(
        config,
        bank=bank if bank == "embedded" else str(Path(bank).expanduser().resolve()),
        model=str(model.resolve()) if model.is_dir() else config.model,
        prompts=None if config.prompts is None else tuple(config.prompts),
        hyperparameters=full_hyperparameters(
            algorithm, config.hyperparameters, horizon=config.horizon, n_envs=n_envs
        ),
        timesteps=timesteps,
        n_envs=n_envs,
        validate_every=every,
        seeds=seeds,
    )


def load_model(run: RunFolder, seed: int) -> BaseAlgorithm:
    """The Stable-Baselines3 model of a seed as it was at the end of training.

    For people who want to go on with it themselves; the policy that did best on validation is
    `RunFolder.controller`.
    """
    model, _ = _Job.prepare(run.path, run.config, run.bank).model(seed)
    load_checkpoint(run.seed_folder(seed) / LAST / CHECKPOINT, model)
    return model


@dataclass(frozen=True)
class _Job:
    """What all seeds of a run share."""

    folder: Path
    config: TrainConfig
    bank: FeatureBank
    train_core: RetrievalCore
    validation_core: RetrievalCore
    mean: NDArray[np.float32]
    std: NDArray[np.float32]
    table: Tensor | None

    @classmethod
    def prepare(cls, folder: Path, config: TrainConfig, bank: FeatureBank) -> _Job:
        """Load both splits and the frozen statistics; wrong settings are refused here."""
        train_core, validation_core = (_core(bank, config, s) for s in ("train", "validation"))
        require_scalar(train_core)
        mean, std = observation_statistics(train_core)
        table = feature_table(train_core) if config.observation == "index" else None
        return cls(folder, config, bank, train_core, validation_core, mean, std, table)

    def model(self, seed: int) -> tuple[BaseAlgorithm, CoreVecEnv]:
        """A fresh model on a fresh environment."""
        assert self.config.n_envs is not None
        indexed = self.table is not None
        env = CoreVecEnv(self.train_core, self.config.n_envs, seed, indexed=indexed)
        algorithm = get_algorithm(self.config.algorithm)
        settings = self.config.hyperparameters
        model = build_model(algorithm, env, settings, self.mean, self.std, seed, table=self.table)
        return model, env

    def controller(
        self, model: BaseAlgorithm, extra: dict[str, Any], *, seed: int
    ) -> GranularityController:
        """The model's present policy, labelled with where it comes from."""
        config = self.config
        metadata = {
            "algorithm": config.algorithm,
            "seed": seed,
            "direction": config.direction,
            **config.options,
            "k": config.k,
            "horizon": config.horizon,
            "reward": config.reward,
            "reward_kwargs": config.reward_kwargs,
            "bank_sha256": self.bank.sha256,
            **extra,
        }
        inputs = input_widths(self.train_core)
        return controller_from_model(
            model, config.algorithm, inputs, config.hyperparameters, metadata
        )


def _checked(folder: Path, config: TrainConfig | None) -> tuple[TrainConfig, FeatureBank]:
    """The full configuration and its bank, for a folder that is free."""
    if config is None:
        raise DSAError("Give a configuration, or resume=True to continue a run.")
    config = complete(config)
    check_free(folder)
    return config, resolve_bank(config.bank)


def _resumed(folder: Path, config: TrainConfig | None) -> tuple[TrainConfig, FeatureBank]:
    """The run's own configuration; a given one must be the same."""
    stored, provenance = read_run(folder)
    if config is not None and (given := complete(config)) != stored:
        ours, theirs = given.to_json(), stored.to_json()
        different = ", ".join(name for name in ours if ours[name] != theirs[name])
        raise DSAError(
            f"{folder} was started with another {different}; resume without these options, or "
            "train into another --out."
        )
    return stored, open_bank(folder, stored, provenance)


def _core(bank: FeatureBank, config: TrainConfig, split: str) -> RetrievalCore:
    if len(bank.split_images(split)) == 0:
        raise DSAError(
            f"The bank has no {split!r} images, which training needs; build it with a {split} "
            "split (FeatureBank.from_arrays makes one when splits is None)."
        )
    return config.core(bank, split)


def _train_seed(
    job: _Job, seed: int, stop: StopRequest, progress: bool, checkpoint_seconds: float
) -> None:
    """Train one seed to its end, from its checkpoint if there is one."""
    from stable_baselines3.common.logger import Logger, TensorBoardOutputFormat

    config = job.config
    assert config.timesteps is not None
    assert config.validate_every is not None
    folder = job.folder / f"seed-{seed}"
    model, _ = job.model(seed)
    checkpoint = folder / LAST / CHECKPOINT
    resumed = checkpoint.is_file()
    state = TrainingState(**load_checkpoint(checkpoint, model)) if resumed else TrainingState()
    logger = Logger(str(folder), [TensorBoardOutputFormat(str(folder / "tensorboard"))])
    model.set_logger(logger)
    shown = bar(f"seed-{seed}", config.timesteps) if progress else nullcontext()
    with shown as progress_bar:
        callback = TrainingCallback(
            folder,
            state,
            export=partial(job.controller, seed=seed),
            validate=lambda controller: validate(controller, job.validation_core),
            validate_every=config.validate_every,
            checkpoint_seconds=checkpoint_seconds,
            stop=stop,
            bar=progress_bar,
        )
        try:
            model.learn(
                max(config.timesteps - model.num_timesteps, 0),
                callback,
                log_interval=None,  # type: ignore[arg-type]
                reset_num_timesteps=not resumed,
            )
        except KeyboardInterrupt:
            print(
                f"Stopped at {model.num_timesteps:,} steps of seed {seed}. "
                f"Continue with: dsa train --out {job.folder} --resume",
                file=sys.stderr,
            )
            raise
        finally:
            logger.close()


@contextmanager
def _isolated() -> Iterator[None]:
    """One torch thread inside; the caller's threads and generators come back outside."""
    threads = torch.get_num_threads()
    states = torch.get_rng_state(), np.random.get_state(), random.getstate()
    torch.set_num_threads(TORCH_THREADS)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.set_rng_state(states[0])
        np.random.set_state(states[1])
        random.setstate(states[2])
