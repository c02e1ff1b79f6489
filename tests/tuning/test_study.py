"""A study from end to end: it chooses, tests, resumes after a kill, and refuses to mix."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from dsa_agents.run_folder import RunFolder
from dsa_env.errors import DSAError
from dsa_env.files import read_json
from dsa_env.testing import synthetic_bank as make_bank
from dsa_tuning.config import TuneConfig
from dsa_tuning.storage import open_storage, places
from dsa_tuning.study import Tuned, read_config, tune
from tests.agents.made_runs import QUICK
from tests.tuning.conftest import tiny

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = """
import sys
from pathlib import Path
from dsa_tuning.config import TuneConfig
from dsa_tuning.study import tune
from dsa_env.files import read_json
from tests.agents.made_runs import QUICK
if __name__ == "__main__":
    out, storage, workers, resume = sys.argv[1:]
    config = TuneConfig.from_json(read_json(out + ".config.json"))
    tune(config, out, storage=storage or None, workers=int(workers), fit=QUICK, final=False,
         resume=resume == "resume")
"""


def start(
    config: TuneConfig, out: Path, *, storage: str = "", workers: int = 1, resume: bool = False
) -> subprocess.Popen[str]:
    """The study in a process group of its own, as a terminal would start it."""
    Path(f"{out}.config.json").write_text(json.dumps(config.to_json()))
    path = os.pathsep.join(str(ROOT / part) for part in ("", "agents", "tuning"))
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(out), storage, str(workers), "resume" * resume],
        env=os.environ | {"PYTHONPATH": path},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def trials_of(out: Path, storage: str | None = None) -> list[optuna.trial.FrozenTrial]:
    if storage is None and not (out / "journal.log").exists():
        return []
    try:
        opened = open_storage(storage, out)
        return optuna.load_study(study_name="dsa-tune", storage=opened).trials
    except KeyError:  # not begun yet
        return []


def wait_for(out: Path, finished: int, process: subprocess.Popen[str]) -> None:
    """Until so many trials are complete and another one runs."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        states = [trial.state for trial in trials_of(out)]
        if states.count(TrialState.COMPLETE) >= finished and TrialState.RUNNING in states:
            return
        time.sleep(0.05)
    raise AssertionError(process.stderr.read() if process.stderr else "no trial ran")


def test_it_chooses_from_the_front_and_tests_it_once(tuned: Tuned) -> None:
    results = tuned.results
    assert tuned.finished
    assert results["counts"]["complete"] == 6
    assert results["chosen"] in results["front"]
    assert set(results["test"]["policies"]) == {"tuned", "recall_only", "equal_weights"}
    recall = results["test"]["differences"]["equal_weights"]["recall@1"]
    assert recall["low"] <= recall["mean"] <= recall["high"]
    for name in ("tuned", "recall_only", "equal_weights"):
        run = RunFolder.open(tuned.folder / "final" / name)
        assert run.seeds == (3, 4, 5)  # that no trial has used


def test_best_weights_are_those_of_the_chosen_trial(tuned: Tuned) -> None:
    best = read_json(tuned.folder / "best.json")
    chosen = tuned.results["trials"][tuned.results["chosen"]]
    share = chosen["parameters"]["share"]
    assert best["alpha"] == pytest.approx(1 - share)
    assert best["beta"] == pytest.approx(share)
    assert best["train"]["hyperparameters"]["learning_rate"] == pytest.approx(
        chosen["parameters"]["learning_rate"]
    )


def test_the_same_command_gives_the_same_study(tuned: Tuned, tmp_path: Path) -> None:
    config = read_config(tuned.folder)
    again = tune(config, tmp_path / "b", workers=1, final=False, fit=QUICK, progress=False)
    values = [trial["values"] for trial in again.results["trials"]]
    assert values == [trial["values"] for trial in tuned.results["trials"]]


def test_more_trials_can_be_added_later(synthetic_bank_path: Path, tmp_path: Path) -> None:
    out = tmp_path / "study"
    config = tiny(synthetic_bank_path, trials=2)
    said: list[str] = []
    tune(config, out, workers=1, final=False, fit=QUICK, progress=False, say=said.append)
    more = replace(config, trials=3)
    found = tune(more, out, resume=True, workers=1, final=False, fit=QUICK, progress=False)
    assert found.results["counts"]["complete"] == 3
    assert len(said) == 1
    assert "The weights" in said[0]


@pytest.mark.slow
def test_a_killed_study_loses_at_most_its_running_trials(
    synthetic_bank_path: Path, tmp_path: Path
) -> None:
    out = tmp_path / "study"
    config = tiny(synthetic_bank_path, trials=5)
    process = start(config, out)
    wait_for(out, 2, process)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    before = {t.number: t.values for t in trials_of(out) if t.state == TrialState.COMPLETE}
    assert len(before) >= 2
    found = tune(None, out, resume=True, workers=1, final=False, fit=QUICK, progress=False)
    assert found.results["counts"] == {
        "wanted": 5,
        "complete": 5,
        "pruned": 0,
        "failed": 0,
        "running": 0,
        "waiting": 0,
    }
    after = {trial.number: trial.values for trial in trials_of(out)}
    assert {number: after[number] for number in before} == before
    shares = [trial["parameters"]["share"] for trial in found.results["trials"]]
    assert len(set(shares)) == 5


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_interrupting_leaves_a_valid_report_and_nothing_running(
    workers: int, synthetic_bank_path: Path, tmp_path: Path
) -> None:
    out = tmp_path / "study"
    process = start(tiny(synthetic_bank_path, trials=40), out, workers=workers)
    wait_for(out, 1, process)
    os.kill(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert "Continue with: dsa tune" in errors
    results = read_json(out / "results.json")
    assert 1 <= results["counts"]["complete"] < 40
    assert results["counts"]["running"] == 0
    assert results["counts"]["failed"] == 0
    # What was interrupted waits to be tried again; that may be nothing, between two trials.
    assert {trial.state for trial in places(trials_of(out))} <= {
        TrialState.COMPLETE,
        TrialState.WAITING,
    }
    assert "Tuned reward weights" in (out / "report.html").read_text()
    assert read_json(out / "best.json")["trial"] == results["chosen"]


@pytest.mark.slow
def test_a_killed_worker_is_replaced_and_no_trial_is_lost(
    synthetic_bank_path: Path, tmp_path: Path
) -> None:
    out = tmp_path / "study"
    process = start(tiny(synthetic_bank_path, trials=5), out, workers=2)
    wait_for(out, 1, process)
    running = [t for t in trials_of(out) if t.state == TrialState.RUNNING and t.user_attrs]
    os.kill(running[0].user_attrs["worker"]["pid"], signal.SIGKILL)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    counted = places(trials_of(out))
    assert [trial.state for trial in counted] == [TrialState.COMPLETE] * 5
    assert len({trial.params["share"] for trial in counted}) == 5


def test_a_study_of_another_bank_is_refused_before_any_training(
    synthetic_bank_path: Path, tmp_path: Path
) -> None:
    storage = str(tmp_path / "shared.log")
    config = tiny(synthetic_bank_path, trials=1)
    tune(config, tmp_path / "a", storage=storage, workers=1, final=False, fit=QUICK, progress=False)
    make_bank(80, seed=7, path=tmp_path / "bank")
    other = tiny(tmp_path / "bank", trials=2)
    with pytest.raises(DSAError, match=r"made with another bank \(data hash"):
        tune(other, tmp_path / "b", storage=storage, workers=1, fit=QUICK, progress=False)
    assert not (tmp_path / "b" / "trials").exists()
    with pytest.raises(DSAError, match="begun with another objective"):
        tune(
            replace(config, objective="recall"),
            tmp_path / "c",
            storage=storage,
            workers=1,
            fit=QUICK,
            progress=False,
        )


def test_a_second_command_joins_a_shared_study_instead_of_starting_over(
    synthetic_bank_path: Path, tmp_path: Path
) -> None:
    storage = str(tmp_path / "shared.log")
    config = tiny(synthetic_bank_path, trials=2)
    for name in ("a", "b"):
        found = tune(
            config,
            tmp_path / name,
            storage=storage,
            workers=1,
            final=False,
            fit=QUICK,
            progress=False,
        )
    assert found.results["counts"]["complete"] == 2
    assert len(trials_of(tmp_path / "a", storage)) == 2


def test_where_no_trial_can_run_the_report_says_so(
    tmp_path: Path, synthetic_bank_path: Path
) -> None:
    reward = f"{__name__}:broken"
    config = tiny(synthetic_bank_path, trials=2, base={"reward": reward})
    found = tune(config, tmp_path / "s", workers=1, fit=QUICK, progress=False)
    assert found.results["counts"]["failed"] == 2
    assert found.results["chosen"] is None
    assert not (tmp_path / "s" / "best.json").exists()
    assert "No trial is complete yet" in found.report.read_text()


def broken(outcome: object, alpha: float = 1.0, beta: float = 1.0) -> object:
    """A reward that works on arrival and never again."""
    from dsa_env.outcome import Outcome

    assert isinstance(outcome, Outcome)
    if len(outcome) == 16:  # a rollout
        raise RuntimeError("out of luck")
    return alpha * outcome.recall + beta * outcome.penalty, {"recall": outcome.recall}


def test_wrong_requests_are_refused_before_anything_is_written(
    synthetic_bank_path: Path, tmp_path: Path
) -> None:
    config, out = tiny(synthetic_bank_path), tmp_path / "study"

    def refused(words: str, config: TuneConfig | None, **settings: object) -> None:
        with pytest.raises(DSAError, match=words):
            tune(config, out, fit=QUICK, progress=False, **settings)  # type: ignore[arg-type]
        assert not out.exists()

    refused("Give a configuration", None)
    refused("holds no study to resume", None, resume=True)
    refused("Did you mean 'gp'", replace(config, sampler="gpp"))
    refused("at least 3 seeds", replace(config, base=replace(config.base, seeds=(0,))))
    refused("trials must be", replace(config, trials=0))
    refused("Did you mean 'recall'", replace(config, objective="recal"))
    refused("cannot be reached", config, storage="postgresql+psycopg://u@127.0.0.1:1/x")
    refused("SQLite locks", config, storage="sqlite:///x.db", workers=2)
    refused("at least 1", config, workers=0)
    out.mkdir()
    (out / "mine.txt").touch()
    with pytest.raises(DSAError, match="already exists"):
        tune(config, out, fit=QUICK, progress=False)
