"""The CLEVR v1.0 format on disk: written, read back, and read as the original has it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dsa_env.datasets.clevr import (
    captions_file,
    image_file,
    read_dataset,
    read_scenes,
    read_split,
    scenes_file,
    write_world,
)
from dsa_env.datasets.registry import ReadOptions
from dsa_env.datasets.registry import read_dataset as read_by_name
from dsa_env.errors import DSAError


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("world")
    write_world(root, "train", 12, workers=1)
    write_world(root, "validation", 5, workers=1)
    return root


def test_the_layout_is_clevrs(world: Path) -> None:
    assert (world / "images" / "val" / "CLEVR_val_000004.png").exists()
    document = json.loads((world / "scenes" / "CLEVR_val_scenes.json").read_text())
    scene = document["scenes"][0]
    assert {
        "image_index", "image_filename", "split", "directions", "relationships", "objects",
    } <= set(scene)  # fmt: skip
    assert {
        "shape", "size", "material", "color", "3d_coords", "pixel_coords", "rotation",
    } <= set(scene["objects"][0])  # fmt: skip
    coco = json.loads(captions_file(world, "val").read_text())
    assert {"id", "file_name", "width", "height"} <= set(coco["images"][0])
    assert {"id", "image_id", "caption"} <= set(coco["annotations"][0])
    assert len({row["id"] for row in coco["annotations"]}) == 20


def test_two_processes_write_the_same_bytes_as_one(world: Path, tmp_path: Path) -> None:
    write_world(tmp_path, "train", 12, workers=2)
    for name in ("images/train/CLEVR_train_000007.png", "scenes/CLEVR_train_scenes.json"):
        assert (tmp_path / name).read_bytes() == (world / name).read_bytes()


def test_reading_gives_pictures_with_captions_and_facts(world: Path) -> None:
    dataset = read_dataset(world)
    assert {name: len(rows) for name, rows in dataset.splits.items()} == {
        "train": 12,
        "validation": 5,
    }
    for picture in dataset.splits["train"]:
        assert picture.file.exists()
        assert len(picture.captions) == 4
        assert all(set(caption.facts) <= picture.facts for caption in picture.captions)


def _original(root: Path, split: str = "val", numbers: Iterable[int] = (0,)) -> Path:
    """A folder as the original CLEVR has it: no captions, no properties."""
    objects = [
        {
            "shape": shape, "size": "large", "material": "metal", "color": color,
            "3d_coords": [x, 0.0, 0.7], "pixel_coords": [100, 90, 9], "rotation": 1.0,
        }
        for shape, color, x in (("cube", "red", -1.0), ("sphere", "blue", 1.0))
    ]  # fmt: skip
    scenes = [
        {
            "image_index": number,
            "image_filename": f"CLEVR_{split}_{number:06d}.png",
            "split": split,
            "directions": {},
            "objects": objects,
            "relationships": {
                "left": [[], [0]], "right": [[1], []], "front": [[], []], "behind": [[], []],
            },
        }
        for number in numbers
    ]  # fmt: skip
    scenes_file(root, split).parent.mkdir(parents=True, exist_ok=True)
    scenes_file(root, split).write_text(json.dumps({"info": {}, "scenes": scenes}))
    image_file(root, split, "").mkdir(parents=True, exist_ok=True)
    for scene in scenes:
        picture = image_file(root, split, str(scene["image_filename"]))
        Image.fromarray(np.zeros((32, 48, 3), dtype=np.uint8)).save(picture)
    return root


def test_the_original_format_is_read_and_captioned(tmp_path: Path) -> None:
    (picture,) = read_split(_original(tmp_path), "validation", captions=6)
    assert len(picture.captions) == 6
    assert "a red cube left of a blue sphere" in picture.facts
    assert all(set(caption.facts) <= picture.facts for caption in picture.captions)


def test_what_is_missing_or_broken_is_named(tmp_path: Path) -> None:
    with pytest.raises(DSAError, match="scenes/CLEVR"):
        read_dataset(tmp_path)
    root = _original(tmp_path)
    image_file(root, "val", "CLEVR_val_000000.png").unlink()
    with pytest.raises(DSAError, match=r"missing image: .*CLEVR_val_000000\.png"):
        read_split(root, "validation")
    scenes_file(root, "val").write_text('{"scenes": [{"objects": []}]}')
    with pytest.raises(DSAError, match=r"record 0 of .* \(lacks 'image_index'"):
        read_scenes(scenes_file(root, "val"))
    scenes_file(root, "val").write_text('{"scenes": []}')
    with pytest.raises(DSAError, match="has no records at 'scenes"):
        read_scenes(scenes_file(root, "val"))
    with pytest.raises(DSAError, match="at least 1"):
        write_world(tmp_path, "train", 0)


def _names(root: Path, **options: Any) -> dict[str, list[str]]:
    dataset = read_by_name("clevr", root, ReadOptions(**options))
    return {split: [p.file.name for p in pictures] for split, pictures in dataset.splits.items()}


def test_the_originals_val_is_the_test_split_and_train_gives_validation(tmp_path: Path) -> None:
    _original(tmp_path, "train", range(20))
    names = _names(_original(tmp_path, "val", range(5)))
    assert {split: len(part) for split, part in names.items()} == {
        "train": 18, "validation": 2, "test": 5,
    }  # fmt: skip
    assert names["test"] == [f"CLEVR_val_{n:06d}.png" for n in range(5)]
    assert names == _names(tmp_path)
    assert names["validation"] != _names(tmp_path, seed=1)["validation"]
    limited = _names(tmp_path, limit=1)
    assert limited == {split: part[:1] for split, part in names.items()}


@pytest.mark.parametrize("split", ["train", "val"])
def test_one_split_alone_is_parted_into_three(tmp_path: Path, split: str) -> None:
    names = _names(_original(tmp_path, split, range(10)))
    assert {name: len(part) for name, part in names.items()} == {
        "train": 8, "validation": 1, "test": 1,
    }  # fmt: skip


def test_every_split_of_the_embedded_world_stays_as_it_is(world: Path, tmp_path: Path) -> None:
    for split, count in (("train", 4), ("validation", 2), ("test", 3)):
        write_world(tmp_path, split, count, workers=1)
    by_name = read_by_name("clevr", tmp_path)
    assert by_name.splits == read_dataset(tmp_path).splits
    assert by_name.provenance["pictures"] == {"train": 4, "validation": 2, "test": 3}


@pytest.mark.parametrize("spelling", ["spit", None, "flat"])
def test_scenes_with_a_misspelt_or_no_split_and_flat_folders_are_read(
    tmp_path: Path, spelling: str | None
) -> None:
    expected = read_by_name("clevr", _original(tmp_path / "a", "val", range(4)))
    root = _original(tmp_path / "b", "val", range(4))
    document = json.loads(scenes_file(root, "val").read_text())
    for scene in document["scenes"]:
        scene |= {spelling: scene["split"]} if spelling else {}
        del scene["split"]
    scenes_file(root, "val").unlink()
    (root / "CLEVR_val_scenes.json").write_text(json.dumps(document))
    if spelling == "flat":
        (root / "images" / "val").rename(root / "val")
        (root / "images").rmdir()
    found = read_by_name("clevr", root)
    assert [p.captions for p in found.splits["train"]] == [
        p.captions for p in expected.splits["train"]
    ]


def test_what_is_bad_is_named_counted_and_left_out(tmp_path: Path) -> None:
    root = _original(tmp_path, "val", range(9))
    document = json.loads(scenes_file(root, "val").read_text())
    del document["scenes"][2]["objects"][0]["color"]
    document["scenes"][3]["relationships"]["left"][0] = [7]
    document["scenes"].append(document["scenes"][5])
    scenes_file(root, "val").write_text(json.dumps(document))
    image_file(root, "val", "CLEVR_val_000001.png").unlink()
    with pytest.raises(DSAError, match="mend it, or leave out"):
        read_by_name("clevr", root)
    dataset = read_by_name("clevr", root, ReadOptions(on_bad="skip"))
    assert dataset.problems.counts == {"missing image": 1, "duplicate": 1, "bad record": 2}
    kept = {int(p.file.stem[-6:]) for part in dataset.splits.values() for p in part}
    assert kept == {0, 4, 5, 6, 7, 8}


def test_captions_beside_the_scenes_are_checked(tmp_path: Path) -> None:
    write_world(tmp_path, "train", 4, workers=1)
    file = captions_file(tmp_path, "train")
    document = json.loads(file.read_text())
    document["annotations"][2]["facts"] = "a red cube"
    file.write_text(json.dumps(document))
    with pytest.raises(DSAError, match=r"record 2 of .*\(has 'facts' that are no str list"):
        read_by_name("clevr", tmp_path)
    document["annotations"] = [row for row in document["annotations"] if row["image_id"] != 1]
    document["annotations"][2] |= {"facts": [], "caption": " "}
    file.write_text(json.dumps(document))
    dataset = read_by_name("clevr", tmp_path, ReadOptions(on_bad="skip"))
    assert dataset.problems.counts == {"empty caption": 1, "no captions": 1}
