"""Training beside training: steps per second, and the time until a policy is nearly as good."""

from __future__ import annotations

import time
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import Logger

from dsa_agents.adapter import CoreVecEnv, feature_table, flatten, observation_statistics
from dsa_agents.algorithms import build_model, full_hyperparameters, get_algorithm
from dsa_env.core import RetrievalCore

from .measure import Contender, Row, in_turns

ROUNDS = 7
SHARE = 0.95
"""Of what training gains on the validation split, from the untrained policy to the final one."""
PATIENCE = 10.0
"""Times our own seconds after which SB3's default settings are no longer waited for."""
SEEDS = (0, 1)


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
                  None, note=same_curve(train)),
        time_to_reward(train, RetrievalCore(bank, "image_to_text", "validation")),
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


def time_to_reward(train: RetrievalCore, validation: RetrievalCore) -> Row:
    """Seconds of learning until `SHARE` of the gain, our defaults and SB3's, per seed."""
    ours, theirs, targets, unreached = [], [], [], 0
    timesteps = get_algorithm("ppo").timesteps
    for seed in SEEDS:
        curve = learned(our_model(train, seed), validation, timesteps, np.inf, np.inf)
        start, end = curve[0][1], curve[-1][1]
        targets.append(start + SHARE * (end - start))
        ours.append(next(seconds for seconds, reward in curve if reward >= targets[-1]))
        other = learned(
            default_model(train, seed), validation, 10**9, PATIENCE * ours[-1], targets[-1]
        )
        unreached += other[-1][1] < targets[-1]
        theirs.append(other[-1][0])
    ratios = [b / a for a, b in zip(ours, theirs, strict=True)]
    note = (
        f"seconds of learning, validation left out, until the deterministic policy has {SHARE:.0%} "
        f"of what {timesteps:,} steps of our defaults gain on the validation split over the "
        f"untrained policy (targets {', '.join(f'{t:.4f}' for t in targets)}; {len(SEEDS)} seeds)"
    )
    if unreached:
        note += (
            f"; SB3's defaults did not get there in {PATIENCE:.0f} times as long with {unreached} "
            "of them, so the ratio is a lower bound"
        )
    return Row(
        "time to 95 % of the gain in validation reward: SB3's defaults / ours",
        float(np.median(ours)), float(np.median(theirs)), "s", float(np.median(ratios)), 5.0,
        (min(ratios), max(ratios)), note,
    )  # fmt: skip


def learned(
    model: BaseAlgorithm, judge: RetrievalCore, timesteps: int, seconds: float, target: float
) -> list[tuple[float, float]]:
    """Seconds of learning and validation reward, every quarter of a second between two rollouts.

    Ends after so many steps or seconds, or where the target is reached.
    """
    watch = Watch(judge, seconds, target)
    model.learn(timesteps, watch, log_interval=None)  # type: ignore[arg-type]
    return watch.curve


class Watch(BaseCallback):
    """Looks at the deterministic policy's validation reward; looking does not count as time."""

    def __init__(self, judge: RetrievalCore, seconds: float, target: float) -> None:
        super().__init__()
        self.judge, self.seconds, self.target = judge, seconds, target
        self.query = np.arange(judge.n_queries)
        self.seen = self.query.astype(np.float32)[:, None]  # what an indexed policy is shown
        self.curve: list[tuple[float, float]] = []
        self.lost = self.due = 0.0
        self.started = time.perf_counter()

    def _on_training_start(self) -> None:
        if self.model.observation_space.shape != (1,):
            self.seen = flatten(self.judge.observe(self.query))

    def _on_rollout_start(self) -> None:
        if self.passed() >= self.due:
            self.look()
            self.due = self.passed() + 0.25

    def _on_step(self) -> bool:
        return self.passed() < self.seconds and self.curve[-1][1] < self.target

    def _on_training_end(self) -> None:
        self.look()

    def look(self) -> None:
        """Add a point to the curve."""
        passed, before = self.passed(), time.perf_counter()
        action, _ = self.model.predict(self.seen, deterministic=True)
        g = np.clip((action[:, 0] + 1) / 2, 0, 1)
        self.curve.append((passed, float(self.judge.evaluate(self.query, g)[0].mean())))
        self.lost += time.perf_counter() - before

    def passed(self) -> float:
        """Seconds of learning so far."""
        return time.perf_counter() - self.started - self.lost


def same_curve(train: RetrievalCore) -> str:
    """What the learning curve of query numbers is beside that of features."""
    rewards = [
        learned(our_model(train, 0, indexed=indexed), train, 65_536, np.inf, np.inf)[-1][1]
        for indexed in (False, True)
    ]
    same = "the same" if rewards[0] == rewards[1] else "not the same"
    return (
        f"a rollout keeps one number a step and the policy gathers; the train split's reward after "
        f"65,536 steps is {same} ({rewards[0]:.6f} and {rewards[1]:.6f})"
    )
