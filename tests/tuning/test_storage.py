"""Storages: where a study lives, and what is said when that place cannot be reached."""

from __future__ import annotations

import socket
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from dsa_env.errors import DSAError
from dsa_tuning.storage import (
    RETRIES,
    RETRY_OF,
    SURPLUS,
    completed,
    open_storage,
    places,
    put_back,
    unfinished,
)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def test_by_default_it_is_a_journal_in_the_folder(tmp_path: Path) -> None:
    storage = open_storage(None, tmp_path / "new")
    study = optuna.create_study(storage=storage, study_name="one")
    study.enqueue_trial({"x": 1.0})
    again = optuna.load_study(storage=open_storage(None, tmp_path / "new"), study_name="one")
    assert len(again.trials) == 1
    other = open_storage(str(tmp_path / "new" / "journal.log"), tmp_path)
    assert len(optuna.load_study(storage=other, study_name="one").trials) == 1


def test_a_database_is_a_url(tmp_path: Path) -> None:
    storage = open_storage(f"sqlite:///{tmp_path / 'study.db'}", tmp_path)
    assert isinstance(storage, optuna.storages.RDBStorage)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("postgresql+psycopg://me:hidden@127.0.0.1:{port}/x", "cannot be reached"),
        ("nosuchdb://me:hidden@127.0.0.1:{port}/x", "cannot be reached"),
        ("study.db", "neither a URL nor a journal"),
        ("redis://127.0.0.1:{port}", "cannot be reached"),
    ],
)
def test_what_cannot_be_reached_is_named_without_its_password(
    url: str, words: str, tmp_path: Path
) -> None:
    with pytest.raises(DSAError, match=words) as raised:
        open_storage(url.format(port=free_port()), tmp_path)
    assert "hidden" not in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_proxy_that_does_not_answer_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dsa_tuning.storage.CONNECT_SECONDS", 0.2)
    with pytest.raises(DSAError, match=r"grpc://127.0.0.1:\d+ cannot be reached"):
        open_storage(f"grpc://127.0.0.1:{free_port()}", tmp_path)


def test_a_missing_driver_is_named_with_its_cure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "psycopg", None)
    with pytest.raises(DSAError, match=r'pip install "psycopg\[binary\]"'):
        open_storage("postgresql+psycopg://me@127.0.0.1:1/x", tmp_path)


def failed(study: optuna.Study) -> optuna.trial.FrozenTrial:
    """A trial that was begun and cut off."""
    trial = study.ask()
    trial.suggest_float("x", 0, 1)
    study.tell(trial, state=TrialState.FAIL)
    return study.trials[trial.number]


def test_a_trial_that_was_cut_off_is_tried_again_and_no_longer_counts() -> None:
    study = optuna.create_study()
    cut = failed(study)
    put_back(study, cut)
    again = study.trials[-1]
    assert again.state == TrialState.WAITING
    assert again.user_attrs[RETRY_OF] == cut.number
    assert [trial.number for trial in places(study.trials)] == [again.number]
    assert study.ask().suggest_float("x", 0, 1) == cut.params["x"]


def test_one_that_is_cut_off_again_and_again_counts_as_failed() -> None:
    study = optuna.create_study()
    cut = failed(study)
    for _ in range(RETRIES + 2):
        put_back(study, cut)
        waiting = [trial for trial in study.trials if trial.state == TrialState.WAITING]
        if not waiting:
            break
        cut = failed(study)
    assert len(study.trials) == RETRIES + 1
    assert [trial.state for trial in places(study.trials)] == [TrialState.FAIL]


def test_what_the_user_stopped_is_tried_again_any_number_of_times() -> None:
    study = optuna.create_study()
    cut = failed(study)
    for _ in range(3 * RETRIES):
        put_back(study, cut, wanted=True)
        cut = failed(study)
    assert len(study.trials) == 3 * RETRIES + 1


def test_one_too_many_never_counts() -> None:
    study = optuna.create_study()
    study.add_trial(optuna.trial.create_trial(value=1.0))
    study.add_trial(optuna.trial.create_trial(state=TrialState.FAIL, user_attrs={SURPLUS: True}))
    study.ask()
    assert [trial.number for trial in places(study.trials)] == [0, 2]
    assert [trial.number for trial in completed(study.trials)] == [0]
    assert [trial.number for trial in unfinished(study.trials)] == [2]
