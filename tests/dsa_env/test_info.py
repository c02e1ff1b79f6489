"""`dsa info`: an installation and a bank, for people and for programs."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dsa_env.info
from dsa_env import FeatureBank, cli
from dsa_env.datasets.registry import DATASETS
from dsa_env.info import bank_facts, embedded_model, install_facts


@pytest.fixture(scope="module")
def bank(tmp_path_factory: pytest.TempPathFactory) -> FeatureBank:
    rng = np.random.default_rng(0)
    return FeatureBank.from_arrays(
        rng.normal(size=(40, 8)),
        rng.normal(size=(20, 8)),
        regions=rng.normal(size=(20, 3, 8)),
        positives=np.arange(40) // 2,
        splits=["train"] * 12 + ["validation"] * 4 + ["test"] * 4,
        kinds=["scene", "object"] * 20,
        provenance={"encoder": "random numbers"},
        path=tmp_path_factory.mktemp("info") / "bank",
    )


def run_json(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    assert cli.main(["info", *words, "--json"]) == 0
    shown = capsys.readouterr()
    assert shown.err == ""
    document = json.loads(shown.out)
    assert isinstance(document, dict)
    return document


EXTRAS = {
    "bench",
    "encoders",
    "agents",
    "tuning",
    "distributed",
    "faiss",
    "datasets",
    "ray",
    "logic",
    "metrics",
    "dev",
    "all",
}


def test_an_installation_shows_versions_extras_and_names(
    capsys: pytest.CaptureFixture[str],
) -> None:
    facts = run_json(capsys)
    assert facts == install_facts()
    assert facts["version"] == dsa_env.__version__
    assert facts["environments"] == ["DSA/Captioning-v0", "DSA/Retrieval-v0"]
    assert facts["dependencies"]["numpy"] == np.__version__
    assert set(facts["extras"]) == EXTRAS
    assert "clipped" in facts["rewards"]
    assert "ppo" in facts["algorithms"]
    assert facts["samplers"][0] == "gp"
    assert facts["objectives"] == ["pareto", "recall"]


def test_the_cache_folder_is_the_one_in_use(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DSA_CACHE", str(tmp_path))
    assert run_json(capsys)["cache_folder"] == str(tmp_path)


def test_an_installation_is_described_without_torch() -> None:
    program = (
        "import sys\nfrom dsa_env.cli import main\ncode = main(['info'])\n"
        "sys.exit(code or 'torch' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    assert result.returncode == 0


def test_the_embedded_model_counts_its_files() -> None:
    model = embedded_model()
    folder = Path(model["folder"])
    assert model["present"] is bool(list(folder.rglob("*.safetensors")))
    assert all((folder / name).stat().st_size == size for name, size in model["files"].items())


def test_a_list_says_what_each_of_its_names_is(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    entries = [
        EntryPoint("datasets", "dsa_env.datasets.registry:DATASETS", "dsa_env.info"),
        EntryPoint("rewards", "dsa_env.rewards:BUILT_IN", "dsa_env.info"),
    ]
    monkeypatch.setattr(dsa_env.info, "entry_points", lambda group: entries)
    facts = run_json(capsys, "datasets")
    assert list(facts) == list(DATASETS)
    assert "dataset_coco.json" in facts["coco"]
    assert "--karpathy" in facts["coco"]
    assert run_json(capsys, "rewards")["clipped"].endswith(".")
    assert cli.main(["info", "datasets"]) == 0
    assert "visual_genome" in capsys.readouterr().out
    assert cli.main(["info", "datasets", "--verify"]) == 2


def test_a_bank_shows_shapes_splits_and_hash(
    bank: FeatureBank, capsys: pytest.CaptureFixture[str]
) -> None:
    facts = run_json(capsys, str(bank.path))
    assert facts == json.loads(json.dumps(bank_facts(bank)))
    assert facts["sha256"] == bank.sha256
    assert (facts["texts"], facts["images"], facts["features"]) == (40, 20, 8)
    assert facts["splits"] == {
        "pretrain": {"images": 0, "texts": 0, "galleries": 0},
        "train": {"images": 12, "texts": 24, "galleries": 1},
        "validation": {"images": 4, "texts": 8, "galleries": 1},
        "test": {"images": 4, "texts": 8, "galleries": 1},
    }
    assert facts["arrays"]["image_regions"] == {"dtype": "float32", "shape": [20, 3, 8]}
    assert facts["provenance"] == {"encoder": "random numbers"}
    assert facts["verified"] is None


def test_a_sound_bank_verifies(bank: FeatureBank, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_json(capsys, str(bank.path), "--verify")["verified"] is True


def test_a_damaged_bank_is_one_line_naming_the_file(
    bank: FeatureBank, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = FeatureBank.from_arrays(
        bank.text_features,
        bank.image_coarse,
        bank.image_coarse,
        positives=np.arange(40) // 2,
        path=tmp_path / "copy",
    )
    file = tmp_path / "copy" / "text_features.npy"
    content = bytearray(file.read_bytes())
    content[-4] ^= 1  # the last bit of a number: only a hash sees it
    file.write_bytes(content)
    assert cli.main(["info", str(copy.path), "--verify", "--json"]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "text_features.npy" in shown.err
    assert shown.err.count("\n") == 1


@pytest.mark.parametrize("words", [("/no/such/bank",), ("--verify",)])
def test_wrong_input_is_one_line_and_code_two(
    words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["info", *words]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.count("\n") == 1


def test_people_get_a_table(bank: FeatureBank, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["info", str(bank.path)]) == 0
    out = capsys.readouterr().out
    assert "images 12, texts 24, galleries 1" in out
    assert "scene, object" in out
    assert cli.main(["info"]) == 0
    assert "DSA/Retrieval-v0" in capsys.readouterr().out
