"""What is exported is the policy, to the last digit, and needs nothing but torch."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from dsa_agents.adapter import CoreVecEnv, flatten, observation_statistics
from dsa_agents.algorithms import ALGORITHMS, build_model, full_hyperparameters, get_algorithm
from dsa_agents.export import controller_from_model, export
from dsa_agents.run_folder import RunFolder
from dsa_env.bank import FeatureBank
from dsa_env.controller import GranularityController
from dsa_env.core import RetrievalCore
from dsa_env.errors import DSAError


@pytest.mark.parametrize("horizon", [1, 2])
@pytest.mark.parametrize("name", ALGORITHMS)
def test_the_controller_is_the_models_deterministic_policy(
    name: str, horizon: int, synthetic_bank: FeatureBank
) -> None:
    core = RetrievalCore(synthetic_bank, horizon=horizon)
    env = CoreVecEnv(core, 4)
    algorithm = get_algorithm(name)
    given = {"net_arch": [16, 8]} if horizon == 1 else {"net_arch": [12], "activation": "relu"}
    settings = full_hyperparameters(algorithm, given, horizon=horizon, n_envs=4)
    model = build_model(algorithm, env, settings, *observation_statistics(core), seed=0)
    scatter(model.policy)
    controller = controller_from_model(model, name, env.inputs, settings)
    query = np.arange(core.n_queries)
    g, retrieved = np.random.default_rng(0).random(len(query)), query % 3
    observation = core.observe(query, g, retrieved)
    action, _ = model.predict(flatten(observation), deterministic=True)
    np.testing.assert_allclose(
        controller.predict(observation), (action[:, 0] + 1) / 2, rtol=0, atol=1e-6
    )
    assert np.ptp(controller.predict(observation)) > 0.1


@torch.no_grad()
def scatter(policy: torch.nn.Module) -> None:
    """Larger weights, so that the outputs spread over the whole range of actions."""
    torch.manual_seed(0)
    for parameter in policy.parameters():
        parameter += 0.3 * torch.randn_like(parameter)


def test_a_model_does_not_share_its_weights_with_its_controller(
    synthetic_bank: FeatureBank,
) -> None:
    core = RetrievalCore(synthetic_bank)
    env = CoreVecEnv(core, 4)
    algorithm = get_algorithm("ppo")
    settings = full_hyperparameters(algorithm, {"net_arch": [4]}, horizon=1, n_envs=4)
    model = build_model(algorithm, env, settings, *observation_statistics(core), seed=0)
    controller = controller_from_model(model, "ppo", env.inputs, settings)
    before = controller.predict(core.observe(np.arange(3)))
    scatter(model.policy)
    np.testing.assert_array_equal(controller.predict(core.observe(np.arange(3))), before)


def test_export_writes_the_best_seed_or_the_one_asked_for(
    made_run: RunFolder, tmp_path: Path
) -> None:
    best = export(made_run, tmp_path / "best")
    loaded = GranularityController.from_pretrained(tmp_path / "best")
    expected = made_run.controller(made_run.best_seed)
    for controller in (best, loaded):
        for name, value in expected.state_dict().items():
            assert torch.equal(controller.state_dict()[name], value)
    other = export(made_run, tmp_path / "other", seed=made_run.seeds[1])
    assert not torch.equal(other.net[0].weight, best.net[0].weight)
    with pytest.raises(DSAError, match="already exists"):
        export(made_run, tmp_path / "best")
    with pytest.raises(DSAError, match="Unknown seed"):
        export(made_run, tmp_path / "new", seed=99)
    assert not (tmp_path / "new").exists()


def test_an_exported_controller_runs_without_the_agents_package(
    made_run: RunFolder, tmp_path: Path
) -> None:
    controller = export(made_run, tmp_path / "exported")
    program = f"""
import json, sys
for name in ("stable_baselines3", "sb3_contrib", "dsa_agents", "numba", "scipy", "transformers"):
    sys.modules[name] = None  # importing it fails
import torch
from dsa_env.controller import GranularityController
controller = GranularityController.from_pretrained({str(tmp_path / "exported")!r})
torch.manual_seed(0)
print(json.dumps(controller(torch.randn(8, 16), torch.randn(8, 32)).tolist()))
"""
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    torch.manual_seed(0)
    expected = controller(torch.randn(8, 16), torch.randn(8, 32)).tolist()
    assert json.loads(done.stdout) == pytest.approx(expected, abs=1e-6)
