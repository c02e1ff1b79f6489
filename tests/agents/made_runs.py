"""Runs made without training: a controller of known or random weights in a run's folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from dsa_agents.adapter import input_widths, observation_statistics
from dsa_agents.full_information import Fit
from dsa_agents.run_folder import (
    BEST,
    CONFIG,
    CURVE,
    PROVENANCE,
    SUMMARY,
    RunFolder,
    TrainConfig,
    describe_provenance,
    seed_folder,
)
from dsa_env.bank import resolve_bank
from dsa_env.controller import GranularityController
from dsa_env.core import RetrievalCore
from dsa_env.files import write_json

QUICK = Fit(members=1, max_steps=100, min_steps=100, hidden=(64, 32), batch=128)
"""A full-information fit that takes a moment."""


def make_run(
    folder: Path, bank: Path, *, seeds: tuple[int, ...] = (0, 1), **settings: Any
) -> RunFolder:
    """A finished run on a bank, one untrained controller per seed."""
    config = TrainConfig(bank=str(bank), seeds=seeds, timesteps=1000, n_envs=8, **settings)
    opened = resolve_bank(bank)
    train = RetrievalCore(
        opened,
        config.direction,
        "train",
        config.k,
        config.horizon,
        config.reward,
        config.reward_kwargs,
    )
    write_json(folder / CONFIG, config.to_json())
    write_json(folder / PROVENANCE, describe_provenance(opened, 1, ["dsa", "train", "<b>&"]))
    for seed in seeds:
        controller = untrained(train, seed)
        controller.save_pretrained(seed_folder(folder, seed) / BEST)
        curve = [
            {"steps": steps, "seconds": steps / 100, "reward": steps / 2000}
            for steps in (0, 500, 1000)
        ]
        write_json(seed_folder(folder, seed) / CURVE, curve)
        summary = {
            "train_seconds": 2.0 + seed,
            "timesteps": 1000,
            "best_step": 500,
            "best_validation_reward": 0.5,
            "finished": True,
        }
        write_json(seed_folder(folder, seed) / SUMMARY, summary)
    return RunFolder.open(folder)


def untrained(core: RetrievalCore, seed: int = 0) -> GranularityController:
    """A controller with random weights that spread g over [0, 1]."""
    torch.manual_seed(seed)
    controller = GranularityController(input_widths(core), hidden=(16,))
    mean, std = observation_statistics(core)
    controller.mean.copy_(torch.from_numpy(mean))
    controller.std.copy_(torch.from_numpy(std))
    return controller.eval()
