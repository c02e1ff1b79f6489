"""`dsa build` as typed: a small bank end to end, and what is refused before any work."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dsa_env import cli
from dsa_env.bank import FeatureBank

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
