"""The page and the terminal say what was found, and what was not."""

from __future__ import annotations

import copy
import io
import re
from typing import Any

from rich.console import Console

from dsa_tuning.plots import write_plots
from dsa_tuning.report import final_table, front_rows, print_study, sentences, settings
from dsa_tuning.study import Tuned


def test_the_page_needs_no_other_file(tuned: Tuned) -> None:
    page = tuned.report.read_text()
    plots = sorted(path.name for path in (tuned.folder / "plots").iterdir())
    assert plots == ["front.png", "history.png", "importances.png", "shares.png"]
    assert page.count("data:image/png;base64,") == len(plots)
    assert not re.findall(r'(?:src|href)="(?!data:)', page)
    assert "★" in page


def test_the_page_escapes_what_users_wrote(tuned: Tuned) -> None:
    page = tuned.report.read_text()
    assert "<b>" not in page


def test_the_terminal_shows_front_and_test(tuned: Tuned) -> None:
    stream = io.StringIO()
    print_study(tuned.results, Console(file=stream, width=100))
    text = stream.getvalue()
    assert "Front (validation)" in text
    assert "3 seeds that no trial used" in text
    assert "tuned − equal" in text


def test_the_chosen_trial_is_marked_once(tuned: Tuned) -> None:
    marked = [row for row in front_rows(tuned.results) if "★" in row[0]]
    assert [row[0] for row in marked] == [f"{tuned.results['chosen']} ★"]


def test_weights_are_shown_in_the_plain_form(tuned: Tuned) -> None:
    shown = settings(tuned.results["trials"][2])
    assert shown.startswith("α = 0.5, β = 0.5, learning_rate = ")


def changed(tuned: Tuned, **changes: Any) -> dict[str, Any]:
    return {**copy.deepcopy(tuned.results), **changes}


def test_a_bound_that_nobody_keeps_is_said(tuned: Tuned) -> None:
    objective = {**tuned.results["objective"], "max_hallucination": 0.01}
    text = " ".join(sentences(changed(tuned, keeps_bound=False, objective=objective)))
    assert "No trial keeps hallucination at or below 0.01" in text


def test_a_study_without_trials_can_be_drawn_and_told(tuned: Tuned, tmp_path: Any) -> None:
    empty = changed(tuned, trials=[], front=[], chosen=None, history=[], importances={}, test=None)
    assert write_plots(empty, tmp_path) == {}
    assert "No trial is complete yet" in sentences(empty)[-1]
    assert final_table(empty) is None


def test_a_study_of_one_objective_can_be_drawn(tuned: Tuned, tmp_path: Any) -> None:
    trials = [{**trial, "values": trial["values"][:1]} for trial in tuned.results["trials"]]
    objective = {**tuned.results["objective"], "labels": ["recall@1"], "directions": ["maximize"]}
    single = changed(
        tuned,
        trials=trials,
        objective={**objective, "max_hallucination": 0.3},
        front=[tuned.results["chosen"]],
    )
    assert set(write_plots(single, tmp_path)) == {"front", "shares", "history", "importances"}
