"""POPE: does a model say that there is what is there, and no more?

Li et al., "Evaluating Object Hallucination in Large Vision-Language Models", EMNLP 2023.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from dsa_env.errors import DSAError

_NO = {"No", "no", "not"}


@dataclass(frozen=True)
class Question:
    """One question about a picture.

    Attributes:
        image: the picture's file name.
        text: the question.
        label: whether the answer is yes.
    """

    image: str
    text: str
    label: bool


@dataclass(frozen=True)
class Pope:
    """The figures of a set of answers, all in [0, 1].

    Attributes:
        accuracy: share of right answers.
        precision: share of the answers "yes" that are right.
        recall: share of the things that are there that were affirmed.
        f1: harmonic mean of the two.
        yes_rate: share of the answers "yes"; much above a half is a habit.
    """

    accuracy: float
    precision: float
    recall: float
    f1: float
    yes_rate: float

    def summary(self) -> dict[str, float]:
        """The figures by name."""
        return asdict(self)


def read_pope(path: str | Path) -> list[Question]:
    """Read a released file of questions: JSON lines, whatever its name ends in.

    Raises:
        DSAError: the file is missing, or a line is no question; it is named.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise DSAError(f"{path} cannot be read ({error.strerror}); check the path.") from None
    questions = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            label = {"yes": True, "no": False}[row["label"].strip().lower()]
            questions.append(Question(row["image"], row["text"], label))
        except (AttributeError, KeyError, TypeError, ValueError):
            raise DSAError(
                f"{path}, line {number}, is no POPE question; each line is a JSON object with "
                "image, text and label (yes or no)."
            ) from None
    if not questions:
        raise DSAError(f"{path} holds no questions.")
    return questions


def says_yes(answer: str) -> bool:
    """Whether an answer is a yes: whatever has no word "no", "No" or "not" in its first sentence.

    The rule of the benchmark's own evaluation (RUCAIBox/POPE, evaluate.py), its oddities included,
    so that figures compare with published ones: "isn't" is not read as a no.
    """
    words = answer.split(".")[0].replace(",", "").split(" ")
    return _NO.isdisjoint(words)


def pope(answers: Sequence[str], labels: Sequence[bool]) -> Pope:
    """The figures of answers to questions whose right answer is known.

    Raises:
        DSAError: no answers, or another number of labels.
    """
    if not answers:
        raise DSAError("There are no answers to judge; give at least one.")
    if len(answers) != len(labels):
        raise DSAError(f"{len(answers)} answers and {len(labels)} labels do not fit.")
    said = [says_yes(answer) for answer in answers]
    pairs = list(zip(said, labels, strict=True))
    right_yes = sum(yes and label for yes, label in pairs)
    precision = right_yes / max(sum(said), 1)
    recall = right_yes / max(sum(labels), 1)
    both = precision + recall
    return Pope(
        accuracy=sum(yes == label for yes, label in pairs) / len(pairs),
        precision=precision,
        recall=recall,
        f1=2 * precision * recall / both if both else 0.0,
        yes_rate=sum(said) / len(said),
    )
