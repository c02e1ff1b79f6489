"""CLEVR's questions, as released and as its generator writes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dsa_env.datasets.clevr_questions import Question, Step, read_questions
from dsa_env.errors import DSAError

PROGRAM = [("scene", [], []), ("filter_color", [0], ["red"]), ("count", [1], [])]


def _write(root: Path, write_json: Any, split: str, function: str, values: str) -> None:
    questions = [
        {
            "image_index": 4, "split": split, "image_filename": f"CLEVR_{split}_000004.png",
            "question_index": 0, "question": "How many red things are there?", "answer": "2",
            "question_family_index": 30,
            "program": [
                {function: name, "inputs": inputs, values: words} for name, inputs, words in PROGRAM
            ],
        },
        {
            "image_index": 5, "spit": split, "image_filename": f"CLEVR_{split}_000005.png",
            "question_index": 1, "question": "Is there a cube?",
        },
    ]  # fmt: skip
    file = root / "questions" / f"CLEVR_{split}_questions.json"
    write_json(file, {"info": {"split": split}, "questions": questions})


@pytest.mark.parametrize(
    ("function", "values"), [("function", "value_inputs"), ("type", "side_inputs")]
)
def test_programs_read_the_same_in_both_spellings(
    tmp_path: Path, write_json: Any, function: str, values: str
) -> None:
    _write(tmp_path, write_json, "val", function, values)
    first, second = read_questions(tmp_path, "val")
    assert first == Question(
        "CLEVR_val_000004.png",
        "How many red things are there?",
        "2",
        (Step("scene", (), ()), Step("filter_color", (0,), ("red",)), Step("count", (1,), ())),
        30,
    )
    assert (second.answer, second.program, second.family) == (None, (), None)
    assert next(read_questions(tmp_path, "validation")) == first


def test_generated_answers_become_words(tmp_path: Path, write_json: Any) -> None:
    rows = [{"image_filename": "a.png", "question": "?", "answer": a} for a in (True, False, 3)]
    write_json(tmp_path / "CLEVR_new_questions.json", {"questions": rows})
    assert [q.answer for q in read_questions(tmp_path, "new")] == ["yes", "no", "3"]


def test_what_is_wrong_is_named(tmp_path: Path, write_json: Any) -> None:
    with pytest.raises(DSAError, match=r"CLEVR_val_questions\.json does not exist"):
        list(read_questions(tmp_path, "val"))
    row = {"image_filename": "a.png", "question": "?", "program": [{"inputs": [0]}]}
    file = write_json(tmp_path / "questions" / "CLEVR_val_questions.json", {"questions": [row]})
    with pytest.raises(DSAError, match="step 0 of question 0 has no function"):
        list(read_questions(tmp_path, "val"))
    write_json(file, {"questions": [{"question": "?"}]})
    with pytest.raises(DSAError, match="record 0 lacks 'image_filename'"):
        list(read_questions(tmp_path, "val"))
    file.write_text('{"questions": [{"question"')
    with pytest.raises(DSAError, match="not valid JSON"):
        list(read_questions(tmp_path, "val"))
