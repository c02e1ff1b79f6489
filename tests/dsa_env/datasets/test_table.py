"""A plain table of images and captions, and what people get wrong in one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dsa_env.datasets import Caption, Dataset
from dsa_env.datasets.registry import ReadOptions, read_dataset
from dsa_env.errors import DSAError

NAMES = [f"pictures/{n}.png" for n in range(8)]


@pytest.fixture
def root(tmp_path: Path, write_images: Any) -> Path:
    write_images(tmp_path / name for name in NAMES)
    return tmp_path


def _csv(root: Path, *lines: str, name: str = "data.csv") -> Path:
    (root / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return root / name


def _jsonl(root: Path, *records: object) -> Path:
    lines = [record if isinstance(record, str) else json.dumps(record) for record in records]
    return _csv(root, *lines, name="data.jsonl")


def _names(dataset: Dataset) -> dict[str, list[str]]:
    return {split: [p.file.stem for p in part] for split, part in dataset.splits.items()}


def test_image_and_caption_are_enough(root: Path) -> None:
    path = _csv(root, "image,caption", *(f"{name},picture {name}" for name in NAMES * 2))
    dataset = read_dataset("table", path)
    assert {split: len(part) for split, part in dataset.splits.items()} == {
        "train": 6, "validation": 1, "test": 1,
    }  # fmt: skip
    picture = dataset.splits["train"][0]
    assert picture.file.exists()
    text = f"picture pictures/{picture.file.name}"
    assert [caption.text for caption in picture.captions] == [text, text]
    assert not picture.facts_known
    assert _names(read_dataset("table", root)) == _names(dataset)


def test_splits_kinds_and_facts_are_taken_from_their_columns(root: Path) -> None:
    path = _csv(
        root,
        "\ufeffimage, split,caption,kind,facts",
        '"pictures/0.png",train,"A dog, and a cat",object,dog; cat ;dog',
        "pictures/0.png,train,Grass,,",
        f"{root / NAMES[1]},val,A tree,object,tree",
        "pictures/2.png,TEST,Sky,scene,sky",
    )
    dataset = read_dataset("table", path)
    assert _names(dataset) == {"train": ["0"], "validation": ["1"], "test": ["2"]}
    (picture,) = dataset.splits["train"]
    assert picture.captions == (
        Caption("A dog, and a cat", "object", ("dog", "cat")),
        Caption("Grass", "caption"),
    )
    assert picture.facts == {"dog", "cat"}
    assert picture.facts_known


def test_json_lines_and_json_lists_read_like_csv(root: Path, write_json: Any) -> None:
    records = [
        {"image": NAMES[0], "caption": "A dog", "split": "train", "facts": ["dog"]},
        {"image": NAMES[1], "caption": ["A", "B"], "split": "dev", "facts": [["a"], []]},
        {"image": NAMES[2], "caption": "C", "split": "test", "facts": []},
    ]
    dataset = read_dataset("table", _jsonl(root, *records))
    assert dataset.splits["validation"][0].captions == (
        Caption("A", "caption", ("a",)), Caption("B"),
    )  # fmt: skip
    listed = write_json(root / "list" / "data.json", records)
    again = read_dataset("table", listed, ReadOptions(images=root))
    assert again.splits == dataset.splits


def test_json_records_that_are_none_are_left_out(root: Path, write_json: Any) -> None:
    good = [{"image": name, "caption": "x"} for name in NAMES]
    write_json(root / "data.json", [*good, None, [1], "x", 2])
    dataset = read_dataset("table", root, ReadOptions(on_bad="skip"))
    assert dataset.problems.counts == {"bad record": 4}
    assert sum(map(len, dataset.splits.values())) == len(NAMES)


def test_other_column_names_are_found_or_named(root: Path) -> None:
    path = _csv(root, "file_name,text,words", *(f"{name},a,b" for name in NAMES))
    assert read_dataset("table", path).splits["train"][0].captions[0].text == "a"
    named = read_dataset("table", path, ReadOptions(caption_column="words"))
    assert named.splits["train"][0].captions[0].text == "b"
    with pytest.raises(DSAError, match=r"no column 'images'; its columns are file_name, text, w"):
        read_dataset("table", path, ReadOptions(image_column="images"))
    _csv(root, "image,title", *(f"{name},a" for name in NAMES))
    with pytest.raises(DSAError, match=r"no column 'caption' or .*its columns are image, title"):
        read_dataset("table", root)


def test_bad_rows_are_named_counted_and_left_out(root: Path) -> None:
    good = [{"image": name, "caption": "x"} for name in NAMES[2:]]
    path = _jsonl(
        root,
        *good,
        "{broken",
        "[1]",
        {"image": NAMES[0], "caption": " "},
        {"image": NAMES[1], "caption": "x", "facts": "a;b"},
        {"image": NAMES[1], "caption": "x", "facts": 3},
        {"image": None, "caption": "x"},
        {"image": "gone.png", "caption": "x"},
    )
    with pytest.raises(DSAError, match=r"bad record: line 7 of data\.jsonl \(no JSON"):
        read_dataset("table", path)
    dataset = read_dataset("table", path, ReadOptions(on_bad="skip"))
    assert dataset.problems.counts == {
        "missing image": 1, "empty caption": 1, "no captions": 1, "bad record": 4,
    }  # fmt: skip
    csv = _csv(root, "image,caption", *(f"{n},x" for n in NAMES), "pictures/0.png,a dog, a cat")
    with pytest.raises(DSAError, match=r"line 10 of data\.csv \(more or fewer fields"):
        read_dataset("table", csv)


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (["a.png,x,train", "a.png,y,test"], "is in the split train and in test"),
        (["a.png,x,train", "b.png,y,"], "have no split and others have one"),
        (["a.png,x,tran"], "Unknown split in line 2 of data.csv 'tran'. Did you mean 'train'"),
        (['a.png,"x,train'], "is no CSV at line 2"),
        ([], "has no rows that can be used"),
    ],
)
def test_a_table_that_contradicts_itself_is_refused(root: Path, rows: list[str], said: str) -> None:
    with pytest.raises(DSAError, match=said):
        read_dataset("table", _csv(root, "image,caption,split", *rows))


def test_what_is_no_table_is_refused(root: Path) -> None:
    with pytest.raises(DSAError, match=r"should hold one table .* it holds none"):
        read_dataset("table", root / "pictures")
    with pytest.raises(DSAError, match="is no table"):
        read_dataset("table", root / NAMES[0])
    (root / "data.csv").write_bytes(b"image,caption\na.png,\xff\xfe\n")
    with pytest.raises(DSAError, match="not UTF-8"):
        read_dataset("table", root)
    with pytest.raises(DSAError, match="does not exist"):
        read_dataset("table", root / "gone.csv")
    _csv(root, "image,caption", name="other.csv")
    with pytest.raises(DSAError, match=r"it holds data\.csv, other\.csv: name the file"):
        read_dataset("table", root)
