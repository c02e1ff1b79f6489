"""CLEVR's questions with their functional programs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dsa_env.datasets.json_stream import get, stream
from dsa_env.errors import DSAError

_EXPECTED = "a CLEVR v1.0 questions file, a list under 'questions'"


@dataclass(frozen=True)
class Step:
    """One step of a functional program.

    Attributes:
        function: what it does, such as "filter_color".
        inputs: numbers of the earlier steps whose results it takes.
        values: words that it takes, such as "red".
    """

    function: str
    inputs: tuple[int, ...]
    values: tuple[str, ...]


@dataclass(frozen=True)
class Question:
    """A question about a picture.

    Attributes:
        image: the picture's file name.
        text: the question.
        answer: its answer in one word; None in the test split.
        program: the steps that answer it, the last one's result being the answer; empty in the
            test split.
        family: number of the template that it was written from, or None.
    """

    image: str
    text: str
    answer: str | None
    program: tuple[Step, ...]
    family: int | None


def questions_file(root: Path, split: str) -> Path:
    """Where the format keeps a split's questions; `split` in its own words (train, val, test)."""
    name = f"CLEVR_{split}_questions.json"
    official, beside = root / "questions" / name, root / name
    return beside if beside.is_file() and not official.is_file() else official


def read_questions(root: Path, split: str) -> Iterator[Question]:
    """A split's questions, one at a time.

    A step's function is called `function` in CLEVR v1.0 and `type` in what its generator writes;
    its words `value_inputs` or `side_inputs`.

    Args:
        root: the dataset's folder.
        split: "train", "val" (or "validation") or "test".

    Raises:
        DSAError: if the file is missing or malformed, naming the question that is wrong.
    """
    path = questions_file(Path(root), "val" if split == "validation" else split)
    for number, record in enumerate(stream(path, "questions.item", _EXPECTED)):
        family, answer = record.get("question_family_index"), record.get("answer")
        yield Question(
            get(record, "image_filename", str, path, number),
            get(record, "question", str, path, number),
            _word(answer),
            tuple(_steps(record.get("program") or [], path, number)),
            family if isinstance(family, int) and family >= 0 else None,
        )


def _word(answer: Any) -> str | None:
    """An answer as a word; what the generator writes as true and 3 is "yes" and "3"."""
    if isinstance(answer, bool):
        return "yes" if answer else "no"
    return None if answer is None else str(answer)


def _steps(program: Any, path: Path, number: int) -> Iterator[Step]:
    for place, step in enumerate(program):
        about: dict[str, Any] = step if isinstance(step, dict) else {}
        function = about.get("function", about.get("type"))
        inputs: list[Any] = about.get("inputs") or []
        values: list[Any] = about.get("value_inputs") or about.get("side_inputs") or []
        earlier = all(isinstance(n, int) and 0 <= n < place for n in inputs)
        if not isinstance(function, str) or not earlier:
            raise DSAError(
                f"{path}: step {place} of question {number} has no function, or inputs that are "
                "no earlier steps; it is not CLEVR v1.0."
            )
        yield Step(function, tuple(inputs), tuple(map(str, values)))
