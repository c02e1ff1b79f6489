"""The CLEVR v1.0 on-disk format, with captions in the COCO captions format beside it."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dsa_env.datasets import Dataset, Picture
from dsa_env.datasets.captions import Caption, true_facts, write_captions
from dsa_env.datasets.scenes import PICTURE_SIZE, Scene, generate_scene
from dsa_env.errors import DSAError
from dsa_env.files import read_json, write_json
from dsa_env.progress import track
from dsa_env.workers import process_pool

if TYPE_CHECKING:
    from dsa_env.datasets.registry import ReadOptions

DISK_SPLITS = {"pretrain": "pretrain", "train": "train", "validation": "val", "test": "test"}
_SCENE_FIELDS = ("image_index", "image_filename", "objects", "relationships")


def image_file(root: Path, split: str, name: str) -> Path:
    """Where the format keeps a picture; `split` in the format's words (train, val, test)."""
    return root / "images" / split / name


def scenes_file(root: Path, split: str) -> Path:
    """Where the format keeps a split's scene graphs."""
    return root / "scenes" / f"CLEVR_{split}_scenes.json"


def captions_file(root: Path, split: str) -> Path:
    """Where the captions of a split lie, in the COCO captions format."""
    return root / "annotations" / f"captions_{split}.json"


def _draw_and_save(root: Path, split: str, seed: int, index: int) -> Scene:
    """Generates one scene and writes its picture; skips a picture that is already there."""
    from dsa_env.datasets.drawing import draw, object_boxes

    scene = generate_scene(index, split, seed)
    for item, box in zip(scene["objects"], object_boxes(scene).tolist(), strict=True):
        item["bbox"] = [round(edge, 2) for edge in box]
    path = image_file(root, split, scene["image_filename"])
    if not path.exists():
        # renamed into place, but not forced to the disk one by one: that would take longer than
        # drawing, and a picture can be drawn again
        unfinished = path.with_suffix(f".{os.getpid()}.tmp")
        draw(scene).save(unfinished, format="PNG", compress_level=3)
        unfinished.replace(path)
    return scene


def write_world(
    root: Path,
    split: str,
    count: int,
    *,
    captions: int = 4,
    seed: int = 0,
    workers: int | None = None,
) -> None:
    """Writes `count` pictures of the embedded world, their scene graphs and their captions.

    The same (split, count, captions, seed) writes the same bytes whatever `workers` is; pictures
    that an interrupted call left behind are kept.

    Args:
        root: folder to write below.
        split: one of `DISK_SPLITS`' keys.
        count: pictures, at least 1.
        captions: captions a picture, at least 1.
        seed: seed of the world.
        workers: processes that draw; None takes every core for 200 pictures or more.

    Raises:
        DSAError: for a count below 1 or an unknown split.
    """
    if count < 1 or captions < 1:
        raise DSAError(f"count and captions must be at least 1, not {count} and {captions}")
    name = DISK_SPLITS[split]
    image_file(root, name, "").mkdir(parents=True, exist_ok=True)
    workers = workers or (1 if count < 200 else os.cpu_count() or 1)
    job = partial(_draw_and_save, root, name, seed)
    if workers > 1:
        with process_pool(workers) as pool:
            done = pool.map(job, range(count), chunksize=32)
            scenes = list(track(done, f"drawing {split}", total=count))
    else:
        scenes = list(track(map(job, range(count)), f"drawing {split}", total=count))
    info = {"split": name, "version": "1.0", "description": "dsa-env embedded world", "seed": seed}
    write_json(captions_file(root, name), coco_captions(scenes, captions, seed, info))
    write_json(scenes_file(root, name), {"info": info, "scenes": scenes})


def draw_world(
    root: Path,
    counts: dict[str, int],
    *,
    captions: int = 4,
    seed: int = 0,
    workers: int | None = None,
) -> Dataset:
    """Draws several splits of the embedded world into a folder and reads them back.

    Args:
        root: folder to draw into; pictures that are there already are kept.
        counts: pictures of each split.
        captions: captions a picture.
        seed: seed of the world.
        workers: processes that draw.
    """
    for split, count in counts.items():
        write_world(root, split, count, captions=captions, seed=seed, workers=workers)
    splits = {split: read_split(root, split) for split in counts}
    return Dataset("embedded world", root, dict(splits), {"seed": seed, "pictures": counts})


def coco_captions(
    scenes: list[Scene], count: int, seed: int, info: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Captions of scenes as a COCO captions document; `kind` and `facts` stand beside each."""
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for scene in scenes:
        images.append(
            {
                "id": scene["image_index"],
                "file_name": scene["image_filename"],
                "width": PICTURE_SIZE,
                "height": PICTURE_SIZE,
            }
        )
        for caption in write_captions(scene, count, seed):
            annotations.append(
                {
                    "id": len(annotations),
                    "image_id": scene["image_index"],
                    "caption": caption.text,
                    "kind": caption.kind,
                    "facts": list(caption.facts),
                    "objects": list(caption.objects),
                }
            )
    return {"info": info or {}, "images": images, "annotations": annotations}


def read_scenes(path: Path) -> list[Scene]:
    """The scene graphs of a CLEVR v1.0 scenes file, checked for the fields that are used.

    Raises:
        DSAError: if the file is missing, is no scenes file, or a scene lacks a field.
    """
    document = read_json(path)
    scenes = document.get("scenes") if isinstance(document, dict) else None
    if not isinstance(scenes, list) or not scenes:
        raise DSAError(f"{path} holds no scenes; a CLEVR scenes file has a list under 'scenes'")
    for number, scene in enumerate(scenes):
        missing = [name for name in _SCENE_FIELDS if name not in scene]
        if missing:
            raise DSAError(f"{path}: scene {number} lacks {', '.join(missing)}; not CLEVR v1.0")
    return scenes


def _captions_by_image(path: Path) -> dict[int, list[Caption]]:
    grouped: dict[int, list[Caption]] = {}
    try:
        for row in read_json(path)["annotations"]:
            caption = Caption(
                row["caption"],
                row.get("kind", "caption"),
                tuple(row.get("facts", ())),
                tuple(row.get("objects", ())),
            )
            grouped.setdefault(row["image_id"], []).append(caption)
    except (KeyError, TypeError) as error:
        raise DSAError(f"{path} is not in the COCO captions format: {error!r}") from error
    return grouped


def read_split(root: Path, split: str, *, captions: int = 4, seed: int = 0) -> list[Picture]:
    """The pictures of one split on disk.

    Captions come from the COCO file beside the scenes; where there is none (the original CLEVR)
    they are written from the scene graphs.

    Args:
        root: the dataset's folder.
        split: one of `DISK_SPLITS`' keys.
        captions: captions a picture where they have to be written.
        seed: seed of captions that have to be written.

    Raises:
        DSAError: if a file is missing or malformed, or a picture of the split is not there.
    """
    name = DISK_SPLITS[split]
    scenes = read_scenes(scenes_file(root, name))
    told = captions_file(root, name)
    written = _captions_by_image(told) if told.exists() else None
    pictures = []
    for scene in scenes:
        file = image_file(root, name, scene["image_filename"])
        if not file.exists():
            raise DSAError(f"{file} is missing; {scenes_file(root, name)} lists it")
        scene.setdefault("split", name)
        own = write_captions(scene, captions, seed) if written is None else None
        own = own or (written or {}).get(scene["image_index"], [])
        pictures.append(Picture(file, tuple(own), frozenset(true_facts(scene))))
    return pictures


def read_dataset(root: Path, *, captions: int = 4, seed: int = 0) -> Dataset:
    """Every split of a CLEVR-format folder that has scene graphs.

    Raises:
        DSAError: if there is none, naming where they are looked for.
    """
    root = Path(root)
    found = [split for split, name in DISK_SPLITS.items() if scenes_file(root, name).exists()]
    if not found:
        raise DSAError(
            f"{root} has no scenes/CLEVR_*_scenes.json; point to the folder that holds the "
            "'images' and 'scenes' folders of CLEVR v1.0"
        )
    splits = {split: read_split(root, split, captions=captions, seed=seed) for split in found}
    return Dataset("clevr", root, dict(splits), {"format": "CLEVR v1.0", "root": str(root)})


def read(root: Path, options: ReadOptions) -> Dataset:
    """Reads a CLEVR folder as `dsa_env.datasets.registry.read_dataset` asks for it."""
    return read_dataset(root, captions=options.captions, seed=options.seed)
