"""Visual Genome from its official files, with the quirks of its dumps."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dsa_env.datasets import Dataset, Picture
from dsa_env.datasets.registry import ReadOptions, read_dataset
from dsa_env.errors import DSAError

PHRASES = (
    "a man riding a horse",
    "Two trees",
    "two trees",
    "red glasses",
    "green grass",
    "",
)


def _region(image: int, n: int) -> dict[str, Any]:
    return {
        "region_id": 1382 * image + n, "width": 82, "height": 139, "image_id": image,
        "phrase": PHRASES[n], "y": 57, "x": 421,
    }  # fmt: skip


def _object(name: str) -> dict[str, Any]:
    return {
        "synsets": [f"{name}.n.01"], "h": 557, "object_id": 1058549, "merged_object_ids": [],
        "names": [name], "w": 799, "y": 0, "x": 1,
    }  # fmt: skip


@pytest.fixture(params=["id", "image_id"])
def root(
    request: pytest.FixtureRequest, tmp_path: Path, write_json: Any, write_images: Any
) -> Path:
    key, numbers = request.param, range(1, 13)
    other = "image_id" if key == "id" else "id"
    host = "https://cs.stanford.edu/people/rak248"
    folders = {n: "VG_100K_2" if n % 2 else "VG_100K" for n in numbers}
    write_json(
        tmp_path / "image_data.json",
        [
            {
                key: n, "width": 800, "height": 600, "url": f"{host}/{folders[n]}/{n}.jpg",
                "coco_id": 1000 + n if n % 3 == 0 else None, "flickr_id": None,
            }
            for n in numbers
        ],
    )  # fmt: skip
    write_json(
        tmp_path / "region_descriptions.json",
        [{"regions": [_region(n, m) for m in range(5)], key: n} for n in numbers],
    )
    write_json(
        tmp_path / "objects.json",
        [
            {
                other: n, "image_url": f"{host}/{folders[n]}/{n}.jpg",
                "objects": [_object(name) for name in ("man", "Tree", "horse", "lamp post")],
            }
            for n in numbers
        ],
    )  # fmt: skip
    write_images(tmp_path / folders[n] / f"{n}.jpg" for n in numbers)
    return tmp_path


def _all(dataset: Dataset) -> list[Picture]:
    return [picture for part in dataset.splits.values() for picture in part]


def test_regions_are_captions_and_objects_facts(root: Path) -> None:
    dataset = read_dataset("visual_genome", root, ReadOptions(captions=9))
    assert {split: len(part) for split, part in dataset.splits.items()} == {
        "train": 10, "validation": 1, "test": 1,
    }  # fmt: skip
    for picture in _all(dataset):
        assert picture.file.exists()
        texts = {caption.text: caption.facts for caption in picture.captions}
        assert texts == {
            "a man riding a horse": ("man", "horse"),
            "Two trees": ("tree",),
            "red glasses": (),
            "green grass": (),
        }
        assert picture.facts == {"man", "tree", "horse", "lamp post"}
        assert picture.facts_known
    assert not dataset.problems


def test_captions_are_bounded_and_drawn_by_seed(root: Path) -> None:
    first = read_dataset("visual_genome", root, ReadOptions(captions=2))
    assert {len(picture.captions) for picture in _all(first)} == {2}
    assert first.splits == read_dataset("visual_genome", root, ReadOptions(captions=2)).splits
    other = read_dataset("visual_genome", root, ReadOptions(captions=2, seed=1))
    assert first.splits != other.splits


def test_images_of_karpathys_test_split_are_left_out(root: Path, write_json: Any) -> None:
    assert "dataset_coco.json was not given" in str(
        read_dataset("visual_genome", root).provenance["left out"]
    )
    rows = [
        {"cocoid": 1000 + n, "filename": "x.jpg", "split": split, "sentences": []}
        for n, split in ((3, "test"), (4, "test"), (6, "val"))
    ]
    elsewhere = write_json(root / "coco" / "dataset_coco.json", {"images": rows})
    dataset = read_dataset("visual_genome", root, ReadOptions(karpathy=elsewhere))
    assert {int(picture.file.stem) for picture in _all(dataset)} == set(range(1, 13)) - {3}
    assert dataset.provenance["left out"] == {"in Karpathy's test split": 1}


def test_without_objects_facts_are_unknown(root: Path) -> None:
    (root / "objects.json").unlink()
    dataset = read_dataset("visual_genome", root)
    assert not any(picture.facts_known or picture.facts for picture in _all(dataset))
    assert "objects.json not found" in str(dataset.provenance["objects"])


def test_what_is_bad_is_named_counted_and_left_out(root: Path) -> None:
    (root / "VG_100K" / "2.jpg").unlink()
    regions = json.loads((root / "region_descriptions.json").read_text())
    regions[0]["regions"] = [_region(1, 5), _region(1, 0)]
    regions[2]["regions"] = []
    regions.append({**regions[4]})
    regions.append({"id": 99, "regions": []})
    regions.append({"id": 7})
    regions.append(None)
    (root / "region_descriptions.json").write_text(json.dumps(regions))
    with pytest.raises(DSAError, match=r"missing image: .*VG_100K/2\.jpg"):
        read_dataset("visual_genome", root)
    dataset = read_dataset("visual_genome", root, ReadOptions(on_bad="skip"))
    assert dataset.problems.counts == {
        "missing image": 1, "empty caption": 1, "no captions": 1, "unknown image": 1,
        "duplicate": 2, "bad record": 1,
    }  # fmt: skip
    assert {int(picture.file.stem) for picture in _all(dataset)} == set(range(1, 13)) - {2, 3}


def test_files_that_are_cut_off_or_others_are_named(root: Path) -> None:
    for name in ("objects", "region_descriptions", "image_data"):
        file = root / f"{name}.json"
        whole = file.read_text()
        file.write_text(whole[: len(whole) - 40])
        with pytest.raises(DSAError, match=rf"{name}\.json is not valid JSON"):
            read_dataset("visual_genome", root)
        file.write_text('{"images": []}')
        with pytest.raises(DSAError, match=rf"{name}\.json has no records"):
            read_dataset("visual_genome", root)
        file.write_text('[{"image": 1}]')
        with pytest.raises(DSAError, match=rf"record 0 of .*{name}\.json \(lacks 'id'"):
            read_dataset("visual_genome", root)
    with pytest.raises(DSAError, match=r"image_data\.json does not exist"):
        read_dataset("visual_genome", root / "VG_100K")
