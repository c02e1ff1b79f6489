"""The demonstration trains both directions, continues what it began and respects other folders."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dsa_agents.demo import demo
from dsa_agents.run_folder import RunFolder
from dsa_env import cli
from dsa_env.errors import DSAError
from dsa_env.files import read_json


@pytest.mark.slow
def test_both_directions_end_on_one_page(
    synthetic_bank_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Twice: the second time everything is trained already and only evaluated again."""
    out = tmp_path / "demo"
    words = ["demo", "--out", str(out), "--bank", str(synthetic_bank_path)]
    words += ["--seeds", "1", "--timesteps", "3000", "--json"]
    assert cli.main(words) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["report"] == str(out / "report.html")
    assert list(document["results"]) == ["text_to_image", "image_to_text"]
    for direction, results in document["results"].items():
        assert results["direction"] == direction
        assert results["queries"] > 0
        assert (out / direction / "report.html").is_file()
        assert read_json(out / direction / "results.json") == results
        trained = RunFolder.open(out / direction).provenance["created"]
        assert trained
    page = (out / "report.html").read_text()
    assert page.count("<section>") == 2
    before = [(out / d / "seed-0/best/model.safetensors").stat() for d in document["results"]]
    again = demo(out, bank=str(synthetic_bank_path), seeds=1, timesteps=3000, resamples=10)
    after = [(out / d / "seed-0/best/model.safetensors").stat() for d in document["results"]]
    assert [stat.st_mtime_ns for stat in before] == [stat.st_mtime_ns for stat in after]
    assert again.sections[0].results["resamples"] == 10
    with pytest.raises(DSAError, match="--overwrite"):
        demo(out, bank=str(synthetic_bank_path), seeds=2, timesteps=3000)


def test_a_folder_of_something_else_is_left_alone(
    synthetic_bank_path: Path, tmp_path: Path
) -> None:
    (tmp_path / "thesis.tex").write_text("precious")
    for overwrite in (False, True):
        with pytest.raises(DSAError, match="thesis"):
            demo(tmp_path, bank=str(synthetic_bank_path), overwrite=overwrite)
    assert (tmp_path / "thesis.tex").read_text() == "precious"


def test_overwriting_needs_a_usable_bank_first(tmp_path: Path) -> None:
    """What an earlier demonstration left stays when the new one cannot even begin."""
    (tmp_path / "report.html").write_text("earlier")
    with pytest.raises(DSAError):
        demo(tmp_path, bank=str(tmp_path / "none"), overwrite=True)
    assert (tmp_path / "report.html").read_text() == "earlier"


def test_no_seeds_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DSAError, match="at least one seed"):
        demo(tmp_path, seeds=0)


@pytest.mark.parametrize(
    ("words", "told"),
    [(["--bank", "nowhere"], "nowhere"), (["--seeds", "0"], "--seeds"), (["--outt"], "--out")],
)
def test_wrong_input_is_one_line(
    words: list[str],
    told: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(["demo", *words]) == 2
    error = capsys.readouterr().err
    assert told in error
    assert "Traceback" not in error
