"""`dsa build` as typed: a small bank end to end, and what is refused before any work."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from dsa_env import cli
from dsa_env.bank import FeatureBank
from dsa_env.commands import read_labels

SMALL = ["--train", "40", "--held-out", "12", "--workers", "1"]


@pytest.mark.slow
def test_build_with_the_shipped_models(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "bank"
    assert cli.main(["build", "--out", str(out), *SMALL, "--json"]) == 0
    summary = json.loads(capsys.readouterr().out)
    bank = FeatureBank.open(out)
    assert summary["images"] == bank.n_images == 64
    assert summary["sha256"] == bank.sha256
    assert set(bank.kinds) == {"scene", "object", "relation", "mixed"}
    assert bank.gallery_size == 12
    assert (out / "hallucination" / "report.json").exists()
    assert bank.region_counts is not None
    assert bank.region_counts.mean() > 2, "the shipped detector finds objects"
    assert cli.main(["build", "--out", str(out), *SMALL]) == 2
    assert "exists" in capsys.readouterr().err


def test_without_ray_the_error_names_the_extra(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray.data", None)
    assert cli.main(["build", "--out", str(tmp_path / "bank"), *SMALL, "--engine", "ray"]) == 2
    assert "pip install 'dsa-env[ray]'" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("given", "labels"),
    [("a dog, a car ,", ("a dog", "a car")), (None, None), ("lines.txt", ("a cat", "a bird"))],
)
def test_labels_are_words_or_a_file_of_lines(
    given: str | None, labels: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lines.txt").write_text("a cat\n\na bird\n")
    assert read_labels(given) == labels


@pytest.mark.parametrize(
    ("words", "cause"),
    [
        (["--dataset", "sceens"], "Did you mean 'scenes'"),
        (["--dataset", "clevr"], "--root"),
        (["--model", "no-such-folder/model"], "cannot be loaded"),
        (["--detector", "no-such-folder/model"], "cannot be loaded"),
        (["--threshold", "2"], "threshold"),
        (["--regions", "0"], "regions"),
        (["--fine", "men"], "Did you mean 'mean'"),
        (["--coarse", "layer"], 'Available: "pooled", "layer:K"'),
        (["--coarse", "layer:99"], "no layer 99"),
        (["--regions-by", "crop"], "Did you mean 'crops'"),
        (["--engine", "rya"], "Did you mean 'ray'"),
        (["--dtype", "bf17"], "Did you mean 'bf16'"),
        (["--device", "cuda:99"], "--device cpu"),
        (["--batch", "0"], "--batch must be at least 1"),
        (["--on-bad", "skp"], "Did you mean 'skip'"),
        (["--limit", "0"], "--limit must be at least 1"),
        (["--labels", " , "], "holds no words"),
        (["--text", "clip"], "one kind of text features"),
        (["--dataset", "coco"], "--dataset coco needs --root"),
        (["--dataset", "table", "--root", "nowhere.csv"], "nowhere.csv does not exist"),
        (["--fine-from", "prototypes.npy"], "--fine-from belongs to --from-arrays"),
    ],
)
def test_wrong_input_is_one_line_before_any_work(
    words: list[str], cause: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["build", "--out", str(tmp_path / "bank"), *SMALL, *words]) == 2
    captured = capsys.readouterr()
    assert cause in captured.err
    assert "Traceback" not in captured.err
    assert not list(tmp_path.iterdir())
