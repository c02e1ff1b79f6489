"""The CLEVR v1.0 format on disk: written, read back, and read as the original has it."""

from __future__ import annotations

import json
from pathlib import Path

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


def _original(root: Path) -> Path:
    """A folder as the original CLEVR has it: no captions, no properties, 480 x 320 pictures."""
    scene = {
        "image_index": 0,
        "image_filename": "CLEVR_val_000000.png",
        "split": "val",
        "directions": {},
        "objects": [
            {
                "shape": shape, "size": "large", "material": "metal", "color": color,
                "3d_coords": [x, 0.0, 0.7], "pixel_coords": [100, 90, 9], "rotation": 1.0,
            }
            for shape, color, x in (("cube", "red", -1.0), ("sphere", "blue", 1.0))
        ],
        "relationships": {
            "left": [[], [0]], "right": [[1], []], "front": [[], []], "behind": [[], []],
        },
    }  # fmt: skip
    scenes_file(root, "val").parent.mkdir(parents=True)
    scenes_file(root, "val").write_text(json.dumps({"info": {}, "scenes": [scene]}))
    picture = image_file(root, "val", "CLEVR_val_000000.png")
    picture.parent.mkdir(parents=True)
    Image.fromarray(np.zeros((320, 480, 3), dtype=np.uint8)).save(picture)
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
    with pytest.raises(DSAError, match=r"CLEVR_val_000000\.png is missing"):
        read_split(root, "validation")
    scenes_file(root, "val").write_text('{"scenes": [{"objects": []}]}')
    with pytest.raises(DSAError, match="lacks image_index"):
        read_scenes(scenes_file(root, "val"))
    scenes_file(root, "val").write_text('{"scenes": []}')
    with pytest.raises(DSAError, match="holds no scenes"):
        read_scenes(scenes_file(root, "val"))
    with pytest.raises(DSAError, match="at least 1"):
        write_world(tmp_path, "train", 0)
