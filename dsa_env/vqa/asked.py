"""Questions as every data set tells them: a picture, a text, an answer, perhaps a program."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dsa_env.bank import FeatureBank
from dsa_env.datasets.clevr_questions import Step, questions_file, read_questions
from dsa_env.errors import DSAError
from dsa_env.vqa.templates import family_of

_DIGITS = re.compile(r"(\d+)\D*$")


@dataclass(frozen=True)
class Asked:
    """One question about a picture.

    Attributes:
        image: file name of the picture, or its number where the data set has numbers.
        text: the question.
        answer: the answer to learn, one word or a few.
        program: the steps that answer it; empty where the data set has none.
        family: what kind of question it is.
        humans: the answers of several people; empty where there is one answer only.
    """

    image: str
    text: str
    answer: str
    program: tuple[Step, ...] = ()
    family: str = "all"
    humans: tuple[str, ...] = ()


def read_clevr(root: Path, split: str, *, limit: int | None = None) -> list[Asked]:
    """The questions of a CLEVR-format folder that have answers.

    Args:
        root: folder with `questions/CLEVR_{split}_questions.json`.
        split: "train", "val" (or "validation") or "test".
        limit: take this many, the first ones; None for all.

    Raises:
        DSAError: for a missing or malformed file, or one without answers (the original test split).
    """
    found = []
    for question in read_questions(root, split):
        if question.answer is not None:
            family = family_of(question.program) or "all"
            found.append(
                Asked(question.image, question.text, question.answer, question.program, family)
            )
        if limit is not None and len(found) >= limit:
            break
    if not found:
        file = questions_file(Path(root), "val" if split == "validation" else split)
        raise DSAError(
            f"{file} has no answers, as the original's test split has none; use train or val."
        )
    return found


def image_ids(bank: FeatureBank, images: Iterable[str]) -> NDArray[np.int64]:
    """The bank's ids [Q] of pictures by file name, else by the number their names end in; -1: none.

    COCO_val2014_000000000042.jpg, 000000000042.jpg and 42 are the same picture to a bank in which
    that number stands for one picture only.

    Raises:
        DSAError: when the bank does not say which pictures it holds.
    """
    if bank.image_files is None:
        raise DSAError(
            "The bank does not name its pictures, so questions cannot be told which is meant; "
            "pass image_files= when making it."
        )
    by_name: dict[str, int] = {}
    by_number: dict[int | None, int] = {}
    for index, file in enumerate(bank.image_files):
        name = Path(file).name
        by_name[name] = -1 if name in by_name else index
        number = _number(name)
        by_number[number] = -1 if number is None or number in by_number else index
    found = []
    for image in images:
        name = Path(image).name
        if name in by_name:
            found.append(by_name[name])
        else:
            found.append(by_number.get(_number(name), -1))
    return np.array(found, dtype=np.int64)


def keep_known(bank: FeatureBank, asked: Sequence[Asked]) -> tuple[list[Asked], NDArray[np.int64]]:
    """The questions whose picture the bank holds, and the bank's ids of the pictures.

    Raises:
        DSAError: when the bank holds none of them.
    """
    ids = image_ids(bank, (one.image for one in asked))
    if not (ids >= 0).any():
        example = f", such as {asked[0].image}," if asked else ""
        raise DSAError(
            f"None of the {len(asked):,} questions is about a picture{example} that the bank "
            "holds; build a bank of the questions' pictures."
        )
    kept = [one for one, index in zip(asked, ids, strict=True) if index >= 0]
    return kept, ids[ids >= 0]


def _number(name: str) -> int | None:
    found = _DIGITS.search(Path(name).stem)
    return int(found[1]) if found else None
