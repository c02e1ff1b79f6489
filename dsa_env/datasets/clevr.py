"""The CLEVR v1.0 on-disk format, with captions in the COCO captions format beside it.

Expected below the root, as the official archive unpacks: `scenes/CLEVR_{split}_scenes.json` and
`images/{split}/*.png` for train and val; the original has no scenes for its test pictures, so val
is the test split and a seeded share of train, by image, the validation split. Where one split is
all there is, it is parted into three. The scenes may also lie in the root itself.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dsa_env.datasets import Dataset, Picture
from dsa_env.datasets import problems as kinds
from dsa_env.datasets.assembly import Listing, assemble, clean, keep_captions, present
from dsa_env.datasets.captions import (
    Caption,
    true_facts,
    write_captions,
    write_distinct_captions,
)
from dsa_env.datasets.json_stream import get, stream
from dsa_env.datasets.problems import BadRecordError, Problems
from dsa_env.datasets.scenes import PICTURE_SIZE, Scene, generate_scene
from dsa_env.datasets.splitting import complete
from dsa_env.errors import DSAError
from dsa_env.files import write_json
from dsa_env.progress import track
from dsa_env.workers import process_pool

if TYPE_CHECKING:
    from dsa_env.datasets.registry import ReadOptions

DISK_SPLITS = {"pretrain": "pretrain", "train": "train", "validation": "val", "test": "test"}
_SCENE_FIELDS: dict[str, type] = {
    "image_index": int,
    "image_filename": str,
    "objects": list,
    "relationships": dict,
}


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


def stream_scenes(path: Path, problems: Problems | None = None) -> Iterator[Scene]:
    """The scene graphs of a CLEVR v1.0 scenes file one at a time, checked for what is used.

    Args:
        path: the file.
        problems: where scenes that lack a field are reported; None makes the first fatal.

    Raises:
        DSAError: if the file is missing or is no scenes file, or a bad scene is fatal.
    """
    problems = Problems() if problems is None else problems
    expected = "a CLEVR v1.0 scenes file, a list under 'scenes'"
    for number, scene in enumerate(stream(path, "scenes.item", expected)):
        with problems.skipping():
            for name, kind in _SCENE_FIELDS.items():
                get(scene, name, kind, path, number)
            yield scene


def read_scenes(path: Path) -> list[Scene]:
    """The scene graphs of a CLEVR v1.0 scenes file.

    Raises:
        DSAError: if the file is missing, is no scenes file, or a scene lacks a field.
    """
    return list(stream_scenes(path))


def _captions_by_image(path: Path, problems: Problems) -> dict[int, list[Caption]]:
    grouped: dict[int, list[Caption]] = {}
    expected = "a COCO captions file, a list under 'annotations'"
    for number, row in enumerate(stream(path, "annotations.item", expected, empty=True)):
        with problems.skipping():
            image = get(row, "image_id", int, path, number)
            facts, objects = row.get("facts", []), row.get("objects", [])
            for name, values, kind in (("facts", facts, str), ("objects", objects, int)):
                if not isinstance(values, list) or not all(isinstance(v, kind) for v in values):
                    raise BadRecordError(
                        path, number, f"has {name!r} that are no {kind.__name__} list"
                    )
            told = clean(row.get("kind")) or "caption"
            caption = Caption(clean(row.get("caption")), told, tuple(facts), tuple(objects))
            grouped.setdefault(image, []).append(caption)
    return grouped


def read_split(
    root: Path,
    split: str,
    *,
    captions: int = 4,
    seed: int = 0,
    wanted: set[Path] | None = None,
    images: Path | None = None,
    problems: Problems | None = None,
) -> list[Picture]:
    """The pictures of one split on disk.

    Captions come from the COCO file beside the scenes; where there is none (the original CLEVR)
    they are written from the scene graphs.

    Args:
        root: the dataset's folder.
        split: one of `DISK_SPLITS`' keys, or "" for scenes without a split.
        captions: captions a picture where they have to be written.
        seed: seed of captions that have to be written.
        wanted: files of the pictures that are wanted, each taken out once read; None for all.
        images: folder of the pictures; None for the format's own.
        problems: where bad pictures are reported; None makes the first fatal.

    Raises:
        DSAError: if a file is missing or malformed, or something is wrong that is fatal.
    """
    problems, listing = Problems() if problems is None else problems, Listing()
    source = _find_scenes(root, split)
    name = DISK_SPLITS.get(split, "new")
    folder = images or image_file(root, name, "")
    told = captions_file(root, name)
    written = _captions_by_image(told, problems) if told.exists() else None
    pictures = []
    # what the wanted ones were chosen from has been reported then
    reported = problems if wanted is None else Problems("skip")
    for scene in stream_scenes(source, reported):
        file = folder / scene["image_filename"]
        if wanted is not None:
            if file not in wanted:
                continue
            wanted.remove(file)
        elif not present([file], Path, problems, listing):
            continue
        # "spit" is how some files spell it; the seed of the written captions wants it
        scene["split"] = scene.get("split") or scene.pop("spit", None) or name
        where = f"{file.name} of {source}"
        try:
            own = (
                write_distinct_captions(scene, captions, seed)
                if written is None
                else written.get(scene["image_index"], [])
            )
            facts = frozenset(
                set(map(sys.intern, true_facts(scene)))
            )  # half a frozenset(map)'s size
        except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
            problems.report(kinds.BAD_RECORD, where, f"not CLEVR v1.0: {error!r}")
            continue
        kept = keep_captions(((where, caption) for caption in own), file, problems)
        if kept:
            pictures.append(Picture(file, kept, facts))
    return pictures


def read_dataset(root: Path, *, captions: int = 4, seed: int = 0) -> Dataset:
    """Every split of a CLEVR-format folder that has scene graphs, as they are on disk.

    Raises:
        DSAError: if there is none, naming where they are looked for.
    """
    root = Path(root)
    splits = {
        split: read_split(root, split, captions=captions, seed=seed) for split in _found(root)
    }
    return Dataset("clevr", root, dict(splits), {"format": "CLEVR v1.0", "root": str(root)})


def read(root: Path, options: ReadOptions) -> Dataset:
    """Reads CLEVR as `dsa_env.datasets.registry.read_dataset` asks for it.

    Raises:
        DSAError: if files are missing or malformed, or the data has problems that are fatal.
    """
    problems, listing = Problems(options.on_bad), Listing()
    found = _found(root)
    folders = {split: _image_folder(root, split, options.images) for split in found}
    listed: dict[str, list[Path]] = {}
    for split in found:
        files: dict[Path, None] = {}
        for scene in stream_scenes(_find_scenes(root, split), problems):
            file = folders[split] / scene["image_filename"]
            if file in files:
                problems.report(kinds.DUPLICATE, f"{file.name} of {_find_scenes(root, split)}")
            files[file] = None
        listed[split] = list(files)
    alone = [split for split in found if split != "pretrain"]
    if len(alone) == 1:
        listed["train"] = listed.pop(alone[0])
    planned, origin = complete(
        listed, lambda file: file.name, options.held_out_share, options.seed, listing.has
    )
    split_of: dict[Path, str] = {
        file: split
        for split, files_of_it in planned.items()
        for file in present(files_of_it, Path, problems, listing, options.limit)
    }
    splits: dict[str, list[Picture]] = {split: [] for split in planned}
    for split in found:
        for picture in read_split(
            root,
            split,
            captions=options.captions,
            seed=options.seed,
            wanted=set(split_of),
            images=folders[split],
            problems=problems,
        ):
            splits[split_of[picture.file]].append(picture)
    disk = {split: _find_scenes(root, split).name for split in found}
    provenance = {"format": "CLEVR v1.0", "files": disk, "split": origin, "seed": options.seed}
    return assemble("clevr", root, splits, provenance, problems)


def _found(root: Path) -> list[str]:
    """The splits whose scenes are there; [""] for scenes of no split.

    Raises:
        DSAError: if there are none.
    """
    found = [split for split in DISK_SPLITS if _find_scenes(root, split).is_file()]
    if not found and _find_scenes(root, "").is_file():
        found = [""]
    if not found:
        raise DSAError(
            f"{root} has no scenes/CLEVR_*_scenes.json; point to the folder that holds the "
            "'images' and 'scenes' folders of CLEVR v1.0"
        )
    return found


def _find_scenes(root: Path, split: str) -> Path:
    """A split's scenes, in their folder or in the root; those of no split are CLEVR_scenes.json."""
    official = scenes_file(root, DISK_SPLITS[split]) if split else root / "CLEVR_scenes.json"
    beside = root / official.name
    return beside if beside.is_file() and not official.is_file() else official


def _image_folder(root: Path, split: str, own: Path | None) -> Path:
    """Where a split's pictures are: in a folder of its name, or together with the others'."""
    name = DISK_SPLITS.get(split, "")
    folders = [own / name, own] if own else [root / "images" / name, root / name, root / "images"]
    return next((folder for folder in folders if folder.is_dir()), folders[0])
