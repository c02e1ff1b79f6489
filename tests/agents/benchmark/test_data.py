"""Queries are prompts about pictures of a split, with what people wrote about them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dsa_agents.benchmark.data import make_queries, open_dataset
from dsa_env.bank import FeatureBank
from dsa_env.errors import DSAError


def made(folder: Path, *, texts: bool = True, files: bool = True) -> FeatureBank:
    rng = np.random.default_rng(0)
    paths = []
    for number in range(6):
        paths.append(folder / f"{number}.png")
        Image.new("RGB", (4, 4), (40 * number, 0, 0)).save(paths[-1])
    return FeatureBank.from_arrays(
        text=rng.normal(size=(10, 4)),
        coarse=rng.normal(size=(6, 4)),
        fine=rng.normal(size=(6, 4)),
        positives=[0, 0, 1, 1, 2, 2, 3, 3, 4, 4],
        splits=["train", "test", "test", "test", "validation", "test"],
        texts=[f"text {n}" for n in range(10)] if texts else None,
        image_files=paths if files else None,
    )


def test_every_prompt_is_asked_about_every_picture_with_captions(tmp_path: Path) -> None:
    found = make_queries(made(tmp_path), "test", ("a", "b"), None)
    assert found.images.tolist() == [1, 1, 2, 2, 3, 3]  # picture 5 has no captions
    assert found.prompts == ["a", "b"] * 3
    assert found.references[2] == ["text 4", "text 5"]
    assert found.pictures([0])[0].getpixel((0, 0)) == (40, 0, 0)


def test_drawn_pictures_are_the_same_for_the_same_seed(tmp_path: Path) -> None:
    bank = made(tmp_path)
    first, again = (make_queries(bank, "test", ("a",), 2, seed=3).images for _ in range(2))
    assert len(first) == 2
    assert (first == again).all()
    assert len(make_queries(bank, "test", ("a",), 99)) == 3


def test_what_captions_need_is_missed_by_name(tmp_path: Path) -> None:
    with pytest.raises(DSAError, match="no texts"):
        make_queries(made(tmp_path, texts=False), "test", ("a",), None)
    with pytest.raises(DSAError, match="pictures"):
        make_queries(made(tmp_path, files=False), "test", ("a",), None)
    bank = made(tmp_path)
    (tmp_path / "2.png").unlink()
    with pytest.raises(DSAError, match=r"2\.png is missing"):
        make_queries(bank, "test", ("a",), None)


def test_a_picture_that_is_broken_is_named(tmp_path: Path) -> None:
    bank = made(tmp_path)
    (tmp_path / "1.png").write_bytes(b"no picture")
    with pytest.raises(DSAError, match=r"1\.png cannot be read"):
        make_queries(bank, "test", ("a",), None).pictures([0])


@pytest.mark.parametrize(
    ("name", "more", "message"),
    [
        ("embeded", {}, "embedded"),
        ("coco", {}, "--root"),
        (".", {}, "holds no bank.json"),
        ("embedded", {"encoder": "e"}, "leave them out"),
    ],
)
def test_a_dataset_that_cannot_be_had_is_told(
    name: str, more: dict[str, str], message: str, tmp_path: Path
) -> None:
    where = str(tmp_path) if name == "." else name
    with pytest.raises(DSAError, match=message):
        open_dataset(where, tmp_path / "out", **more)
