"""`dsa build` from every data set's own files with a small model of some family, end to end."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dsa_env import cli
from dsa_env.bank import FeatureBank
from dsa_env.datasets.clevr import write_world
from tests.dsa_env.encoders.small_models import SAVERS

WORDS = ("dog", "cat", "horse", "red cube", "blue sphere", "bird")
COUNT = 15


def picture(file: Path, n: int) -> None:
    """A picture of blurred noise; every third one stands upright."""
    size = (48, 64) if n % 3 == 0 else (64, 48)
    noise = np.random.default_rng(n).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(noise).resize(size).save(file)


def save(file: Path, document: Any) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(document))


def sentence(n: int, m: int) -> str:
    return f"a {WORDS[(n + m) % 3]} beside a {WORDS[3 + (n + m) % 3]}"


def coco(root: Path) -> list[Path]:
    """COCO Captions 2014 with Karpathy's split, and instances."""
    splits = ["train"] * 7 + ["restval"] * 2 + ["val"] * 3 + ["test"] * 3
    folders = ["train2014"] * 7 + ["val2014"] * 8
    names = [f"COCO_{folder}_{n:012d}.jpg" for n, folder in enumerate(folders)]
    rows = [
        {
            "filepath": folder, "filename": name, "imgid": n, "split": split, "cocoid": n,
            "sentids": [5 * n + m for m in range(5)],
            "sentences": [
                {"tokens": [], "raw": sentence(n, 3 * m), "imgid": n, "sentid": 5 * n + m}
                for m in range(5)
            ],
        }
        for n, (folder, name, split) in enumerate(zip(folders, names, splits, strict=True))
    ]  # fmt: skip
    save(root / "dataset_coco.json", {"dataset": "coco", "images": rows})
    categories = [
        {"supercategory": "animal", "id": number, "name": name}
        for number, name in ((16, "bird"), (17, "cat"), (18, "dog"), (19, "horse"))
    ]
    for part in ("train2014", "val2014"):
        own = [n for n, folder in enumerate(folders) if folder == part]
        save(
            root / "annotations" / f"instances_{part}.json",
            {
                "info": {}, "licenses": [], "categories": categories,
                "images": [{"id": n, "file_name": names[n], "width": 64, "height": 48}
                           for n in own],
                "annotations": [
                    {"id": n, "image_id": n, "category_id": 16 + n % 4, "bbox": [1, 1, 9, 9],
                     "area": 81.0, "iscrowd": 0, "segmentation": []}
                    for n in own
                ],
            },
        )  # fmt: skip
    return [root / folder / name for folder, name in zip(folders, names, strict=True)]


def visual_genome(root: Path) -> list[Path]:
    host = "https://cs.stanford.edu/people/rak248/VG_100K"
    numbers = range(1, COUNT + 1)
    save(
        root / "image_data.json",
        [{"image_id": n, "url": f"{host}/{n}.jpg", "width": 64, "height": 48, "coco_id": None,
          "flickr_id": None} for n in numbers],
    )  # fmt: skip
    save(
        root / "region_descriptions.json",
        [{"id": n, "regions": [
            {"region_id": 9 * n + m, "image_id": n, "x": 1, "y": 1, "width": 9, "height": 9,
             "phrase": sentence(n, m)} for m in range(3)]} for n in numbers],
    )  # fmt: skip
    save(
        root / "objects.json",
        [{"image_id": n, "objects": [
            {"object_id": n, "x": 1, "y": 1, "w": 9, "h": 9, "synsets": [],
             "names": [WORDS[n % 3]]}]} for n in numbers],
    )  # fmt: skip
    row = {"filename": "1.jpg", "split": "test", "cocoid": 1, "sentences": []}
    save(root / "dataset_coco.json", {"dataset": "coco", "images": [row]})
    return [root / "VG_100K" / f"{n}.jpg" for n in numbers]


def flickr30k(root: Path) -> list[Path]:
    names = [f"{1000 + n}.jpg" for n in range(COUNT)]
    splits = ["train"] * 9 + ["val"] * 3 + ["test"] * 3
    rows = [
        {
            "filename": name, "imgid": n, "split": split, "sentids": list(range(5)),
            "sentences": [{"tokens": [], "raw": sentence(n, m), "imgid": n, "sentid": m}
                          for m in range(5)],
        }
        for n, (name, split) in enumerate(zip(names, splits, strict=True))
    ]  # fmt: skip
    save(root / "dataset_flickr30k.json", {"images": rows, "dataset": "flickr30k"})
    return [root / "flickr30k-images" / name for name in names]


def table(root: Path) -> list[Path]:
    root.mkdir(parents=True, exist_ok=True)
    with (root / "captions.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["image", "caption", "split"])
        for n in range(COUNT):
            split = ("train", "validation", "test")[n % 3]
            writer.writerows([[f"pictures/{n}.png", sentence(n, m), split] for m in range(2)])
    return [root / "pictures" / f"{n}.png" for n in range(COUNT)]


def hugging_face(root: Path) -> list[Path]:
    datasets = pytest.importorskip("datasets")
    files = [root.parent / "pictures" / f"{n}.png" for n in range(COUNT)]
    for n, file in enumerate(files):
        picture(file, n)
    rows = {
        "image": [str(file) for file in files],
        "caption": [sentence(n, 0) for n in range(COUNT)],
    }
    datasets.disable_progress_bars()
    rows = datasets.Dataset.from_dict(rows).cast_column("image", datasets.Image())
    rows.save_to_disk(root)
    return files


def clevr(root: Path) -> list[Path]:
    for split, count in (("train", 9), ("validation", 3), ("test", 3)):
        write_world(root, split, count, captions=2, workers=1)
    return sorted((root / "images").glob("*/*.png"))


CASES: list[tuple[Callable[[Path], list[Path]], str, list[str]]] = [
    (coco, "clip", []),
    (visual_genome, "siglip", ["--captions", "2", "--regions-by", "patches"]),
    (clevr, "blip2-retrieval", ["--coarse", "layer:1"]),
    (flickr30k, "llava", ["--fine", "mean"]),
    (table, "idefics", ["--batch", "4"]),
    (hugging_face, "siglip2", ["--limit", "4"]),
]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DSA_CACHE", str(tmp_path / "cache"))


def made(tmp_path: Path, write: Callable[[Path], list[Path]], family: str) -> list[str]:
    """Writes a data set and a model; the words of the command that builds their bank."""
    root, model = tmp_path / "data" / write.__name__, tmp_path / "model"
    for n, file in enumerate(write(root)):
        if not file.exists():
            picture(file, n)
    SAVERS[family](model)
    return [
        "build", "--dataset", write.__name__, "--root", str(root), "--model", str(model),
        "--out", str(tmp_path / "bank"), "--threshold", "0.05", "--regions", "3",
        "--workers", "1", "--json",
    ]  # fmt: skip


@pytest.mark.parametrize(("write", "family", "more"), CASES, ids=lambda case: str(case)[:20])
def test_a_bank_from_official_files(
    write: Callable[[Path], list[Path]],
    family: str,
    more: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert cli.main([*made(tmp_path, write, family), *more]) == 0, capsys.readouterr().err
    summary = json.loads(capsys.readouterr().out)
    bank = FeatureBank.open(tmp_path / "bank")
    bank.verify()
    assert bank.sha256 == summary["sha256"]
    assert summary["problems"] == {}
    if "--limit" not in more:
        assert bank.n_images == COUNT
    for split in ("train", "validation", "test"):
        assert len(bank.split_images(split))
    assert bank.image_files is not None
    assert all(bank.image_path(n).is_file() for n in range(bank.n_images))  # type: ignore[union-attr]
    said = bank.manifest["provenance"]["encoder"]
    assert set(said["notes"]) == {"text", "coarse", "fine"}
    for option, key in (("--coarse", "coarse"), ("--regions-by", "regions_by")):
        if option in more:
            assert said[key] == more[more.index(option) + 1]
    assert json.loads((tmp_path / "bank" / "problems.json").read_text())["problems"] == []
    if write in (coco, visual_genome, clevr):
        assert bank.fact_features is not None


def test_agents_train_and_are_judged_on_coco(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("stable_baselines3")
    assert cli.main(made(tmp_path, coco, "clip")) == 0
    assert json.loads(capsys.readouterr().out)["hallucination"]["split"] == "test"
    bank, run = str(tmp_path / "bank"), str(tmp_path / "run")
    words = ["train", "--bank", bank, "--out", run, "--timesteps", "128", "--k", "1"]
    assert cli.main(words) == 0, capsys.readouterr().err
    assert cli.main(["evaluate", run, "--bootstrap", "0", "--json"]) == 0
    assert cli.main(["info", bank, "--verify", "--json"]) == 0


def test_what_is_bad_is_skipped_by_name_or_ends_the_build(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = made(tmp_path, table, "clip")
    root = tmp_path / "data" / "table"
    broken, missing = root / "pictures" / "4.png", root / "pictures" / "7.png"
    broken.write_bytes(broken.read_bytes()[:60])
    missing.unlink()
    assert cli.main(words) == 2
    assert "missing image" in capsys.readouterr().err
    assert cli.main([*words, "--on-bad", "skip"]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["problems"] == {"missing image": 1, "broken image": 1}
    assert "4.png" in captured.err
    assert "7.png" in captured.err
    listed = json.loads((tmp_path / "bank" / "problems.json").read_text())["problems"]
    assert {Path(one["where"]).name for one in listed} == {"4.png", "7.png"}
    bank = FeatureBank.open(tmp_path / "bank")
    assert bank.n_images == COUNT - 2
    assert bank.n_texts == 2 * (COUNT - 2)
    assert bank.texts is not None
    assert bank.image_files is not None
    for text in range(bank.n_texts):
        n = int(Path(bank.image_files[bank.positives.row(text)[0]]).stem)
        assert bank.texts[text] in {sentence(n, m) for m in range(2)}


def test_low_precision_is_compared_with_float32_first(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*made(tmp_path, table, "clip"), "--dtype", "bf16"]
    code = cli.main(words)
    captured = capsys.readouterr()
    assert "bf16" in captured.err
    if code:
        assert "Rankings do not survive bf16" in captured.err
        assert not (tmp_path / "bank").exists()
        assert cli.main([*words, "--accept-dtype"]) == 0
        captured = capsys.readouterr()
    precision = json.loads(captured.out)["precision"]
    assert precision["dtype"] == "bf16"
    assert precision["survives"] == (code == 0)
