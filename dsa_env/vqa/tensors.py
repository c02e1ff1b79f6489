"""Questions as arrays that a model takes, and pictures' views from a bank, batch by batch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dsa_env.bank import FeatureBank
from dsa_env.datasets.clevr_questions import Step
from dsa_env.errors import DSAError
from dsa_env.vqa.asked import Asked
from dsa_env.vqa.vqav2 import normalise_answer, vqa_accuracy

if TYPE_CHECKING:
    from dsa_env.encoders.protocol import FrozenEncoder

Ints = NDArray[np.int64]
UNKNOWN = 1  # a step that training did not show; 0 is padding
BOX = 4


def tokens_of(program: Sequence[Step]) -> list[str]:
    """A program as words, one a step: "scene", "filter_color red", "relate left"."""
    return [" ".join((step.function, *step.values)) for step in program]


@dataclass(frozen=True)
class Vocabulary:
    """What a model knows: its answers, and the steps of programs.

    Attributes:
        answers: the answers it chooses from, most frequent first.
        steps: the steps it knows, numbered from 2; 0 is padding and 1 any other.
    """

    answers: tuple[str, ...]
    steps: tuple[str, ...]

    @classmethod
    def of(cls, asked: Sequence[Asked], most: int = 3000) -> Vocabulary:
        """From training questions; the `most` most frequent answers.

        Raises:
            DSAError: where there is but one answer, so that there is nothing to learn.
        """
        counts = Counter(one.answer for one in asked)
        answers = sorted(counts, key=lambda word: (-counts[word], word))[:most]
        if len(answers) < 2:
            raise DSAError(
                f"All {len(asked):,} training questions have the same answer {answers}; give "
                "questions with at least two."
            )
        steps = {step for one in asked for step in tokens_of(one.program)}
        return cls(tuple(answers), tuple(sorted(steps)))


@dataclass(frozen=True)
class QuestionSet:
    """Q questions as arrays.

    Attributes:
        image: [Q] the bank's ids of their pictures.
        texts: [U, Dt] float32 features of the U different texts.
        text: [Q] which of them.
        program: [Q, L] tokens, 0 behind the last one.
        answer: [Q] numbers in the vocabulary; -1 where it is not among them.
        family: [Q] numbers in `families`.
        families: names.
        accepted: [Q, K] numbers of the answers that score at all; -1 behind the last one.
        worth: [Q, K] float32 in [0, 1], what each of them scores.
    """

    image: Ints
    texts: NDArray[np.float32]
    text: Ints
    program: Ints
    answer: Ints
    family: Ints
    families: tuple[str, ...]
    accepted: Ints
    worth: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.image)

    def scores(self, chosen: Ints) -> NDArray[np.float64]:
        """What chosen answers [Q] score, in [0, 1]: right or wrong, or VQA's accuracy."""
        found: NDArray[np.float64] = np.where(
            self.accepted == chosen[:, None], self.worth, 0.0
        ).sum(axis=1, dtype=np.float64)
        return found


def encode_questions(
    asked: Sequence[Asked],
    images: Ints,
    vocabulary: Vocabulary,
    encoder: FrozenEncoder,
    families: Sequence[str] | None = None,
) -> QuestionSet:
    """Questions as arrays; each different text is encoded once.

    Args:
        asked: Q questions.
        images: [Q] the bank's ids of their pictures (`keep_known`).
        vocabulary: of the training questions.
        encoder: the frozen text encoder of the bank.
        families: names that fix the numbers; those of the questions by default.
    """
    texts = sorted({one.text for one in asked})
    at = {text: number for number, text in enumerate(texts)}
    step_at = {step: number + 2 for number, step in enumerate(vocabulary.steps)}
    answer_at = {answer: number for number, answer in enumerate(vocabulary.answers)}
    names = tuple(families or sorted({one.family for one in asked}))
    programs = [[step_at.get(t, UNKNOWN) for t in tokens_of(one.program)] for one in asked]
    padded = np.zeros((len(asked), max(map(len, programs), default=0)), dtype=np.int64)
    for row, steps in zip(padded, programs, strict=True):
        row[: len(steps)] = steps
    accepted, worth = _worth(asked, answer_at)
    return QuestionSet(
        image=np.asarray(images, dtype=np.int64),
        texts=encoder.text(texts),
        text=np.array([at[one.text] for one in asked], dtype=np.int64),
        program=padded,
        answer=np.array([answer_at.get(one.answer, -1) for one in asked], dtype=np.int64),
        family=np.array([names.index(one.family) for one in asked], dtype=np.int64),
        families=names,
        accepted=accepted,
        worth=worth,
    )


def _worth(asked: Sequence[Asked], answer_at: dict[str, int]) -> tuple[Ints, NDArray[np.float32]]:
    """Which answers score, and how much: one that is right, or what the humans said."""
    found: list[list[tuple[int, float]]] = []
    for one in asked:
        said = {normalise_answer(human) for human in one.humans} if one.humans else {one.answer}
        found.append(
            [
                (answer_at[word], vqa_accuracy(word, one.humans) if one.humans else 1.0)
                for word in sorted(said)
                if word in answer_at
            ]
        )
    width = max(map(len, found), default=0)
    accepted = np.full((len(asked), width), -1, dtype=np.int64)
    worth = np.zeros((len(asked), width), dtype=np.float32)
    for row, pairs in enumerate(found):
        for column, (answer, score) in enumerate(pairs):
            accepted[row, column], worth[row, column] = answer, score
    return accepted, worth


class Pictures:
    """The views of a bank's pictures as a fusion takes them.

    A region is its features and its box (centre and size, from -1 to 1), so that where things are
    can be told; the coarse view has the box of the whole picture. A bank without regions gives its
    fine view as the only region, with the whole picture's box.
    """

    def __init__(self, bank: FeatureBank) -> None:
        self._bank = bank

    @property
    def width(self) -> int:
        """Dv, features and box."""
        return self._bank.dim + BOX

    def take(self, images: Ints) -> tuple[Tensor, Tensor, Tensor]:
        """Views of pictures: regions [B, R, Dv], how many count [B], coarse [B, Dv]."""
        bank = self._bank
        whole = np.broadcast_to(np.array([0, 0, 1, 1], np.float32), (len(images), BOX))
        coarse = np.concatenate([np.asarray(bank.image_coarse[images], np.float32), whole], axis=1)
        if bank.image_regions is None or bank.region_counts is None:
            fine = np.concatenate([bank.fine_features(images), whole], axis=1)[:, None]
            counts = np.ones(len(images), dtype=np.int64)
        else:
            regions = np.asarray(bank.image_regions[images], np.float32)
            counts = np.asarray(bank.region_counts[images], np.int64)
            boxes = np.zeros((*regions.shape[:2], BOX), np.float32)
            if bank.region_boxes is not None:
                boxes = np.asarray(bank.region_boxes[images], np.float32) * 2 - 1
            fine = np.concatenate([regions, boxes], axis=2)
        return torch.from_numpy(fine), torch.from_numpy(counts), torch.from_numpy(coarse)
