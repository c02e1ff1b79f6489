"""A study's documents: plain, complete and finite."""

from __future__ import annotations

import json

import numpy as np
import pytest

from dsa_env.files import read_json
from dsa_tuning.front import pareto, signs
from dsa_tuning.study import Tuned


def test_results_are_what_the_file_holds(tuned: Tuned) -> None:
    assert read_json(tuned.folder / "results.json") == json.loads(json.dumps(tuned.results))


def test_the_front_is_that_of_the_values(tuned: Tuned) -> None:
    trials = tuned.results["trials"]
    values = np.array([trial["values"] for trial in trials])
    best = pareto(values * signs(tuned.results["objective"]["directions"]))
    assert sorted(tuned.results["front"]) == np.flatnonzero(best).tolist()


def test_every_trial_tells_its_seeds_and_its_plain_weights(tuned: Tuned) -> None:
    for trial in tuned.results["trials"]:
        assert len(trial["seeds"]) == 3
        assert trial["reward"]["alpha"] + trial["reward"]["beta"] == pytest.approx(1)
        recalls = [seed["recall@1"] for seed in trial["seeds"]]
        assert trial["values"][0] == pytest.approx(np.mean(recalls))


def test_importances_are_shares_of_the_searched_parameters(tuned: Tuned) -> None:
    for row in tuned.results["importances"].values():
        assert set(row) == {"share", "learning_rate"}
        assert sum(row.values()) == pytest.approx(1)


def test_the_history_only_rises(tuned: Tuned) -> None:
    assert len(tuned.results["history"]) == 6
    assert (np.diff(tuned.results["history"]) >= 0).all()


def test_the_bank_and_the_command_line_are_kept(tuned: Tuned) -> None:
    study = read_json(tuned.folder / "study.json")
    assert study["provenance"]["command_line"]
    assert study["provenance"]["versions"]["optuna"]
    best = read_json(tuned.folder / "best.json")
    assert best["bank_sha256"] == study["provenance"]["bank_sha256"]
