"""`dsa tune`, and what `dsa train` makes of its best weights."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dsa_agents.run_folder import RunFolder
from dsa_env import cli
from dsa_tuning.study import Tuned

SMALL = ["--k", "1", "--timesteps", "128", "--n-envs", "16", "--set", "n_steps=4"]
SMALL += ["--set", "net_arch=8", "--workers", "1"]


@pytest.fixture
def quick_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    """The full-information policies of a command take a moment too."""
    from dsa_agents import full_information
    from tests.agents.made_runs import QUICK

    monkeypatch.setattr(full_information, "Fit", lambda: QUICK)


def test_it_tunes_resumes_and_prints_json(
    synthetic_bank_path: Path,
    tmp_path: Path,
    quick_fit: None,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "study"
    space = tmp_path / "space.toml"
    space.write_text("[weights]\nshare = [0.1, 0.9]\n")
    words = ["tune", "--bank", str(synthetic_bank_path), *SMALL, "--space", str(space)]
    assert cli.main([*words, "--trials", "2", "--out", str(out), "--no-final"]) == 0
    printed = capsys.readouterr()
    assert "2 of 2 trials are done" in printed.out.replace("\n", " ")
    assert "It was not tested" in printed.out
    assert printed.err.count("The weights") == 1
    assert cli.main([*words, "--trials", "2", "--out", str(out)]) == 2
    assert "add --resume" in capsys.readouterr().err
    assert cli.main(["tune", "--out", str(out), "--resume", "--trials", "3", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["finished"]
    assert document["counts"]["complete"] == 3
    assert document["test"]["timesteps"] == 128


def test_a_bound_alone_means_recall_under_it(
    synthetic_bank_path: Path,
    tmp_path: Path,
    quick_fit: None,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ["tune", "--bank", str(synthetic_bank_path), *SMALL, "--trials", "1", "--json"]
    words += ["--max-hallucination", "0.4", "--no-final", "--out", str(tmp_path / "study")]
    assert cli.main(words) == 0
    objective = json.loads(capsys.readouterr().out)["objective"]
    assert objective["name"] == "recall"
    assert objective["max_hallucination"] == 0.4


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["--objective", "paretto"], "Did you mean 'pareto'"),
        (["--seeds", "2"], "at least 3 seeds"),
        (["--seeds", "0"], "--seeds is how many"),
        (["--sampler", "bayes"], "Unknown sampler"),
        (["--space", "missing.toml"], "cannot be read"),
        (["--resume"], "holds no study"),
        (["--max-hallucination", "2"], "share in [0, 1)"),
        (["--storage", "postgresql+psycopg://u:word@127.0.0.1:1/x"], "cannot be reached"),
    ],
)
def test_wrong_options_are_one_line_and_leave_nothing_behind(
    words: list[str],
    error: str,
    synthetic_bank_path: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "study"
    given = ["tune", "--bank", str(synthetic_bank_path), "--out", str(out), *SMALL, *words]
    assert cli.main(given) == 2
    message = capsys.readouterr().err
    assert error in message
    assert message.count("\n") == 1
    assert "word" not in message
    assert not out.exists()


def test_train_takes_the_best_weights_and_what_was_tuned_with_them(
    tuned: Tuned, tmp_path: Path
) -> None:
    best = tuned.folder / "best.json"
    words = ["train", "--weights", str(best), "--timesteps", "128", "--n-envs", "16"]
    assert cli.main([*words, "--out", str(tmp_path / "run")]) == 0
    config = RunFolder.open(tmp_path / "run").config
    document = json.loads(best.read_text())
    assert config.direction == "image_to_text"
    assert config.reward_kwargs["alpha"] == pytest.approx(document["alpha"])
    assert config.hyperparameters["learning_rate"] == pytest.approx(
        document["train"]["hyperparameters"]["learning_rate"]
    )
    other = [*words, "--direction", "text_to_image", "--set", "learning_rate=0.01", "--beta", "0.5"]
    assert cli.main([*other, "--out", str(tmp_path / "other")]) == 0
    config = RunFolder.open(tmp_path / "other").config
    assert config.direction == "text_to_image"
    assert config.hyperparameters["learning_rate"] == 0.01
    assert config.reward_kwargs["beta"] == 0.5
