"""Captioning goes through training, evaluation and export like any direction."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from dsa_agents.baselines import null_core
from dsa_agents.evaluate import evaluate
from dsa_agents.export import export
from dsa_agents.measures import query_groups
from dsa_agents.report import RESULTS, write_evaluation
from dsa_agents.run_folder import RunFolder, TrainConfig
from dsa_agents.tables import print_results
from dsa_agents.train import complete, train
from dsa_env.captioning.captioner import Captioner
from dsa_env.controller import GranularityController
from dsa_env.errors import DSAError
from dsa_env.files import read_json, write_json
from tests.agents.benchmark.small_captioners import draw_bank, save_captioner
from tests.agents.made_runs import QUICK

PROMPTS = ("a red cube", "what is the large metal cube on ?")


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> TrainConfig:
    bank = draw_bank(tmp_path_factory.mktemp("drawn"))
    model = save_captioner(tmp_path_factory.mktemp("llava"), "llava")
    return TrainConfig(
        bank=str(bank.path),
        direction="captioning",
        model=str(model),
        prompts=PROMPTS,
        grid=3,
        timesteps=256,
        n_envs=32,
        hyperparameters={"n_steps": 4, "batch_size": 64},
    )


@pytest.fixture(scope="module")
def run(config: TrainConfig, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return train(config, tmp_path_factory.mktemp("runs") / "ppo", progress=False)


def test_a_run_says_what_was_captioned_and_opens_again(
    run: RunFolder, config: TrainConfig, tmp_path: Path
) -> None:
    assert run.config.options == {"model": config.model, "prompts": PROMPTS, "grid": 3}
    stored = read_json(run.path / "config.json")
    assert stored["prompts"] == list(PROMPTS)
    assert RunFolder.open(run.path).config == run.config
    write_json(tmp_path / "config.json", stored)
    assert TrainConfig.from_json(read_json(tmp_path / "config.json")) == run.config


def test_the_exported_controller_works_inside_the_model(run: RunFolder, tmp_path: Path) -> None:
    export(run, tmp_path / "controller")
    controller = GranularityController.from_pretrained(tmp_path / "controller")
    assert controller.metadata["direction"] == "captioning"
    assert controller.metadata["prompts"] == list(PROMPTS)
    core = run.config.core(run.bank, "test")
    captioner = Captioner.load(run.config.model)
    query = np.arange(4)
    g = controller.predict(core.observe(query))
    files = [run.bank.image_path(int(i)) for i in core.retrieval.query_ids[query]]
    pictures = [Image.open(file).convert("RGB") for file in files if file is not None]
    asked = [PROMPTS[i % 2] for i in query]
    inside = captioner.captions(pictures, asked, controller, max_new_tokens=6)
    assert inside == captioner.captions(pictures, asked, g, max_new_tokens=6)


def test_an_evaluation_says_that_there_is_no_null_oracle(run: RunFolder, tmp_path: Path) -> None:
    evaluation = evaluate(run, resamples=20, fit=QUICK, progress=False)
    results = evaluation.results
    assert "null_oracle" not in results["policies"]
    assert not any("null" in pair for pair in results["differences"])
    assert "no null oracle" in results["verdict"][2]
    assert results["direction"] == "captioning"
    assert results["options"]["grid"] == 3
    assert list(results["by_kind"]) == list(PROMPTS)
    oracle, fixed = (results["policies"][name]["reward"]["mean"] for name in ("oracle", "fixed"))
    assert oracle >= fixed
    section = write_evaluation(evaluation, run, tmp_path)
    assert read_json(tmp_path / RESULTS)["options"]["model"] == run.config.model
    assert "captioning" in (tmp_path / "report.html").read_text().lower()
    told = io.StringIO()
    print_results(section.results, Console(file=told))
    assert PROMPTS[0] in told.getvalue()


def test_a_run_of_a_model_that_has_changed_is_not_opened(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dsa_env.captioning.families.model_identity", lambda name: "another")
    with pytest.raises(DSAError, match="captions of another model"):
        RunFolder.open(run.path)


def test_prompts_are_the_kinds_of_queries(run: RunFolder) -> None:
    core = run.config.core(run.bank, "validation")
    names, code = query_groups(core)
    assert names == PROMPTS
    assert code.tolist() == [0, 1] * (core.n_queries // 2)
    assert null_core(core) is None


def test_options_of_other_directions_are_refused(config: TrainConfig, tmp_path: Path) -> None:
    with pytest.raises(DSAError, match="model is for captioning"):
        train(replace(config, direction="text_to_image"), tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


def test_a_models_folder_is_written_out_whole(
    config: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(Path(config.model).parent)
    assert complete(replace(config, model=Path(config.model).name)).model == config.model
    assert complete(replace(config, model="embedded")).model == "embedded"
