"""The one look at the test split."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from dsa_agents.run_folder import RunFolder, TrainConfig
from dsa_agents.statistics import interquartile_mean
from dsa_env.core import RetrievalCore
from dsa_tuning.final import candidates, measure_candidates
from dsa_tuning.metrics import weight_free_metrics
from dsa_tuning.study import Tuned, read_config
from tests.tuning.conftest import tiny


def test_references_differ_in_the_weights_alone(synthetic_bank_path: Path) -> None:
    config = tiny(synthetic_bank_path, final_timesteps=256).complete()
    chosen = replace(
        config.base, reward_kwargs={"alpha": 0.3, "beta": 0.7, "low": -0.5}, seeds=(0, 1, 2)
    )
    found = candidates(config, chosen)
    weights = {
        name: (one.reward_kwargs["alpha"], one.reward_kwargs["beta"]) for name, one in found.items()
    }
    assert weights == {"tuned": (0.3, 0.7), "recall_only": (1, 0), "equal_weights": (0.5, 0.5)}
    for one in found.values():
        assert replace(one, reward_kwargs={}) == replace(found["tuned"], reward_kwargs={})
        assert one.reward_kwargs["low"] == -0.5
        assert not set(one.seeds) & set(config.base.seeds)
        assert one.timesteps == 256


def test_without_weights_the_given_settings_are_the_reference(synthetic_bank_path: Path) -> None:
    tables = {"weights": {"share": 0.5}, "hyperparameters": {"learning_rate": [1e-4, 1e-2]}}
    config = tiny(synthetic_bank_path, tables=tables).complete()
    chosen = replace(config.base, hyperparameters={"learning_rate": 5e-3})
    assert set(candidates(config, chosen)) == {"tuned", "as_given"}


def test_the_numbers_are_those_of_the_runs_on_the_test_split(tuned: Tuned) -> None:
    config = read_config(tuned.folder)
    for name, found in tuned.results["test"]["policies"].items():
        run = RunFolder.open(tuned.folder / "final" / name)
        core = RetrievalCore(run.bank, config.base.direction, "test", config.base.k)
        from dsa_agents.policies import ControllerPolicy

        each = [
            weight_free_metrics(core, ControllerPolicy(run.controller(seed)))["recall@1"]
            for seed in run.seeds
        ]
        assert found["recall@1"]["mean"] == pytest.approx(float(interquartile_mean(each)))  # type: ignore[arg-type]


def test_it_is_the_same_by_one_process_and_by_several(
    synthetic_bank_path: Path, tmp_path: Path
) -> None:
    config = tiny(synthetic_bank_path, final_timesteps=128).complete()
    chosen = replace(config.base, reward_kwargs={"alpha": 0.3, "beta": 0.7})
    configs = candidates(config, chosen)

    def tested(folder: Path, workers: int, configs: dict[str, TrainConfig]) -> object:
        return measure_candidates(configs, folder, workers=workers, resamples=50, progress=False)

    first = tested(tmp_path / "one", 1, configs)
    assert tested(tmp_path / "two", 2, configs) == first
    # another choice throws the old run away, the same one is not trained again
    trained = (tmp_path / "one" / "final" / "recall_only" / "provenance.json").stat().st_mtime_ns
    other = {**configs, "tuned": configs["equal_weights"]}
    again = tested(tmp_path / "one", 1, other)
    assert again != first
    kept = (tmp_path / "one" / "final" / "recall_only" / "provenance.json").stat().st_mtime_ns
    assert kept == trained
