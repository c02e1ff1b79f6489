"""A run's folder opens with what it holds, or says in one line why it cannot."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from dsa_agents.run_folder import RunFolder, TrainConfig, check_free, create_run
from dsa_env.bank import FeatureBank
from dsa_env.errors import DSAError
from dsa_env.testing import synthetic_bank as make_bank
from tests.agents.made_runs import make_run


def edit(path: Path, **changes: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.fixture
def run(tmp_path: Path, synthetic_bank_path: Path) -> RunFolder:
    """A finished run with seeds 5 and 2 that a test may change."""
    return make_run(tmp_path / "run", synthetic_bank_path, seeds=(5, 2))


def test_a_finished_run_gives_everything_back(run: RunFolder, synthetic_bank: FeatureBank) -> None:
    opened = RunFolder.open(run.path)
    assert opened.seeds == (5, 2)
    assert opened.config.direction == "text_to_image"
    assert opened.bank.sha256 == synthetic_bank.sha256
    assert opened.train_seconds == pytest.approx(5.5)
    assert [entry["steps"] for entry in opened.learning_curve(2)] == [0, 500, 1000]
    controller = opened.controller(5)
    assert controller(torch.zeros(1, 16), torch.zeros(1, 32)).shape == (1,)


def test_the_best_seed_has_the_highest_validation_reward_and_is_the_first_of_equals(
    run: RunFolder,
) -> None:
    assert run.best_seed == 5
    edit(run.path / "seed-2" / "summary.json", best_validation_reward=0.6)
    assert run.best_seed == 2


def test_a_seed_that_is_not_there_is_named(run: RunFolder) -> None:
    with pytest.raises(DSAError, match=r"Unknown seed '7'.*Available: 5, 2"):
        run.controller(7)


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DSAError, match=r"is no run: it does not exist; train one with `dsa train"):
        RunFolder.open(tmp_path / "nothing")
    with pytest.raises(DSAError, match=r"is no run: it holds no config\.json"):
        RunFolder.open(tmp_path)


@pytest.mark.parametrize("state", ["unfinished", "never started"])
def test_an_unfinished_run_says_how_to_go_on(run: RunFolder, state: str) -> None:
    summary = run.path / "seed-2" / "summary.json"
    if state == "unfinished":
        edit(summary, finished=False)
    else:
        summary.unlink()
    with pytest.raises(DSAError, match=r"unfinished \(seed 2\); continue it with `dsa train --out"):
        RunFolder.open(run.path)


def test_another_bank_is_refused_and_a_moved_one_is_not(run: RunFolder, tmp_path: Path) -> None:
    make_bank(path=tmp_path / "moved")
    make_bank(seed=1, path=tmp_path / "other")
    edit(run.path / "config.json", bank=str(tmp_path / "gone"))
    with pytest.raises(DSAError, match="gone"):
        RunFolder.open(run.path)
    assert RunFolder.open(run.path, bank=tmp_path / "moved").bank.path == tmp_path / "moved"
    with pytest.raises(DSAError, match="was trained on another bank"):
        RunFolder.open(run.path, bank=tmp_path / "other")
    assert RunFolder.open(run.path, check_bank=False).controller(5).inputs["text"] == 16


def test_damaged_files_are_named(run: RunFolder) -> None:
    edit(run.path / "config.json", kk=3)
    with pytest.raises(DSAError, match=r"Unknown field of a run's configuration 'kk'"):
        RunFolder.open(run.path)
    (run.path / "config.json").write_text("{")
    with pytest.raises(DSAError, match=r"config\.json is not valid JSON"):
        RunFolder.open(run.path)


def test_provenance_says_with_what_a_run_was_made(
    tmp_path: Path, synthetic_bank: FeatureBank, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["dsa", "train", "--seed", "1"])
    create_run(tmp_path / "run", TrainConfig(), synthetic_bank, torch_threads=1)
    provenance = json.loads((tmp_path / "run" / "provenance.json").read_text())
    assert provenance["command_line"] == ["dsa", "train", "--seed", "1"]
    assert provenance["bank_sha256"] == synthetic_bank.sha256
    assert provenance["torch_threads"] == 1
    assert provenance["versions"]["torch"] == torch.__version__
    assert all(provenance["versions"].values())
    assert TrainConfig.from_json(json.loads((tmp_path / "run/config.json").read_text())) == (
        TrainConfig()
    )


def test_only_an_empty_folder_is_free(tmp_path: Path) -> None:
    check_free(tmp_path / "new")
    check_free(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(DSAError, match="empty it, or choose another --out"):
        check_free(tmp_path)
    with pytest.raises(DSAError, match="already exists"):
        check_free(tmp_path / "file")
