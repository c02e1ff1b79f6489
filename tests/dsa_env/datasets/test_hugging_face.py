"""Folders that the library `datasets` wrote."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

datasets = pytest.importorskip("datasets")

from dsa_env.datasets.registry import ReadOptions, read_dataset  # noqa: E402
from dsa_env.errors import DSAError  # noqa: E402


@pytest.fixture(autouse=True)
def _own_cache_and_no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a local folder needs no network")

    monkeypatch.setattr("socket.getaddrinfo", refuse)
    monkeypatch.setenv("DSA_CACHE", str(tmp_path / "cache"))
    datasets.disable_progress_bars()


@pytest.fixture
def files(tmp_path: Path, write_images: Any) -> list[Path]:
    names = [tmp_path / "pictures" / f"{n}.png" for n in range(10)]
    write_images(names)
    return names


def _table(files: list[Path], **columns: Any) -> Any:
    rows = {"image": [str(file) for file in files], **columns}
    table = datasets.Dataset.from_dict(rows)
    return table.cast_column("image", datasets.Image())


def _texts(count: int) -> list[list[str]]:
    return [[f"{n} a", f"{n} b", " "][: 2 + (n == 99)] for n in range(count)]


def test_images_inside_a_saved_table_become_files_once(files: list[Path], tmp_path: Path) -> None:
    _table(files, caption=_texts(10)).save_to_disk(tmp_path / "saved")
    dataset = read_dataset("hugging_face", tmp_path / "saved")
    assert {split: len(part) for split, part in dataset.splits.items()} == {
        "train": 8, "validation": 1, "test": 1,
    }  # fmt: skip
    contents = {file.read_bytes(): n for n, file in enumerate(files)}
    for picture in [p for part in dataset.splits.values() for p in part]:
        assert picture.file.is_relative_to(tmp_path / "cache" / "hugging_face")
        assert picture.file.suffix == ".png"
        n = contents.pop(picture.file.read_bytes())
        assert [caption.text for caption in picture.captions] == [f"{n} a", f"{n} b"]
        assert not picture.facts_known
    assert not contents
    written = {p.file: p.file.stat().st_mtime_ns for p in dataset.splits["train"]}
    assert read_dataset("hugging_face", tmp_path / "saved").splits == dataset.splits
    assert all(file.stat().st_mtime_ns == when for file, when in written.items())
    elsewhere = ReadOptions(extracted=tmp_path / "mine")
    moved = read_dataset("hugging_face", tmp_path / "saved", elsewhere)
    assert moved.root == tmp_path / "mine"
    assert [p.file.name for p in moved.splits["train"]] == [
        p.file.name for p in dataset.splits["train"]
    ]


def test_one_image_in_several_rows_is_one_picture(files: list[Path], tmp_path: Path) -> None:
    names = files + files
    _table(names, text=[f"caption {n}" for n in range(20)]).save_to_disk(tmp_path / "saved")
    dataset = read_dataset("hugging_face", tmp_path / "saved")
    pictures = [p for part in dataset.splits.values() for p in part]
    assert len(pictures) == 10
    assert all(len(picture.captions) == 2 for picture in pictures)


def test_splits_come_from_the_dict_or_a_column(files: list[Path], tmp_path: Path) -> None:
    parts = {
        "train": _table(files[:6], caption=["x"] * 6),
        "validation": _table(files[6:7], caption=["x"]),
        "test": _table(files[7:], caption=["x"] * 3),
    }
    datasets.DatasetDict(parts).save_to_disk(tmp_path / "dict")
    counts = {"train": 6, "validation": 1, "test": 3}
    found = read_dataset("hugging_face", tmp_path / "dict").splits
    assert {split: len(part) for split, part in found.items()} == counts
    words = ["train"] * 6 + ["val"] + ["test"] * 3
    whole = _table(files, caption=["x"] * 10, split=words, facts=[["dog"]] * 10)
    datasets.DatasetDict({"test": whole}).save_to_disk(tmp_path / "column")
    found = read_dataset("hugging_face", tmp_path / "column").splits
    assert {split: len(part) for split, part in found.items()} == counts
    assert found["validation"][0].facts == {"dog"}
    assert found["validation"][0].facts_known


def test_the_same_image_in_two_splits_is_refused(files: list[Path], tmp_path: Path) -> None:
    parts = {
        "train": _table(files[:6], caption=["x"] * 6),
        "test": _table(files[5:], caption=["x"] * 5),
    }
    datasets.DatasetDict(parts).save_to_disk(tmp_path / "dict")
    with pytest.raises(DSAError, match="is in the split train and in test"):
        read_dataset("hugging_face", tmp_path / "dict")


def test_parquet_files_are_read_with_the_splits_of_their_names(
    files: list[Path], tmp_path: Path
) -> None:
    (tmp_path / "parquet" / "data").mkdir(parents=True)
    _table(files[:4], caption=_texts(4)).to_parquet(
        tmp_path / "parquet" / "data" / "train-00000-of-00002.parquet"
    )
    _table(files[4:8], caption=_texts(4)).to_parquet(
        tmp_path / "parquet" / "data" / "train-00001-of-00002.parquet"
    )
    _table(files[8:9], caption=_texts(1)).to_parquet(
        tmp_path / "parquet" / "data" / "val-00000-of-00001.parquet"
    )
    _table(files[9:], caption=_texts(1)).to_parquet(
        tmp_path / "parquet" / "data" / "test-00000-of-00001.parquet"
    )
    dataset = read_dataset("hugging_face", tmp_path / "parquet")
    assert {split: len(part) for split, part in dataset.splits.items()} == {
        "train": 8, "validation": 1, "test": 1,
    }  # fmt: skip
    one = read_dataset("hugging_face", tmp_path / "parquet/data/train-00000-of-00002.parquet")
    assert sum(map(len, one.splits.values())) == 4


def test_paths_and_named_columns_are_used(files: list[Path], tmp_path: Path) -> None:
    table = datasets.Dataset.from_dict(
        {"where": [f"{file.name}" for file in files], "words": ["x"] * 10, "more": [1] * 10}
    )
    table.save_to_disk(tmp_path / "saved")
    with pytest.raises(DSAError, match=r"no image column .* are where \(string\), words \(string"):
        read_dataset("hugging_face", tmp_path / "saved")
    named = {"image_column": "where", "images": tmp_path / "pictures"}
    with pytest.raises(DSAError, match="no caption column 'more' that can be used"):
        read_dataset(
            "hugging_face", tmp_path / "saved", ReadOptions(**named, caption_column="more")
        )
    options = ReadOptions(**named, caption_column="words")
    dataset = read_dataset("hugging_face", tmp_path / "saved", options)
    assert dataset.splits["train"][0].file in files
    assert dataset.root == tmp_path / "pictures"


def test_what_is_bad_is_named_counted_and_left_out(files: list[Path], tmp_path: Path) -> None:
    rows = [{"bytes": file.read_bytes(), "path": None} for file in files]
    rows += [{"bytes": b"", "path": "gone.png"}, {"bytes": b"", "path": None}]
    captions = [["x"]] * 8 + [[" ", "y"], []] + [["x"]] * 2
    features = datasets.Features(
        {"image": datasets.Image(), "caption": datasets.List(datasets.Value("string"))}
    )
    table = datasets.Dataset.from_dict({"image": rows, "caption": captions}, features=features)
    table.save_to_disk(tmp_path / "saved")
    with pytest.raises(DSAError, match="mend it, or leave out"):
        read_dataset("hugging_face", tmp_path / "saved")
    dataset = read_dataset("hugging_face", tmp_path / "saved", ReadOptions(on_bad="skip"))
    assert dataset.problems.counts == {
        "missing image": 1, "empty caption": 1, "no captions": 1, "bad record": 1,
    }  # fmt: skip
    assert sum(map(len, dataset.splits.values())) == 9


def test_a_limit_bounds_what_is_written_out(files: list[Path], tmp_path: Path) -> None:
    _table(files, caption=_texts(10)).save_to_disk(tmp_path / "saved")
    options = ReadOptions(limit=1, held_out_share=0.25, extracted=tmp_path / "out")
    dataset = read_dataset("hugging_face", tmp_path / "saved", options)
    assert all(len(part) == 1 for part in dataset.splits.values())
    assert len(list((tmp_path / "out").iterdir())) < 10


def test_other_and_damaged_folders_are_named(files: list[Path], tmp_path: Path) -> None:
    with pytest.raises(DSAError, match="holds neither what datasets' save_to_disk writes"):
        read_dataset("hugging_face", tmp_path / "pictures")
    _table(files, caption=_texts(10)).save_to_disk(tmp_path / "saved")
    arrow = next((tmp_path / "saved").glob("*.arrow"))
    arrow.write_bytes(arrow.read_bytes()[:300])
    with pytest.raises(DSAError, match="cannot be read by datasets"):
        read_dataset("hugging_face", tmp_path / "saved")
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(DSAError, match="cannot be read by datasets"):
        read_dataset("hugging_face", tmp_path / "bad.parquet")


def test_without_the_library_the_error_says_what_to_install(tmp_path: Path) -> None:
    program = (
        "import sys\nsys.modules['datasets'] = None\n"
        "from dsa_env.datasets.registry import read_dataset\n"
        f"read_dataset('hugging_face', {str(tmp_path)!r})"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    assert b"pip install 'dsa-env[datasets]'" in result.stderr
