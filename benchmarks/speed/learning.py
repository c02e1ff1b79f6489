"""How long learning takes to be nearly as good as it gets."""

from __future__ import annotations

import time

import numpy as np
import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback

from dsa_agents.adapter import flatten
from dsa_agents.algorithms import get_algorithm
from dsa_env.core import RetrievalCore

from .measure import Row
from .training import default_model, our_model

SHARE = 0.95
"""Of what training gains on the validation split, from the untrained policy to the final one."""
PATIENCE = 20.0
"""Times our own seconds after which SB3's default settings are no longer waited for."""
SEEDS = (0, 1, 2)
SHORT = 65_536
"""Steps after which dense and indexed learning are compared."""


def rows(bank: str) -> list[Row]:
    """The rows of the table that are about learning."""
    torch.set_num_threads(1)
    train = RetrievalCore(bank, "image_to_text")
    return [
        same_curve(train),
        time_to_reward(train, RetrievalCore(bank, "image_to_text", "validation")),
    ]


def same_curve(train: RetrievalCore) -> Row:
    """Where learning from query numbers gets to, beside learning from features."""
    dense, indexed = (
        learned(our_model(train, 0, indexed=indexed), train, SHORT, np.inf, np.inf)[-1][1]
        for indexed in (False, True)
    )
    return Row(
        f"reward after {SHORT:,} steps: query numbers / features as observations", indexed, dense,
        "", indexed / dense, 1, None,
        "the same seed; a rollout keeps one number a step and the policy gathers the features",
    )  # fmt: skip


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
        "processor seconds of learning in one thread, validation left out, until the "
        f"deterministic policy has {SHARE:.0%} of what {timesteps:,} steps of our "
        "defaults gain on the validation split over the "
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
        self.started = time.process_time()

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
        passed, before = self.passed(), time.process_time()
        action, _ = self.model.predict(self.seen, deterministic=True)
        g = np.clip((action[:, 0] + 1) / 2, 0, 1)
        self.curve.append((passed, float(self.judge.evaluate(self.query, g)[0].mean())))
        self.lost += time.process_time() - before

    def passed(self) -> float:
        """Seconds of learning so far."""
        return time.process_time() - self.started - self.lost
