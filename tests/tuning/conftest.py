"""Studies small enough for tests, and one that is finished, shared by those that look at it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dsa_agents.run_folder import TrainConfig
from dsa_tuning.config import TuneConfig
from dsa_tuning.study import Tuned, tune
from tests.agents.made_runs import QUICK


def tiny(bank: str | Path, *, base: dict[str, Any] | None = None, **changes: Any) -> TuneConfig:
    """A study whose trials take about a second."""
    trained: dict[str, Any] = {
        "bank": str(bank),
        "direction": "image_to_text",
        "k": 1,
        "hyperparameters": {"net_arch": [8], "n_steps": 4},
        "timesteps": 128,
        "n_envs": 16,
        "seeds": (0, 1, 2),
    }
    settings: dict[str, Any] = {"trials": 4, "sampler": "random"}
    return TuneConfig(base=TrainConfig(**(trained | (base or {}))), **(settings | changes))


@pytest.fixture(scope="session")
def tuned(synthetic_bank_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Tuned:
    """A finished study with a share and a hyperparameter, tested at the end; do not change it."""
    tables = {
        "weights": {"share": [0.0, 1.0]},
        "hyperparameters": {"learning_rate": {"low": 1e-3, "high": 3e-2, "log": True}},
    }
    base = {"timesteps": 1024}  # enough for the trials to differ
    config = tiny(synthetic_bank_path, base=base, tables=tables, trials=6, sampler="gp")
    out = tmp_path_factory.mktemp("studies") / "tuned"
    return tune(config, out, workers=1, resamples=100, fit=QUICK, progress=False)
