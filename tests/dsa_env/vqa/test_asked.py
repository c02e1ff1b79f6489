"""Questions find their pictures in a bank by file name or by number."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from dsa_env.bank import FeatureBank
from dsa_env.errors import DSAError
from dsa_env.vqa.asked import Asked, image_ids, keep_known, read_clevr


def bank_of(files: list[str] | None) -> FeatureBank:
    eye = np.eye(3)
    return FeatureBank.from_arrays(eye, eye, eye, image_files=files, splits=["train"] * 3)


def test_names_and_numbers_find_the_picture() -> None:
    bank = bank_of(["val2014/COCO_val2014_000000000042.jpg", "x/COCO_val2014_000000000007.jpg",
                    "other.png"])  # fmt: skip
    asked = ["42", "000000000007.jpg", "other.png", "COCO_val2014_000000000042.jpg", "9", "a.png"]
    assert image_ids(bank, asked).tolist() == [0, 1, 2, 0, -1, -1]


def test_a_number_that_stands_for_two_pictures_finds_none() -> None:
    bank = bank_of(["train/a_000001.png", "val/b_000001.png", "val/b_000002.png"])
    assert image_ids(bank, ["1", "b_000001.png", "2"]).tolist() == [-1, 1, 2]


def test_questions_about_other_pictures_are_left_out() -> None:
    bank = bank_of(["a.png", "b.png", "c.png"])
    asked = [Asked("b.png", "?", "yes"), Asked("z.png", "?", "no")]
    kept, ids = keep_known(bank, asked)
    assert (kept, ids.tolist()) == (asked[:1], [1])
    with pytest.raises(DSAError, match=r"None of the 1 questions.*z.png"):
        keep_known(bank, asked[1:])


def test_a_bank_without_names_says_so() -> None:
    with pytest.raises(DSAError, match="does not name its pictures"):
        image_ids(bank_of(None), ["a.png"])


def test_the_originals_test_split_has_no_answers(tmp_path: Path) -> None:
    row = {"image_filename": "CLEVR_test_000000.png", "question": "Is there a cube?"}
    (tmp_path / "CLEVR_test_questions.json").write_text(json.dumps({"questions": [row]}))
    with pytest.raises(DSAError, match="has no answers"):
        read_clevr(tmp_path, "test")
