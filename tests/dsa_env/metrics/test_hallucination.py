"""CHAIR, POPE and semantic hallucination, against counts made by hand."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from dsa_env.errors import DSAError
from dsa_env.metrics import chair, pope, read_pope, semantic_hallucination
from dsa_env.metrics.pope import says_yes


def test_chair_counts_mentions_with_synonyms() -> None:
    captions = [
        "Two puppies on a sofa, and another dog with a frisbee",  # dog, couch, dog, frisbee
        "A man beside his bike",  # person, bicycle
        "A nice view",
    ]
    found = chair(captions, [{"dog", "couch"}, {"person", "bicycle", "car"}, {"boat"}])
    assert found.mentioned.tolist() == [4, 2, 0]
    assert found.hallucinated.tolist() == [1, 0, 0]
    assert found.sentences == pytest.approx(1 / 3)
    assert found.instances == pytest.approx(1 / 6)
    assert found.recall == pytest.approx(4 / 6)
    assert found.length == pytest.approx((11 + 5 + 3) / 3)
    assert set(found.summary()) == {"chair_s", "chair_i", "object_recall", "length"}


def test_silence_hallucinates_nothing_and_recalls_nothing() -> None:
    found = chair(["", ""], [{"dog"}, {"cat"}])
    assert found.instances == 0
    assert found.sentences == 0
    assert found.recall == 0


def test_chair_takes_a_vocabulary_of_ones_own() -> None:
    found = chair(["cube cone"], [{"cube"}], mentions=str.split)
    assert found.instances == 0.5


def test_chair_refuses_what_does_not_fit() -> None:
    with pytest.raises(DSAError, match="no captions"):
        chair([], [])
    with pytest.raises(DSAError, match="do not fit"):
        chair(["a"], [])


def test_pope_figures_are_those_of_a_confusion_table() -> None:
    answers = ["Yes, there is.", "yes", "No.", "There is no dog", "Yes", "It is not there"]
    labels = [True, False, True, False, True, False]
    found = pope(answers, labels)
    assert found.accuracy == pytest.approx(4 / 6)
    assert found.precision == pytest.approx(2 / 3)
    assert found.recall == pytest.approx(2 / 3)
    assert found.f1 == pytest.approx(2 / 3)
    assert found.yes_rate == pytest.approx(0.5)


def test_whatever_is_not_denied_counts_as_yes() -> None:
    assert says_yes("A snowboard, surely")
    assert says_yes("Yes. There is not much else.")
    assert says_yes("I know nothing")
    assert not says_yes("no")
    assert not says_yes("No, there is none")
    assert says_yes("There aren't any")  # as the benchmark's own evaluation has it


def test_pope_of_somebody_who_never_says_yes_divides_by_nothing() -> None:
    found = pope(["no", "no"], [True, False])
    assert (found.precision, found.recall, found.f1, found.yes_rate) == (0, 0, 0, 0)


def test_pope_files_are_json_lines(tmp_path: Path) -> None:
    path = tmp_path / "coco_pope_random.json"
    row = {"question_id": 1, "image": "a.jpg", "text": "Is there a dog?", "label": "yes"}
    path.write_text(json.dumps(row) + "\n\n" + json.dumps({**row, "label": "no"}) + "\n")
    assert [question.label for question in read_pope(path)] == [True, False]
    for broken in ("{", '{"image": "a"}', json.dumps({**row, "label": "maybe"})):
        path.write_text(json.dumps(row) + "\n" + broken)
        with pytest.raises(DSAError, match="line 2, is no POPE question"):
            read_pope(path)
    path.write_text("")
    with pytest.raises(DSAError, match="holds no questions"):
        read_pope(path)
    with pytest.raises(DSAError, match="cannot be read"):
        read_pope(tmp_path / "missing.json")
    with pytest.raises(DSAError, match="do not fit"):
        pope(["yes"], [])
    with pytest.raises(DSAError, match="no answers"):
        pope([], [])


MEANINGS = {"sofa": [1.0, 0.1], "couch": [1.0, 0.0], "cat": [0.0, 1.0], "dog": [0.3, 1.0]}


def embed(phrases: Sequence[str]) -> NDArray[np.float64]:
    return np.array([MEANINGS[phrase] for phrase in phrases])


def test_a_couch_supports_a_sofa() -> None:
    found = semantic_hallucination([["sofa", "cat"], [], ["dog"]], [["couch"], ["cat"], []], embed)
    assert found.support[0][0] > 0.99
    np.testing.assert_array_equal(found.rates, [0.5, np.nan, 1.0])
    assert found.rate == pytest.approx(2 / 3)


def test_nothing_asserted_is_nothing_made_up() -> None:
    assert semantic_hallucination([[], []], [[], []], embed).rate == 0


def test_semantic_hallucination_refuses_what_does_not_fit() -> None:
    with pytest.raises(DSAError, match="do not fit"):
        semantic_hallucination([["cat"]], [], embed)
    with pytest.raises(DSAError, match="cosine in"):
        semantic_hallucination([["cat"]], [["cat"]], embed, threshold=1.5)
    with pytest.raises(DSAError, match="one finite row"):
        semantic_hallucination([["cat"]], [["dog"]], lambda phrases: np.zeros((2, 3)))
