"""VQAv2's files, its normalisation of answers and its accuracy."""

from __future__ import annotations

import json
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsa_env.errors import DSAError
from dsa_env.vqa.vqav2 import normalise_answer, read_vqav2, vqa_accuracy


@pytest.mark.parametrize(
    ("answer", "normal"),
    [
        ("Yes.", "yes"),
        ("a dog", "dog"),
        ("The  Red\nhat", "red hat"),
        ("two", "2"),
        ("none", "0"),
        ("ten", "10"),
        ("dont", "don't"),
        ("Wouldnt've", "wouldn't've"),
        ("dog's", "dog's"),
        ("10:30", "10:30"),
        ("3.5", "3.5"),
        ("100,978", "100978"),
        ("red/white", "red white"),
        ("red, white", "red white"),
        ("what?", "what"),
        ("t-shirt", "t shirt"),
        ("", ""),
    ],
)
def test_answers_are_normalised_by_the_published_rules(answer: str, normal: str) -> None:
    assert normalise_answer(answer) == normal


@given(st.text(alphabet="abc the.two,1", max_size=20))
def test_normalising_twice_changes_nothing_more(answer: str) -> None:
    once = normalise_answer(answer)
    again = normalise_answer(once)
    assert normalise_answer(again) == again


@given(st.lists(st.sampled_from(["yes", "no", "maybe"]), min_size=2, max_size=10))
def test_accuracy_is_the_mean_over_the_subsets_that_leave_one_out(humans: list[str]) -> None:
    subsets = list(combinations(range(len(humans)), len(humans) - 1))
    expected = sum(min(sum(humans[i] == "yes" for i in subset) / 3, 1) for subset in subsets) / len(
        subsets
    )
    assert vqa_accuracy("Yes", humans) == pytest.approx(expected)


@pytest.mark.parametrize(("said", "accuracy"), [(0, 0), (1, 0.3), (2, 0.6), (3, 0.9), (4, 1.0)])
def test_the_known_values_for_ten_humans(said: int, accuracy: float) -> None:
    humans = ["2"] * said + ["3"] * (10 - said)
    assert vqa_accuracy("two", humans) == pytest.approx(accuracy)


def test_accuracy_needs_humans() -> None:
    with pytest.raises(DSAError, match="needs the humans' answers"):
        vqa_accuracy("yes", [])


def write(folder: Path, **changes: Any) -> tuple[Path, Path]:
    questions = [
        {"question_id": 420, "image_id": 42, "question": "Is it raining?"},
        {"question_id": 421, "image_id": 42, "question": "How many dogs?"},
    ]
    annotations = [
        {
            "question_id": 420, "image_id": 42, "multiple_choice_answer": "no",
            "answer_type": "yes/no", "answers": [{"answer": "no"}] * 10,
        },
        {
            "question_id": 421, "image_id": 42, "multiple_choice_answer": "Two",
            "answer_type": "number", "answers": [{"answer": "two"}] * 8 + [{"answer": "3"}] * 2,
        },
    ]  # fmt: skip
    annotations[1].update(changes)
    paths = folder / "v2_q_questions.json", folder / "v2_a_annotations.json"
    paths[0].write_text(json.dumps({"questions": questions}))
    paths[1].write_text(json.dumps({"annotations": annotations}))
    return paths


def test_questions_are_read_with_their_ten_answers(tmp_path: Path) -> None:
    first, second = read_vqav2(*write(tmp_path))
    assert (first.image, first.text, first.answer, first.family) == (
        "42", "Is it raining?", "no", "yes/no",
    )  # fmt: skip
    assert (second.answer, len(second.humans)) == ("2", 10)
    assert vqa_accuracy("two", second.humans) == 1.0
    assert len(read_vqav2(*write(tmp_path), limit=1)) == 1


def test_annotations_of_other_questions_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DSAError, match="no answers to question 421"):
        read_vqav2(*write(tmp_path, question_id=9))
    with pytest.raises(DSAError, match="no answers to question 421 about image 42"):
        read_vqav2(*write(tmp_path, image_id=7))
    with pytest.raises(DSAError, match="record 1 lacks 'answers'"):
        read_vqav2(*write(tmp_path, answers=None))
    with pytest.raises(DSAError, match="does not exist"):
        read_vqav2(tmp_path / "none.json", write(tmp_path)[1])
