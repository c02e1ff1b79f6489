"""Which action distribution learns the granularity better: a rescaled Gaussian or a Beta?

    python benchmarks/policy_distribution.py [--bank FOLDER] [--direction D] [--timesteps N]

Trains PPO with the package's defaults and each distribution on the same seeds, and prints the
validation reward of the deterministic policy: at the end, at its best, and averaged over training
(how fast it learns). Without --bank it uses a synthetic bank made on the spot.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from stable_baselines3.common.distributions import DiagGaussianDistribution
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.policies import ActorCriticPolicy
from torch import Tensor, nn
from torch.distributions import Beta

from dsa_agents.adapter import CoreVecEnv, flatten, observation_statistics
from dsa_agents.algorithms import build_model, full_hyperparameters, get_algorithm
from dsa_env.core import RetrievalCore
from dsa_env.testing import synthetic_bank


class BetaDistribution(DiagGaussianDistribution):
    """A unimodal Beta on [-1, 1]: both concentrations are above 1 (Chou et al., ICML 2017)."""

    def proba_distribution_net(
        self, latent_dim: int, log_std_init: float = 0.0
    ) -> tuple[nn.Module, nn.Parameter]:
        """Two outputs; the log standard deviation that SB3 expects is not used."""
        return nn.Linear(latent_dim, 2), nn.Parameter(torch.zeros(1), requires_grad=False)

    def proba_distribution(self, mean_actions: Tensor, log_std: Tensor) -> BetaDistribution:
        """Concentrations 1 + softplus of the network's outputs."""
        self.beta = Beta(*(1.0 + nn.functional.softplus(mean_actions)).split(1, dim=1))
        return self

    def log_prob(self, actions: Tensor) -> Tensor:
        """Density of actions in [-1, 1]."""
        inside = ((actions + 1) / 2).clamp(1e-6, 1 - 1e-6)
        return self.beta.log_prob(inside).squeeze(1) - np.log(2)

    def entropy(self) -> Tensor:
        """Differential entropy on [-1, 1]."""
        return self.beta.entropy().squeeze(1) + np.log(2)

    def sample(self) -> Tensor:
        """An action in [-1, 1]."""
        return 2 * self.beta.rsample() - 1

    def mode(self) -> Tensor:
        """The most likely action."""
        return 2 * self.beta.mode - 1


class BetaPolicy(ActorCriticPolicy):
    """SB3's actor-critic with a Beta in place of the Gaussian."""

    def _build(self, lr_schedule: Any) -> None:
        self.action_dist = BetaDistribution(1)
        super()._build(lr_schedule)


POLICIES: dict[str, Any] = {"gaussian": "MlpPolicy", "beta": BetaPolicy}


def learn(
    policy: Any, train: RetrievalCore, validation: RetrievalCore, timesteps: int, seed: int
) -> tuple[list[float], float]:
    """Validation rewards at ten moments of one training, and its seconds."""
    ppo = get_algorithm("ppo")
    settings = full_hyperparameters(ppo, {}, horizon=1, n_envs=ppo.n_envs)
    mean, std = observation_statistics(train)
    env = CoreVecEnv(train, ppo.n_envs, seed)
    model = build_model(ppo, env, settings, mean, std, seed, policy)
    model.set_logger(Logger(None, []))
    query = np.arange(validation.n_queries)
    observation = flatten(validation.observe(query))
    rewards = []

    def on_step(local: dict[str, Any], _: dict[str, Any]) -> bool:
        done = model.num_timesteps / timesteps
        if done >= (len(rewards) + 1) / 10 or done >= 1:
            action, _ = model.predict(observation, deterministic=True)
            values, _, _ = validation.evaluate(query, (action[:, 0] + 1) / 2)
            rewards.append(float(values.mean()))
        return True

    started = time.perf_counter()
    model.learn(timesteps, on_step, log_interval=None)  # type: ignore[arg-type]
    return rewards, time.perf_counter() - started


def main() -> None:
    """Print one row per distribution."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bank", help="folder of a bank, or 'embedded'")
    parser.add_argument("--direction", default="text_to_image")
    parser.add_argument("--timesteps", type=int, default=400_000)
    parser.add_argument("--seeds", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        bank = arguments.bank or synthetic_bank(n_images=4_000, path=Path(folder) / "bank")
        cores = [
            RetrievalCore(bank, arguments.direction, split) for split in ("train", "validation")
        ]
        best = cores[1].oracle()[0].mean()
        print(f"oracle {best:.4f}; {arguments.timesteps:,} steps, {arguments.seeds} seeds")
        print(f"{'policy':10} {'last':>8} {'best':>8} {'mean':>8} {'sd(last)':>9} {'seconds':>8}")
        for name, policy in POLICIES.items():
            runs = [learn(policy, *cores, arguments.timesteps, s) for s in range(arguments.seeds)]
            curves = np.array([curve for curve, _ in runs])
            figures = (curves[:, -1].mean(), curves.max(axis=1).mean(), curves.mean())
            spread, seconds = curves[:, -1].std(), np.mean([seconds for _, seconds in runs])
            row = " ".join(f"{figure:8.4f}" for figure in figures)
            print(f"{name:10} {row} {spread:9.4f} {seconds:8.1f}")


if __name__ == "__main__":
    main()
