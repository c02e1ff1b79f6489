"""VQAv2: its questions and annotations, its answer normalisation and its accuracy.

The rules are those published with the data set (Goyal et al. 2017, "Making the V in VQA Matter",
https://arxiv.org/abs/1612.00837; https://visualqa.org/evaluation.html).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from dsa_env.datasets.json_stream import get, stream
from dsa_env.errors import DSAError
from dsa_env.vqa.asked import Asked

_DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
NUMBERS = {word: str(number) for number, word in enumerate(_DIGITS)} | {"none": "0"}
ARTICLES = frozenset({"a", "an", "the"})
PUNCTUATION = ';/[]"{}()=+\\_-><@`,?!'
"""What separates words; the apostrophe and the colon stay, the period has a rule of its own."""

_CONTRACTED = (
    "ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've hasn't "
    "haven't he'd he'd've he's how'd how'll how's isn't it'd it'd've it'll let's "
    "ma'am might've mightn't mightn't've must've mustn't needn't not've o'clock oughtn't shan't "
    "she'd've she's should've shouldn't shouldn't've somebody'd somebody'd've somebody'll "
    "somebody's someone'd someone'd've someone'll someone's something'd something'd've "
    "something'll that's there'd there'd've there're there's they'd they'd've they'll they're "
    "they've 'twas wasn't we'd've we've weren't what'll what're what's what've when's where'd "
    "where's where've who'd who'd've who'll who's who've why'll why're why's won't would've "
    "wouldn't wouldn't've y'all y'all'd've y'all'll you'd you'd've you'll you're you've"
)


def _contractions() -> dict[str, str]:
    """Contractions that lack one or all of their apostrophes -> the contraction."""
    lacking = {}
    for word in _CONTRACTED.split():
        places = [i for i, letter in enumerate(word) if letter == "'"]
        for left_out in [places, *([place] for place in places)]:
            spelt = "".join(letter for i, letter in enumerate(word) if i not in left_out)
            lacking[spelt] = word
    return lacking


CONTRACTIONS = _contractions()
_PERIOD, _THOUSANDS = re.compile(r"\.(?!\d)"), re.compile(r"\d,\d")


def normalise_answer(answer: str) -> str:
    """An answer as VQA's evaluation compares it.

    Small letters; no periods but decimal points; punctuation becomes a space, or nothing where it
    stands at a word's edge or the answer holds a number such as 100,978; number words become
    digits; articles go; contractions get their apostrophe.
    """
    text = " ".join(answer.split())
    thousands = _THOUSANDS.search(text) is not None
    for mark in PUNCTUATION:
        if mark in answer:
            edge = f"{mark} " in answer or f" {mark}" in answer
            text = text.replace(mark, "" if edge or thousands else " ")
    text = _PERIOD.sub("", text)
    words = [NUMBERS.get(word, word) for word in text.lower().split()]
    return " ".join(CONTRACTIONS.get(word, word) for word in words if word not in ARTICLES)


def vqa_accuracy(answer: str, humans: Sequence[str]) -> float:
    """VQA's accuracy of an answer, in [0, 1].

    min(humans who said it / 3, 1), averaged over all subsets that leave one human out: with c of
    n humans, (c min((c - 1) / 3, 1) + (n - c) min(c / 3, 1)) / n.

    Args:
        answer: what was answered; normalised here, like the humans' answers.
        humans: the answers of the n humans, ten of them in VQAv2.

    Raises:
        DSAError: without humans' answers.
    """
    if not humans:
        raise DSAError("VQA's accuracy needs the humans' answers; the test splits have none.")
    said = normalise_answer(answer)
    count, n = sum(normalise_answer(human) == said for human in humans), len(humans)
    return (count * min((count - 1) / 3, 1.0) + (n - count) * min(count / 3, 1.0)) / n


def read_vqav2(questions: Path, annotations: Path, *, limit: int | None = None) -> list[Asked]:
    """VQAv2's questions with their ten answers.

    Args:
        questions: such as `v2_OpenEnded_mscoco_val2014_questions.json`.
        annotations: such as `v2_mscoco_val2014_annotations.json`.
        limit: take this many, the first ones; None for all.

    Returns:
        Questions whose `image` is COCO's number, whose `answer` is the most frequent one
        normalised, and whose `family` is the answer's type (yes/no, number, other).

    Raises:
        DSAError: for files that are missing, malformed, or of different questions.
    """
    of_question: dict[int, tuple[int, str, tuple[str, ...], str]] = {}
    expected = "VQAv2 annotations, a list under 'annotations'"
    for number, record in enumerate(stream(annotations, "annotations.item", expected)):
        answers = get(record, "answers", list, annotations, number)
        humans = tuple(str(get(a, "answer", str, annotations, number)) for a in answers)
        of_question[get(record, "question_id", int, annotations, number)] = (
            get(record, "image_id", int, annotations, number),
            get(record, "multiple_choice_answer", str, annotations, number),
            humans,
            str(record.get("answer_type") or "other"),
        )
    found: list[Asked] = []
    expected = "VQAv2 questions, a list under 'questions'"
    for number, record in enumerate(stream(questions, "questions.item", expected)):
        identity = get(record, "question_id", int, questions, number)
        image = get(record, "image_id", int, questions, number)
        text = get(record, "question", str, questions, number)
        if identity not in of_question or of_question[identity][0] != image:
            raise DSAError(
                f"{annotations} has no answers to question {identity} about image {image} of "
                f"{questions}; give the annotations of the same split."
            )
        _, answer, humans, kind = of_question[identity]
        found.append(Asked(str(image), text, normalise_answer(answer), (), kind, humans))
        if limit is not None and len(found) >= limit:
            break
    return found
