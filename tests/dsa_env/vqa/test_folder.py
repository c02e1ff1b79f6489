"""Folders of questions of either format, split as the bank splits their pictures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dsa_env.errors import DSAError
from dsa_env.vqa.folder import make_data, read_folder
from dsa_env.vqa.generation import write_questions
from tests.dsa_env.vqa.small_world import SIZES, CountedWords, small_bank, write_scenes

ENCODER: Any = CountedWords()


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_scenes(tmp_path_factory.mktemp("world"))
    for split in SIZES:
        write_questions(folder, split, per_image=5)
    return folder


def test_questions_follow_their_pictures_split(root: Path) -> None:
    bank = small_bank()
    data = make_data(bank, read_folder(root), ENCODER)
    for split in SIZES:
        own = getattr(data, split)
        assert len(own) > 0
        assert set(own.image) <= set(bank.split_images(split))
        assert own.families == ("compare", "count", "exist", "query", "relate")
    assert not set(data.train.image) & set(data.test.image)


def test_fewer_pictures_are_the_same_for_the_same_seed(root: Path) -> None:
    bank, asked = small_bank(), read_folder(root)
    few, again, other = (make_data(bank, asked, ENCODER, images=15, seed=s) for s in (0, 0, 1))
    assert len(np.unique(few.train.image)) == 15
    assert len(np.unique(few.test.image)) == 5
    assert few.train.image.tolist() == again.train.image.tolist() != other.train.image.tolist()


def test_a_split_without_questions_is_named(root: Path) -> None:
    asked = [one for one in read_folder(root) if "test" not in one.image]
    with pytest.raises(DSAError, match="split 'test'"):
        make_data(small_bank(), asked, ENCODER)


def test_vqav2_is_recognised(tmp_path: Path) -> None:
    question = {"question_id": 1, "image_id": 4, "question": "What?"}
    answer = {**question, "multiple_choice_answer": "cat", "answers": [{"answer": "cat"}] * 10}
    for part in ("train2014", "val2014"):
        (tmp_path / f"v2_OpenEnded_mscoco_{part}_questions.json").write_text(
            json.dumps({"questions": [question]})
        )
    with pytest.raises(DSAError, match="no annotations"):
        read_folder(tmp_path)
    (tmp_path / "v2_mscoco_val2014_annotations.json").write_text(
        json.dumps({"annotations": [answer]})
    )
    (found,) = read_folder(tmp_path)
    assert (found.image, found.answer, found.family) == ("4", "cat", "other")


def test_the_originals_unanswered_test_questions_are_left_out(root: Path, tmp_path: Path) -> None:
    for name in ("train", "val"):
        file = f"CLEVR_{name}_questions.json"
        (tmp_path / file).write_text((root / "questions" / file).read_text())
    row = {"image_filename": "CLEVR_test_000000.png", "question": "Is there a cube?"}
    (tmp_path / "CLEVR_test_questions.json").write_text(json.dumps({"questions": [row]}))
    assert {one.image.split("_")[1] for one in read_folder(tmp_path)} == {"train", "val"}


def test_a_folder_without_questions_says_what_is_looked_for(tmp_path: Path) -> None:
    with pytest.raises(DSAError, match=r"holds no questions.*CLEVR_\*_questions"):
        read_folder(tmp_path)
