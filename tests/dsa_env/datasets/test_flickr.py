"""Flickr30k in the forms in which it goes around."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dsa_env.datasets import Dataset
from dsa_env.datasets.registry import ReadOptions, read_dataset
from dsa_env.errors import DSAError

NAMES = [f"{1000092795 + n}.jpg" for n in range(10)]


@pytest.fixture
def root(tmp_path: Path, write_images: Any) -> Path:
    write_images(tmp_path / "flickr30k-images" / name for name in NAMES)
    return tmp_path


def _karpathy(root: Path, write_json: Any, count: int = 5) -> Path:
    splits = ["train"] * 8 + ["val", "test"]
    images = [
        {
            "sentids": list(range(5)), "imgid": n, "split": split, "filename": name,
            "sentences": [
                {"tokens": ["a"], "raw": f"Caption {m}.", "imgid": n, "sentid": 5 * n + m}
                for m in range(count)
            ],
        }
        for n, (name, split) in enumerate(zip(NAMES, splits, strict=True))
    ]  # fmt: skip
    file: Path = write_json(
        root / "dataset_flickr30k.json", {"images": images, "dataset": "flickr30k"}
    )
    return file


def _texts(dataset: Dataset) -> dict[str, list[str]]:
    return {
        picture.file.name: [caption.text for caption in picture.captions]
        for part in dataset.splits.values()
        for picture in part
    }


def test_karpathys_split_is_read(root: Path, write_json: Any) -> None:
    _karpathy(root, write_json)
    dataset = read_dataset("flickr30k", root)
    assert {split: len(part) for split, part in dataset.splits.items()} == {
        "train": 8, "validation": 1, "test": 1,
    }  # fmt: skip
    assert _texts(dataset)[NAMES[0]] == [f"Caption {n}." for n in range(5)]
    assert not any(picture.facts_known for picture in dataset.splits["train"])
    (root / "flickr30k-images").rename(root / "elsewhere")
    with pytest.raises(DSAError, match="missing image"):
        read_dataset("flickr30k", root)
    moved = read_dataset("flickr30k", root, ReadOptions(images=root / "elsewhere"))
    assert _texts(moved) == _texts(dataset)


FORMS = {
    "results_20130124.token": [f"{name}#{n}\tText {n} | of it ." for name in NAMES for n in (0, 1)],
    "results.csv": ["image_name| comment_number| comment"]
    + [f"{name}| {n}| Text {n} | of it ." for name in NAMES for n in (0, 1)],
    "captions.txt": ["image,caption"]
    + [f'{name},"Text {n} | of it ."' for name in NAMES for n in (0, 1)],
    "flickr_annotations_30k.csv": ["raw,sentids,split,filename,img_id"]
    + [
        f'"[""Text 0 | of it ."", ""Text 1 | of it .""]","[0, 1]",{split},{name},0'
        for name, split in zip(NAMES, ["train"] * 8 + ["val", "test"], strict=True)
    ],
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_captions(root: Path, form: str) -> None:
    (root / form).write_text("\n".join(FORMS[form]) + "\n", encoding="utf-8")
    dataset = read_dataset("flickr30k", root)
    assert _texts(dataset) == {name: ["Text 0 | of it .", "Text 1 | of it ."] for name in NAMES}
    assert [len(part) for part in dataset.splits.values()] == [8, 1, 1]
    assert _texts(read_dataset("flickr30k", root / form)) == _texts(dataset)


def test_the_line_without_its_second_bar_keeps_its_comment(root: Path) -> None:
    lines = [*FORMS["results.csv"], f"{NAMES[0]}| 4   A dog runs across the grass ."]
    (root / "results.csv").write_text("\n".join(lines))
    dataset = read_dataset("flickr30k", root)
    assert _texts(dataset)[NAMES[0]][-1] == "A dog runs across the grass ."
    assert not dataset.problems


def test_what_is_bad_is_named_counted_and_left_out(root: Path, write_json: Any) -> None:
    lines = [*FORMS["results.csv"], "no bar at all", f"{NAMES[0]}| 2| ", "gone.jpg| 0| A dog"]
    (root / "results.csv").write_text("\n".join(lines))
    with pytest.raises(DSAError, match=r"bad record: line 22 of results\.csv"):
        read_dataset("flickr30k", root)
    dataset = read_dataset("flickr30k", root, ReadOptions(on_bad="skip"))
    assert dataset.problems.counts == {"missing image": 1, "empty caption": 1, "bad record": 1}
    _karpathy(root, write_json, count=0)
    with pytest.raises(DSAError, match="no captions"):
        read_dataset("flickr30k", root)


def test_files_that_are_cut_off_empty_or_missing_are_named(root: Path, write_json: Any) -> None:
    with pytest.raises(DSAError, match="has no captions of Flickr30k"):
        read_dataset("flickr30k", root)
    file = _karpathy(root, write_json)
    file.write_text(file.read_text()[:500])
    with pytest.raises(DSAError, match=r"dataset_flickr30k\.json is not valid JSON"):
        read_dataset("flickr30k", root)
    file.unlink()
    (root / "results.csv").write_text("")
    with pytest.raises(DSAError, match=r"results\.csv is empty"):
        read_dataset("flickr30k", root)
