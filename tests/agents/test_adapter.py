"""The adapter gives Stable-Baselines3 exactly the environment's episodes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from dsa_agents.adapter import (
    CoreVecEnv,
    Standardise,
    flatten,
    input_widths,
    observation_statistics,
)
from dsa_env.bank import FeatureBank
from dsa_env.core import RetrievalCore
from dsa_env.env import RetrievalEnv
from dsa_env.errors import DSAError

N = 5


def actions(step: int) -> NDArray[np.float32]:
    return np.random.default_rng(step).uniform(-1.3, 1.3, (N, 1)).astype(np.float32)


@pytest.mark.parametrize("horizon", [1, 3])
@pytest.mark.parametrize("direction", ["text_to_image", "image_to_text"])
def test_every_environment_plays_the_scalar_environments_episodes(
    synthetic_bank_path: Path, direction: str, horizon: int
) -> None:
    settings: dict[str, Any] = {
        "bank": synthetic_bank_path,
        "direction": direction,
        "horizon": horizon,
        "k": 1,
    }
    batch = CoreVecEnv(RetrievalCore(split="train", **settings), N, seed=7)
    singles = [RetrievalEnv(**settings) for _ in range(N)]
    first = batch.reset()
    for row, (i, env) in zip(first, enumerate(singles), strict=True):
        np.testing.assert_array_equal(row, join(env.reset(seed=7 + i)[0]))
    for step in range(2 * horizon):
        chosen = actions(step)
        observations, rewards, dones, infos = batch.step(chosen)
        assert infos == [{}] * N
        for i, env in enumerate(singles):
            observation, reward, ended, _, _ = env.step((chosen[i] + 1) / 2)
            if ended:
                observation, _ = env.reset()
            np.testing.assert_array_equal(observations[i], join(observation))
            assert rewards[i] == np.float32(reward)
            assert dones[i] == ended


def join(observation: dict[str, NDArray[np.float32]]) -> NDArray[np.float32]:
    return np.concatenate(list(observation.values()))


def test_spaces_are_flat_float32_boxes(synthetic_bank: FeatureBank) -> None:
    core = RetrievalCore(synthetic_bank, horizon=2)
    env = CoreVecEnv(core, N)
    assert env.inputs == {"text": 16, "image": 32, "granularity": 1, "retrieved": 32}
    assert env.observation_space == gym.spaces.Box(-1, 1, (81,), np.float32)
    assert env.action_space == gym.spaces.Box(-1, 1, (1,), np.float32)
    assert env.reset().dtype == np.float32
    assert all(row in env.observation_space for row in env.reset())


@pytest.mark.parametrize("horizon", [1, 2])
def test_state_restores_the_same_future(synthetic_bank: FeatureBank, horizon: int) -> None:
    core = RetrievalCore(synthetic_bank, horizon=horizon)
    env, other = CoreVecEnv(core, N, seed=1), CoreVecEnv(core, N, seed=2)
    env.reset()
    other.reset()
    env.step(actions(0))
    other.set_state(env.get_state())
    for step in range(1, 5):
        for ours, theirs in zip(env.step(actions(step)), other.step(actions(step)), strict=True):
            np.testing.assert_array_equal(ours, theirs)


def test_rewards_that_are_vectors_and_diverged_policies_are_refused(
    synthetic_bank: FeatureBank,
) -> None:
    with pytest.raises(DSAError, match="scalar reward"):
        CoreVecEnv(RetrievalCore(synthetic_bank, reward="terms"), N)
    with pytest.raises(DSAError, match="n_envs must be at least 1"):
        CoreVecEnv(RetrievalCore(synthetic_bank), 0)
    env = CoreVecEnv(RetrievalCore(synthetic_bank), N)
    env.reset()
    with pytest.raises(DSAError, match="diverged"):
        env.step(np.full((N, 1), np.nan, dtype=np.float32))


def test_statistics_are_those_of_all_train_observations(synthetic_bank: FeatureBank) -> None:
    core = RetrievalCore(synthetic_bank)
    rows = flatten(core.observe(np.arange(core.n_queries)))
    mean, std = observation_statistics(core)
    np.testing.assert_allclose(mean, rows.mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(std, rows.std(axis=0), rtol=1e-4)


def test_statistics_cover_the_refining_entries(synthetic_bank: FeatureBank) -> None:
    core = RetrievalCore(synthetic_bank, horizon=2)
    mean, std = observation_statistics(core)
    assert len(mean) == len(std) == sum(input_widths(core).values())
    at = input_widths(core)["text"] + input_widths(core)["image"]
    assert mean[at] == pytest.approx(0.5, abs=0.05)
    assert std[at] == pytest.approx(12**-0.5, abs=0.05)


def test_standardise_is_frozen_and_saved_with_the_weights() -> None:
    space = gym.spaces.Box(-1, 1, (2,), np.float32)
    layer = Standardise(space, np.array([1, 2], np.float32), np.array([2, 4], np.float32))
    np.testing.assert_allclose(layer(torch.tensor([[3.0, 2.0]])), [[1.0, 0.0]])
    assert list(layer.parameters()) == []
    assert set(layer.state_dict()) == {"mean", "std"}
