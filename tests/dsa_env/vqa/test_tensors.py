"""Questions and pictures as arrays: numbers, padding, boxes and what an answer is worth."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dsa_env.bank import FeatureBank
from dsa_env.datasets.clevr_questions import Step
from dsa_env.errors import DSAError
from dsa_env.vqa.asked import Asked
from dsa_env.vqa.tensors import BOX, UNKNOWN, Pictures, Vocabulary, encode_questions, tokens_of
from tests.dsa_env.vqa.small_world import WIDTH, CountedWords, small_bank

RED = (Step("scene", (), ()), Step("filter_color", (0,), ("red",)), Step("count", (1,), ()))
ASKED = [
    Asked("a", "How many red?", "2", RED, "count"),
    Asked("b", "How many red?", "3", RED, "count"),
    Asked("c", "Any?", "2", RED[:1], "exist"),
]


def test_programs_become_words() -> None:
    assert tokens_of(RED) == ["scene", "filter_color red", "count"]


def test_questions_become_arrays() -> None:
    vocabulary = Vocabulary.of(ASKED)
    assert vocabulary.answers == ("2", "3")
    found = encode_questions(ASKED, np.array([5, 6, 7]), vocabulary, CountedWords())  # type: ignore[arg-type]
    assert found.texts.shape == (2, WIDTH)
    assert found.text[0] == found.text[1] != found.text[2]
    assert found.program.shape == (3, 3)
    assert (found.program[2, 1:] == 0).all()
    assert found.answer.tolist() == [0, 1, 0]
    assert [found.families[f] for f in found.family] == ["count", "count", "exist"]
    assert found.scores(np.array([0, 0, 1])).tolist() == [1.0, 0.0, 0.0]


def test_what_training_did_not_show_is_unknown() -> None:
    vocabulary = Vocabulary.of(ASKED)
    new = [Asked("d", "?", "9", (Step("unique", (0,), ()),))]
    found = encode_questions(new, np.array([0]), vocabulary, CountedWords())  # type: ignore[arg-type]
    assert found.answer.tolist() == [-1]
    assert found.program.tolist() == [[UNKNOWN]]
    assert found.scores(np.array([0])).tolist() == [0.0]


def test_humans_answers_are_worth_what_vqa_says() -> None:
    humans = ("two",) * 2 + ("3",) * 8
    asked = [Asked("a", "?", "3", (), "number", humans), Asked("b", "?", "2")]
    found = encode_questions(asked, np.array([0, 1]), Vocabulary.of(asked), CountedWords())  # type: ignore[arg-type]
    numbers = {answer: n for n, answer in enumerate(Vocabulary.of(asked).answers)}
    two = np.full(2, numbers["2"])
    assert found.scores(two) == pytest.approx([0.6, 1.0])
    assert found.scores(np.full(2, numbers["3"])) == pytest.approx([1.0, 0.0])


def test_one_answer_is_nothing_to_learn() -> None:
    with pytest.raises(DSAError, match="the same answer"):
        Vocabulary.of(ASKED[:1])


def test_views_carry_boxes_and_counts() -> None:
    bank = small_bank()
    pictures = Pictures(bank)
    regions, counts, coarse = pictures.take(np.array([3, 0]))
    assert pictures.width == WIDTH + BOX
    assert regions.shape == (2, 10, WIDTH + BOX)
    assert counts.tolist() == bank.region_counts[[3, 0]].tolist()  # type: ignore[index]
    assert torch.equal(coarse[0, -BOX:], torch.tensor([0.0, 0.0, 1.0, 1.0]))
    assert torch.equal(coarse[1, :WIDTH], torch.from_numpy(np.array(bank.image_coarse[0])))
    assert regions[0, :, WIDTH:].abs().max() <= 1


def test_a_bank_without_regions_gives_its_fine_view() -> None:
    eye = np.eye(4)
    pictures = Pictures(FeatureBank.from_arrays(eye, eye, eye[::-1]))
    regions, counts, _ = pictures.take(np.array([1]))
    assert regions.shape == (1, 1, 8)
    assert counts.tolist() == [1]
    assert regions[0, 0, :4].tolist() == [0, 0, 1, 0]
