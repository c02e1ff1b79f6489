"""COCO from its official files: Karpathy's split, 2017, objects, and what can be wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dsa_env.datasets import Dataset
from dsa_env.datasets.registry import ReadOptions, read_dataset
from dsa_env.errors import DSAError

CATEGORIES = [
    {"id": 1, "name": "person", "supercategory": "person"},
    {"id": 18, "name": "dog", "supercategory": "animal"},
    {"id": 90, "name": "toothbrush", "supercategory": "indoor"},
]
TEXTS = ["A dog runs.", "A man with a cat.\n", "Grass", "A hot dog", "Two dogs play", "x", "y"]


def _captions(images: dict[int, str], count: int = 5) -> dict[str, Any]:
    return {
        "info": {"year": 2017},
        "licenses": [],
        "images": [
            {"license": 3, "file_name": name, "height": 12, "width": 16, "id": number}
            for number, name in images.items()
        ],
        "annotations": [
            {"image_id": number, "id": 100 * number + n, "caption": TEXTS[n]}
            for number in images
            for n in range(count)
        ],
    }


def _instances(images: dict[int, str], category: int = 90) -> dict[str, Any]:
    annotations = [
        {
            "segmentation": [[1.5, 2.0, 3.25, 4.0]], "area": 70.25, "iscrowd": 0,
            "image_id": number, "bbox": [1.0, 2.0, 3.0, 4.0], "category_id": category,
            "id": 7 + number,
        }
        for number in images
    ]  # fmt: skip
    return {
        "info": {}, "licenses": [], "images": _captions(images)["images"],
        "annotations": annotations, "categories": CATEGORIES,
    }  # fmt: skip


def _karpathy(rows: list[tuple[int, str, str]]) -> dict[str, Any]:
    return {
        "dataset": "coco",
        "images": [
            {
                "filepath": folder, "filename": f"COCO_{folder}_{number:012d}.jpg", "imgid": n,
                "sentids": list(range(7 * n, 7 * n + 5 + n % 3)), "split": split, "cocoid": number,
                "sentences": [
                    {"tokens": ["a"], "raw": TEXTS[m], "imgid": n, "sentid": 7 * n + m}
                    for m in range(5 + n % 3)
                ],
            }
            for n, (number, folder, split) in enumerate(rows)
        ],
    }  # fmt: skip


ROWS = [
    (9, "train2014", "train"),
    (25, "val2014", "restval"),
    (30, "val2014", "val"),
    (42, "val2014", "test"),
]


@pytest.fixture
def karpathy(tmp_path: Path, write_json: Any, write_images: Any) -> Path:
    document = _karpathy(ROWS)
    write_json(tmp_path / "dataset_coco.json", document)
    write_images(tmp_path / row["filepath"] / row["filename"] for row in document["images"])
    for part in ("train", "val"):
        images = {n: "" for n, folder, _ in ROWS if folder.startswith(part)}
        write_json(tmp_path / "annotations" / f"instances_{part}2014.json", _instances(images))
    return tmp_path


@pytest.fixture
def coco2017(tmp_path: Path, write_json: Any, write_images: Any) -> Path:
    for part, numbers in (("train", range(1, 21)), ("val", range(30, 34))):
        images = {n: f"{n:012d}.jpg" for n in numbers}
        write_json(tmp_path / "annotations" / f"captions_{part}2017.json", _captions(images))
        write_json(tmp_path / "annotations" / f"instances_{part}2017.json", _instances(images))
        write_images(tmp_path / f"{part}2017" / name for name in images.values())
    return tmp_path


def _edit(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


def _names(dataset: Dataset) -> dict[str, list[str]]:
    return {split: [p.file.name for p in ps] for split, ps in dataset.splits.items()}


def test_karpathys_split_puts_restval_into_train_and_keeps_every_caption(karpathy: Path) -> None:
    dataset = read_dataset("coco", karpathy)
    assert _names(dataset) == {
        "train": ["COCO_train2014_000000000009.jpg", "COCO_val2014_000000000025.jpg"],
        "validation": ["COCO_val2014_000000000030.jpg"],
        "test": ["COCO_val2014_000000000042.jpg"],
    }
    assert dataset.splits["train"][1].file == karpathy / "val2014/COCO_val2014_000000000025.jpg"
    assert [len(p.captions) for ps in dataset.splits.values() for p in ps] == [5, 6, 7, 5]
    assert dataset.provenance["variant"] == "karpathy"
    assert not dataset.problems


def test_facts_are_annotated_objects_united_with_mentions(karpathy: Path) -> None:
    picture = read_dataset("coco", karpathy).splits["test"][0]
    assert picture.facts == {"toothbrush", "dog", "person", "cat", "hot dog"}
    assert picture.facts_known
    assert [caption.facts for caption in picture.captions] == [
        ("dog",), ("person", "cat"), (), ("hot dog",), ("dog",),
    ]  # fmt: skip
    assert picture.captions[1].text == "A man with a cat."


def test_without_instances_facts_beyond_captions_are_unknown(karpathy: Path) -> None:
    (karpathy / "annotations" / "instances_val2014.json").unlink()
    dataset = read_dataset("coco", karpathy)
    picture = dataset.splits["test"][0]
    assert not picture.facts_known
    assert "toothbrush" not in picture.facts
    assert "instances_val2014.json not found" in str(dataset.provenance["objects"])
    assert dataset.provenance["facts"] == "unknown"


def test_2017_tests_on_the_validation_images_and_holds_out_training_images(coco2017: Path) -> None:
    dataset = read_dataset("coco", coco2017)
    assert {split: len(names) for split, names in _names(dataset).items()} == {
        "train": 18, "validation": 2, "test": 4,
    }  # fmt: skip
    assert all(picture.file.parent.name == "val2017" for picture in dataset.splits["test"])
    again = read_dataset("coco", coco2017)
    assert _names(again) == _names(dataset)
    other = read_dataset("coco", coco2017, ReadOptions(seed=5, held_out_share=0.25))
    assert len(other.splits["validation"]) == 5
    assert "drawn with seed 0" in str(dataset.provenance["split"])
    assert "dataset_coco.json was not given" in str(dataset.provenance["left out"])


def test_the_validation_images_alone_are_parted_into_three(coco2017: Path) -> None:
    (coco2017 / "annotations" / "captions_train2017.json").unlink()
    dataset = read_dataset("coco", coco2017)
    assert dataset.provenance["variant"] == "val2017"
    assert {split: len(names) for split, names in _names(dataset).items()} == {
        "train": 2, "validation": 1, "test": 1,
    }  # fmt: skip


def test_karpathys_held_out_images_inside_train2017_are_refused_or_excluded(
    coco2017: Path, write_json: Any
) -> None:
    rows = [(1, "val2014", "test"), (2, "val2014", "val"), (3, "val2014", "restval")]
    elsewhere = write_json(coco2017 / "elsewhere" / "split.json", _karpathy(rows))
    named = ReadOptions(variant="2017", karpathy=elsewhere)
    with pytest.raises(DSAError, match=r"^2 images of train2017 .*--leaks exclude"):
        read_dataset("coco", coco2017, named)
    write_json(coco2017 / "dataset_coco.json", _karpathy(rows))
    with pytest.raises(DSAError, match="2 images of train2017"):
        read_dataset("coco", coco2017, ReadOptions(variant="2017"))
    dataset = read_dataset("coco", coco2017, ReadOptions(variant="2017", leaks="exclude"))
    kept = {name for part in _names(dataset).values() for name in part}
    assert not kept & {"000000000001.jpg", "000000000002.jpg"}
    assert "000000000003.jpg" in kept
    assert dataset.provenance["left out"] == {"in Karpathy's validation or test split": 2}


def test_an_image_in_two_of_karpathys_splits_is_refused(karpathy: Path, write_json: Any) -> None:
    write_json(karpathy / "dataset_coco.json", _karpathy([*ROWS, (42, "val2014", "train")]))
    with pytest.raises(DSAError, match="image 42 lies in the splits test and train"):
        read_dataset("coco", karpathy)


def _damage(root: Path) -> None:
    captions = root / "annotations" / "captions_val2017.json"
    (root / "val2017" / "000000000030.jpg").unlink()

    def spoil(document: dict[str, Any]) -> None:
        rows = document["annotations"]
        rows[5]["caption"] = "  \n"  # image 31
        rows[6]["caption"] = None
        rows[7] |= {"image_id": 999}
        rows[8]["id"] = rows[9]["id"]
        document["annotations"] = [row for row in rows if row["image_id"] != 32]
        document["images"].append(document["images"][3])

    _edit(captions, spoil)
    _edit(
        root / "annotations" / "instances_val2017.json",
        lambda document: document["annotations"][1].update(category_id=12),
    )


def test_what_is_bad_is_named_counted_and_left_out(coco2017: Path) -> None:
    _damage(coco2017)
    dataset = read_dataset("coco", coco2017, ReadOptions(on_bad="skip"))
    assert dataset.problems.counts == {
        "missing image": 1,
        "empty caption": 2,
        "no captions": 1,
        "unknown image": 1,
        "unknown category": 1,
        "duplicate": 2,
    }
    assert _names(dataset)["test"] == ["000000000031.jpg", "000000000033.jpg"]
    assert [caption.text for caption in dataset.splits["test"][0].captions] == ["A hot dog"]
    named = {problem.kind: problem.where for problem in dataset.problems}
    assert named["missing image"].endswith("val2017/000000000030.jpg")
    assert named["no captions"].endswith("000000000032.jpg")
    assert named["unknown image"] == "caption 3102 of captions_val2017.json"
    assert named["unknown category"] == "annotation 38 of instances_val2017.json"


def test_the_first_bad_thing_is_fatal_by_default(coco2017: Path) -> None:
    (coco2017 / "val2017" / "000000000032.jpg").unlink()
    with pytest.raises(DSAError, match=r"missing image: .*000000000032\.jpg; .*--on-bad skip"):
        read_dataset("coco", coco2017)


def test_a_limit_reads_the_first_pictures_of_each_split(coco2017: Path) -> None:
    everything = _names(read_dataset("coco", coco2017))
    some = _names(read_dataset("coco", coco2017, ReadOptions(limit=2)))
    assert some == {split: names[:2] for split, names in everything.items()}


def test_images_may_lie_below_images_or_elsewhere(coco2017: Path) -> None:
    (coco2017 / "images").mkdir()
    for part in ("train2017", "val2017"):
        (coco2017 / part).rename(coco2017 / "images" / part)
    assert read_dataset("coco", coco2017).splits["test"][0].file.exists()
    (coco2017 / "images").rename(coco2017 / "pictures")
    with pytest.raises(DSAError, match="train2017 is not there; unpack it, say with --images"):
        read_dataset("coco", coco2017)
    found = read_dataset("coco", coco2017, ReadOptions(images=coco2017 / "pictures"))
    assert found.splits["test"][0].file.parent == coco2017 / "pictures" / "val2017"


def test_files_that_are_cut_off_missing_or_others_are_named(coco2017: Path) -> None:
    file = coco2017 / "annotations" / "captions_train2017.json"
    whole = file.read_text()
    file.write_text(whole[: len(whole) // 2])
    with pytest.raises(DSAError, match=r"captions_train2017\.json is not valid JSON.*cut off"):
        read_dataset("coco", coco2017)
    file.write_text("")
    with pytest.raises(DSAError, match="not valid JSON"):
        read_dataset("coco", coco2017)
    file.write_text('{"questions": []}')
    with pytest.raises(DSAError, match=r"no records at 'images\.item'; it should be a COCO"):
        read_dataset("coco", coco2017)
    file.write_text('{"images": [{"id": "one", "file_name": "a.jpg"}]}')
    with pytest.raises(DSAError, match=r"record 0 of .* \(has str as 'id', which should be int\)"):
        read_dataset("coco", coco2017)
    document = json.loads(whole)
    document["annotations"][3]["image_id"] = [1]
    file.write_text(json.dumps(document))
    with pytest.raises(DSAError, match=r"record 3 of .* \(has list as 'image_id', which"):
        read_dataset("coco", coco2017)
    left = read_dataset("coco", coco2017, ReadOptions(on_bad="skip"))
    assert left.problems.counts == {"bad record": 1}
    document["annotations"][3] |= {"image_id": 1, "id": [5]}
    file.write_text(json.dumps(document))
    assert not read_dataset("coco", coco2017).problems
    with pytest.raises(DSAError, match=r"captions_train2017\.json does not exist"):
        read_dataset("coco", coco2017 / "val2017")
    with pytest.raises(DSAError, match=r"holds no dataset_coco\.json"):
        read_dataset("coco", coco2017, ReadOptions(variant="karpathy"))
    with pytest.raises(DSAError, match="Did you mean '2017'"):
        read_dataset("coco", coco2017, ReadOptions(variant="2018"))
