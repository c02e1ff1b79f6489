"""`dsa benchmark` on small models and a small drawn world: rows, costs, and going on."""

from __future__ import annotations

import json
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
import torch

from dsa_agents.benchmark.metrics import DSA, FIXED, FULL, NATIVE, ORACLE
from dsa_agents.benchmark.plan import Plan
from dsa_agents.benchmark.run import run_benchmark
from dsa_agents.full_information import Fit
from dsa_env import cli
from dsa_env.bank import FeatureBank
from dsa_env.controller import GranularityController
from dsa_env.errors import DSAError
from tests.agents.benchmark.small_captioners import draw_bank, save_captioner

ENTRY = EntryPoint("benchmark", "dsa_agents.commands_paper:benchmark", cli.GROUP)
PROMPTS = ("a small red cube", "two large blue spheres beside a cube")
PLAN = Plan(prompts=PROMPTS, grid=3, rounds=0, resamples=50)
WIDTHS = {"llava": (48, 96), "blip2": (48, 96), "idefics": (48, 64)}


@pytest.fixture(scope="module")
def bank(tmp_path_factory: pytest.TempPathFactory) -> FeatureBank:
    return draw_bank(tmp_path_factory.mktemp("drawn"))


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    names = {"llava-1.5": "llava", "blip-2": "blip2", "flamingo": "idefics"}
    return {
        name: str(save_captioner(tmp_path_factory.mktemp(family), family))
        for name, family in names.items()
    }


def save_controller(
    folder: Path, model: str, family: str, bank: FeatureBank, more: dict[str, Any] | None = None
) -> str:
    """A controller of random weights that says it was trained with a model on a bank."""
    torch.manual_seed(0)
    text, image = WIDTHS[family]
    metadata = {
        "direction": "captioning", "model": model, "prompts": list(PROMPTS), "grid": 3,
        "bank_sha256": bank.sha256, "k": 5, "reward": "clipped", "reward_kwargs": {},
    } | (more or {})  # fmt: skip
    made = GranularityController({"text": text, "image": image}, hidden=(8,), metadata=metadata)
    made.save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def results(
    bank: FeatureBank, models: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("results")
    families = {"llava-1.5": "llava", "flamingo": "idefics"}
    controllers = {
        name: save_controller(folder / name, models[name], family, bank)
        for name, family in families.items()
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("os.cpu_count", lambda: 1)  # processes of their own take seconds to start
        return run_benchmark(
            str(bank.path),
            folder / "out",
            PLAN,
            models=models,
            controllers=controllers,
            fit=Fit(members=1, max_steps=10, min_steps=10, hidden=(8,)),
            progress=False,
        )


def test_a_model_with_a_controller_has_all_rows_and_one_without_is_native(
    results: dict[str, Any],
) -> None:
    everything = {NATIVE, FIXED, DSA, FULL, ORACLE}
    assert {name: set(one["rows"]) for name, one in results["models"].items()} == {
        "llava-1.5": everything,
        "blip-2": {NATIVE},
        "flamingo": everything,
    }
    assert "no controller was given" in results["models"]["blip-2"]["notes"][0]


def test_every_metric_is_there_and_in_its_range(results: dict[str, Any]) -> None:
    for one in results["models"].values():
        assert one["queries"] == 24
        assert one["pictures"] == 12
        for row in one["rows"].values():
            metrics = {name: value["mean"] for name, value in row["metrics"].items()}
            assert {"recall@10", "bleu-4", "cider", "severity"} <= set(metrics)
            for name in ("recall@10", "bleu-4", "severity"):
                assert 0 <= metrics[name] <= 1


def test_the_oracle_earns_at_least_what_any_fixed_g_earns(results: dict[str, Any]) -> None:
    for name in ("llava-1.5", "flamingo"):
        rows = results["models"][name]["rows"]
        reward = {row: found["metrics"]["reward"]["mean"] for row, found in rows.items()}
        assert reward[ORACLE] >= reward[FIXED] - 1e-6
        assert reward[ORACLE] >= reward[FULL] - 1e-6


def test_costs_are_measured_in_batches_and_alone(
    bank: FeatureBank, models: dict[str, str], tmp_path: Path
) -> None:
    path = save_controller(tmp_path / "controller", models["flamingo"], "idefics", bank)
    plan = Plan(
        pictures=3, max_new_tokens=3, rounds=1, resamples=0, prompts=PROMPTS, fixed_pictures=1
    )
    found = run_benchmark(
        str(bank.path),
        tmp_path / "out",
        plan,
        models={"m": models["flamingo"]},
        controllers={"m": path},
        progress=False,
    )["models"]["m"]
    assert set(found["rows"]) == {NATIVE, FIXED, DSA}  # no ceilings for shorter captions
    assert [one["batch"] for one in found["cost"]["batches"]] == [1, 3]
    assert min(found["cost"]["images_per_second"].values()) > 0
    assert found["fixed"]["pictures"] == 1


def test_a_second_call_reads_what_the_first_one_wrote(
    bank: FeatureBank, models: dict[str, str], tmp_path: Path
) -> None:
    plan = Plan(pictures=3, max_new_tokens=6, rounds=0, resamples=0, prompts=PROMPTS)
    chosen = {"m": models["blip-2"]}
    first = run_benchmark(str(bank.path), tmp_path, plan, models=chosen, progress=False)
    part = next((tmp_path / "captions" / "m" / "native").glob("*.json"))
    written = json.loads(part.read_text())
    written["captions"] = ["a small red cube"] * 6
    part.write_text(json.dumps(written))
    second = run_benchmark(str(bank.path), tmp_path, plan, models=chosen, progress=False)
    assert second["models"]["m"]["rows"][NATIVE]["metrics"]["words"]["mean"] == 4
    assert first["models"]["m"]["pictures"] == 3
    part.write_text("{broken")
    third = run_benchmark(str(bank.path), tmp_path, plan, models=chosen, progress=False)
    assert third["models"] == first["models"]


def test_seeds_of_one_controller_and_a_controller_of_another_model_or_direction(
    bank: FeatureBank, models: dict[str, str], tmp_path: Path
) -> None:
    plan = Plan(pictures=2, max_new_tokens=4, rounds=0, resamples=0, prompts=PROMPTS)
    wrong = {
        "trained for text to image": {"direction": "text_to_image"},
        "trained with another model": {"model": models["blip-2"]},
    }
    for words, metadata in wrong.items():
        path = save_controller(tmp_path / words, models["llava-1.5"], "llava", bank, metadata)
        found = run_benchmark(
            str(bank.path),
            tmp_path / "out",
            plan,
            models={"m": models["llava-1.5"]},
            controllers={"": path},
            progress=False,
        )["models"]["m"]
        assert set(found["rows"]) == {NATIVE}
        assert words in found["notes"][0]
    with pytest.raises(DSAError, match="leave --seeds out"):
        run_benchmark(
            str(bank.path), tmp_path / "out", plan, controllers={"": path}, seeds=(0,),
            models={"m": models["llava-1.5"]},
        )  # fmt: skip


def test_the_command_prints_one_json_document(
    bank: FeatureBank, models: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [
        "benchmark", "--dataset", str(bank.path), "--pictures", "2",
        "--rounds", "0", "--bootstrap", "20", "--prompt", "a small red cube", "--out",
        str(tmp_path), "--json", "--models", f"a={models['llava-1.5']}", f"b={models['blip-2']}",
    ]  # fmt: skip
    assert cli.main(words, [ENTRY]) == 0
    found = json.loads(capsys.readouterr().out)
    assert list(found["models"]) == ["a", "b"]
    assert found["models"]["a"]["rows"][NATIVE]["metrics"]["recall@10"]["low"] is not None
    assert found["models"]["a"]["cost"] is None
    assert (tmp_path / "report.html").is_file()
    assert (tmp_path / "report.md").is_file()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--models", "here"], "NAME=PATH"),
        (["--models", "a=nowhere/at/all"], "nowhere"),
        (["--dataset", "cocoo"], "coco"),
        (["--dataset", "embedded", "--root", "x"], "leave them out"),
        (["--controller", "b=x"], "llava (embedded)"),
        (["--pictures", "0"], "pictures must be at least 1"),
        (["--split", "tset"], "test"),
        (["--dtype", "int3"], "dtype"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(
    words: list[str],
    message: str,
    bank: FeatureBank,
    models: dict[str, str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    given = ["benchmark", "--out", str(tmp_path / "out"), *words]
    if "--dataset" not in words:
        given += ["--dataset", str(bank.path)]
    if "--models" not in words and "--controller" not in words:
        given += ["--models", f"m={models['blip-2']}"]
    assert cli.main(given, [ENTRY]) == 2
    said = capsys.readouterr()
    assert message in said.err
    assert said.err.strip().splitlines()[-1].count("Error") == 0
    assert said.out == ""
