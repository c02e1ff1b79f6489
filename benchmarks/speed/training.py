"""Training beside training: environment steps per second of rollouts and updates."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.logger import Logger

from dsa_agents.adapter import CoreVecEnv, feature_table, observation_statistics
from dsa_agents.algorithms import build_model, full_hyperparameters, get_algorithm
from dsa_env.core import RetrievalCore

from .measure import Contender, Row, in_turns

ROUNDS = 5


def rows(bank: str) -> list[Row]:
    """The rows of the table that are about training."""
    torch.set_num_threads(1)
    train = RetrievalCore(bank, "image_to_text")
    contenders = {
        "ours": learning(our_model(train, seed=0)),
        "indexed": learning(our_model(train, seed=0, indexed=True)),
        "sb3": learning(quiet(PPO("MlpPolicy", gym.make("CartPole-v1"), device="cpu"))),
        "sbx": learning(sbx_model()),
        "defaults": learning(default_model(train, seed=0)),
    }
    found = in_turns(contenders, ROUNDS)
    where = "image to text, 256 floats observed; one torch thread for all; rollouts and updates"
    return [
        found.row("SB3 PPO on ours, our defaults / SB3 PPO CartPole, SB3's defaults", "ours", "sb3",
                  25, note=where),
        found.row("SB3 PPO on ours, our defaults / SBX (JAX) PPO CartPole, its defaults", "ours",
                  "sbx", None, note="compiled before the first round that counts"),
        found.row("SB3 PPO on ours: our defaults / SB3's defaults", "ours", "defaults", None,
                  note="the same environment and policy class"),
        found.row("SB3 PPO on ours: query numbers / features as observations", "indexed", "ours",
                  None, note="a rollout keeps one number a step, the policy gathers"),
    ]  # fmt: skip


def learning(model: BaseAlgorithm) -> Contender:
    """One call learns for a rollout (SB3's default one is 2,048 steps) and its update."""
    steps = model.n_steps * model.n_envs  # type: ignore[attr-defined]

    def run() -> int:
        model.learn(steps, log_interval=None, reset_num_timesteps=False)  # type: ignore[arg-type]
        return int(steps)

    model.learn(steps, log_interval=None)  # type: ignore[arg-type]
    return Contender(run)


def our_model(core: RetrievalCore, seed: int, *, indexed: bool = False) -> BaseAlgorithm:
    """PPO as `dsa train` makes it."""
    ppo = get_algorithm("ppo")
    settings = full_hyperparameters(ppo, {}, horizon=1, n_envs=ppo.n_envs)
    env = CoreVecEnv(core, ppo.n_envs, seed, indexed=indexed)
    table = feature_table(core) if indexed else None
    return quiet(build_model(ppo, env, settings, *observation_statistics(core), seed, table=table))


def default_model(core: RetrievalCore, seed: int) -> BaseAlgorithm:
    """PPO as Stable-Baselines3 makes it when it is told nothing, one environment as usual."""
    return quiet(PPO("MlpPolicy", CoreVecEnv(core, 1, seed), seed=seed, device="cpu"))


def sbx_model() -> Any:
    """SBX's PPO on CartPole, on the processor."""
    import sbx

    return quiet(sbx.PPO("MlpPolicy", gym.make("CartPole-v1")))


def quiet(model: Any) -> Any:
    """The model without a log."""
    model.set_logger(Logger(None, []))
    return model
