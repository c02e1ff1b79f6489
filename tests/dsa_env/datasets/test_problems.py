"""Problems are named, counted, skipped or fatal."""

from __future__ import annotations

import json
import pickle

import pytest

from dsa_env.datasets.problems import Problems
from dsa_env.errors import DSAError


def test_the_first_problem_is_fatal_by_default() -> None:
    with pytest.raises(DSAError, match=r"missing image: a\.jpg \(of 5 captions\).*--on-bad skip"):
        Problems().report("missing image", "a.jpg", "of 5 captions")


def test_skipped_problems_are_counted_and_named() -> None:
    problems = Problems("skip")
    assert not problems
    for number in range(7):
        problems.report("empty caption", f"caption {number}")
    problems.report("missing image", "a.jpg", "two\nlines")
    assert len(problems) == 8
    assert problems.counts == {"missing image": 1, "empty caption": 7}
    assert [problem.where for problem in problems][-1] == "a.jpg"
    assert problems.lines() == [
        "missing image, 1 left out: a.jpg (two lines)",
        "empty caption, 7 left out: caption 0; caption 1; caption 2; caption 3; caption 4 "
        "and 2 more",
    ]
    document = json.loads(json.dumps(problems.to_json(most=2)))
    assert document["counts"] == problems.counts
    assert [row["where"] for row in document["problems"]] == ["caption 0", "caption 1", "a.jpg"]
    assert len(problems.to_json()["problems"]) == 8
    assert pickle.loads(pickle.dumps(problems)).counts == problems.counts


def test_unknown_kinds_and_ways_suggest_the_nearest() -> None:
    with pytest.raises(DSAError, match="Did you mean 'missing image'"):
        Problems("skip").report("missing images", "a.jpg")
    with pytest.raises(DSAError, match="Did you mean 'skip'"):
        Problems("skp")  # type: ignore[arg-type]
