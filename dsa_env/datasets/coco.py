"""COCO Captions: 2014 with Karpathy's split, 2017, and 2014 alone; objects as facts.

Expected below the root, as the official archives unpack: `annotations/captions_*.json`,
`annotations/instances_*.json`, `dataset_coco.json` (Karpathy's split) and the image folders
`train2014`, `val2014`, `train2017`, `val2017`, there or below `images`.

A caption's facts are the object categories that it mentions; an image's are those that are
annotated, united with those that any of its captions mentions.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from dsa_env.datasets import Caption, Dataset, Picture
from dsa_env.datasets import problems as kinds
from dsa_env.datasets.assembly import Listing, assemble, clean, keep_captions, present
from dsa_env.datasets.coco_vocabulary import CATEGORIES, coco_mentions
from dsa_env.datasets.json_stream import get, stream
from dsa_env.datasets.karpathy import KarpathyImage, find_karpathy, held_out_ids, read_karpathy
from dsa_env.datasets.problems import Problems
from dsa_env.datasets.splitting import complete
from dsa_env.errors import DSAError, unknown

if TYPE_CHECKING:
    from dsa_env.datasets.registry import ReadOptions

VARIANTS = ("karpathy", "2017", "2014", "val2017", "val2014")
KARPATHY_FILE = "dataset_coco.json"
_CAPTIONS = 'a COCO captions file with the lists "images" and "annotations"'
_INSTANCES = 'a COCO instances file with the lists "annotations" and "categories"'

Told = list[tuple[str, str]]  # where each caption stands, and its text


def read(root: Path, options: ReadOptions) -> Dataset:
    """Reads COCO as `dsa_env.datasets.registry.read_dataset` asks for it.

    Without a variant it is Karpathy's split where its file and the 2014 images are there, else
    2017, else 2014. In 2017 and 2014 the validation images are the test split and a seeded share
    of the training images, by image, is the validation split. val2017 and val2014 are those who
    have the validation images alone: they are parted into three.

    Raises:
        DSAError: if files are missing or malformed, the data has problems that are fatal, or, for
            2017 beside a Karpathy file, images to train on lie in Karpathy's validation or test
            split.
    """
    split_file = options.karpathy or find_karpathy(root, KARPATHY_FILE)
    variant = options.variant or _variant(root, split_file)
    if variant not in VARIANTS:
        raise unknown("variant of coco", variant, VARIANTS)
    if variant == "karpathy":
        if split_file is None:
            raise DSAError(
                f"{root} holds no {KARPATHY_FILE}; put Karpathy's split file there, name it with "
                "--karpathy, or choose --variant 2017."
            )
        return _read_karpathy(root, split_file, options)
    return _read_parts(root, variant, split_file, options)


def image_folder(root: Path, name: str, own: Path | None = None) -> Path:
    """Where an image folder such as "val2014" lies: below `own`, the root, or the root's images."""
    bases = (own,) if own else (root, root / "images")
    folders = [base / name for base in bases] + [base for base in bases if base.name == name]
    return next((folder for folder in folders if folder.is_dir()), folders[0])


def _variant(root: Path, split_file: Path | None) -> str:
    if split_file is not None and image_folder(root, "val2014").is_dir():
        return "karpathy"
    for variant in ("2017", "2014", "val2017", "val2014"):
        if _annotations(root, f"captions_{_parts(variant)['train']}").is_file():
            return variant
    return "karpathy" if split_file else "2017"


def _parts(variant: str) -> dict[str, str]:
    """The official parts that a variant reads, by the split they are closest to."""
    if variant.startswith("val"):
        return {"train": variant}
    return {"train": f"train{variant}", "validation": f"val{variant}"}


def _annotations(root: Path, name: str) -> Path:
    """An annotation file: below `annotations`, or in the root itself."""
    inner, outer = root / "annotations" / f"{name}.json", root / f"{name}.json"
    return outer if outer.is_file() and not inner.is_file() else inner


def _read_karpathy(root: Path, split_file: Path, options: ReadOptions) -> Dataset:
    problems, listing = Problems(options.on_bad), Listing()
    planned: dict[str, list[KarpathyImage]] = defaultdict(list)
    seen: dict[int, str] = {}
    for number, image in enumerate(read_karpathy(split_file, problems)):
        if image.coco_id is None:
            raise DSAError(
                f"{split_file}: record {number} has no cocoid; it is not {KARPATHY_FILE} but "
                "another dataset's split file."
            )
        other = seen.setdefault(image.coco_id, image.split)
        if other != image.split:
            raise DSAError(
                f"{split_file}: image {image.coco_id} lies in the splits {other} and "
                f"{image.split}; get the original file."
            )
        planned[image.split].append(image)
    folders = {
        name: image_folder(root, name, options.images)
        for name in {image.folder for images in planned.values() for image in images}
    }
    splits: dict[str, list[Picture]] = {}
    chosen = {}
    for split in [name for name in ("train", "validation", "test") if name in planned]:
        kept: dict[int, KarpathyImage] = {}
        for image in planned.pop(split):
            if kept.setdefault(image.coco_id or 0, image) is not image:
                problems.report(kinds.DUPLICATE, f"image {image.coco_id} of {split_file}")
        chosen[split] = present(
            kept.values(), lambda i: folders[i.folder] / i.name, problems, listing, options.limit
        )
    wanted = {image.coco_id or 0 for images in chosen.values() for image in images}
    objects, about = objects_by_image(root, ("train2014", "val2014"), wanted, set(seen), problems)
    for split, images in chosen.items():
        pictures = (
            _picture(
                folders[image.folder] / image.name,
                image.sentences,
                None if objects is None else objects.get(image.coco_id or 0, set()),
                problems,
            )
            for image in images
        )
        splits[split] = [picture for picture in pictures if picture is not None]
    provenance = {"variant": "karpathy", "split": f"{split_file.name} (restval in train)", **about}
    return assemble("coco", root, splits, provenance, problems)


def _read_parts(root: Path, variant: str, split_file: Path | None, options: ReadOptions) -> Dataset:
    problems, listing = Problems(options.on_bad), Listing()
    files: dict[int, Path] = {}
    numbers: dict[str, list[int]] = {}
    parts = _parts(variant)
    for split, part in parts.items():
        source = _annotations(root, f"captions_{part}")
        names = _images(source, problems)
        if both := names.keys() & files.keys():
            raise DSAError(
                f"{len(both)} images of {source}, such as {min(both)}, lie in the other part too; "
                "get the original files."
            )
        folder = image_folder(root, part, options.images)
        if not folder.is_dir():
            raise DSAError(
                f"The image folder {folder} is not there; unpack it, say with --images where it "
                "lies, or choose --variant val2017 where only the validation images are."
            )
        numbers[split] = list(names)
        files |= {number: folder / name for number, name in names.items()}
    known = set(files)
    left_out = _leaks(numbers["train"], split_file, parts["train"], options)
    numbers["train"] = [number for number in numbers["train"] if number not in left_out]
    planned, origin = complete(
        numbers, str, options.held_out_share, options.seed, lambda n: listing.has(files[n])
    )
    chosen = {
        split: present(planned[split], files.__getitem__, problems, listing, options.limit)
        for split in planned
    }
    wanted = {number for part in chosen.values() for number in part}
    sources = [_annotations(root, f"captions_{part}") for part in parts.values()]
    told = _captions(sources, wanted, known, problems)
    objects, about = objects_by_image(root, parts.values(), wanted, known, problems)
    splits: dict[str, list[Picture]] = {}
    for split, part_of_it in chosen.items():
        pictures = (
            _picture(
                files[number],
                told.pop(number, []),
                None if objects is None else objects.get(number, set()),
                problems,
            )
            for number in part_of_it
        )
        splits[split] = [picture for picture in pictures if picture is not None]
    provenance: dict[str, object] = {"variant": variant, "split": origin, **about}
    provenance["left out"] = (
        {"in Karpathy's validation or test split": len(left_out)}
        if split_file
        else f"none: {KARPATHY_FILE} was not given, so {parts['train']} may hold images of "
        "Karpathy's test split; do not test there what trains on them"
    )
    return assemble("coco", root, splits, provenance, problems)


def _leaks(
    train: Iterable[int], split_file: Path | None, part: str, options: ReadOptions
) -> set[int]:
    """The training images that Karpathy's held-out splits hold, where they may be left out.

    Raises:
        DSAError: naming how many there are, unless they are to be excluded.
    """
    if split_file is None:
        return set()
    leaks = held_out_ids(split_file, ("validation", "test")) & set(train)
    if leaks and options.leaks == "refuse":
        raise DSAError(
            f"{len(leaks):,} images of {part} lie in the validation or test split of "
            f"{split_file}: what trains on them must not be tested there. Take --variant karpathy, "
            "leave them out with --leaks exclude, or move that file out of the folder."
        )
    return leaks


def _images(path: Path, problems: Problems) -> dict[int, str]:
    """Image id -> file name, of a captions file."""
    images: dict[int, str] = {}
    for number, record in enumerate(stream(path, "images.item", _CAPTIONS)):
        with problems.skipping():
            image = get(record, "id", int, path, number)
            name = get(record, "file_name", str, path, number)
            if image in images:
                problems.report(kinds.DUPLICATE, f"image {image} of {path}")
            else:
                images[image] = name
    return images


def _captions(
    files: Iterable[Path], wanted: set[int], known: set[int], problems: Problems
) -> dict[int, Told]:
    """The captions of the wanted images, all of them, in the files' order."""
    told: dict[int, Told] = defaultdict(list)
    for path in files:
        seen: set[int] = set()
        for number, record in enumerate(stream(path, "annotations.item", _CAPTIONS)):
            with problems.skipping():
                image = get(record, "image_id", int, path, number)
                caption = record.get("id") if isinstance(record.get("id"), int) else number
                where = f"caption {caption} of {path.name}"
                if image not in known:
                    problems.report(kinds.UNKNOWN_IMAGE, where, f"image {image}")
                elif caption in seen:
                    problems.report(kinds.DUPLICATE, where)
                elif image in wanted:
                    told[image].append((where, clean(record.get("caption"))))
                seen.add(caption)
    return told


def objects_by_image(
    root: Path, names: Iterable[str], wanted: set[int], known: set[int], problems: Problems
) -> tuple[Mapping[int, set[str]] | None, dict[str, object]]:
    """The categories annotated in the wanted images, and one sentence on where they come from.

    Args:
        root: the dataset's folder.
        names: what the instances files are named after, such as "val2017".
        wanted: ids of the images whose objects are wanted.
        known: ids of every image that may be annotated.
        problems: where annotations that refer to nothing are reported.

    Returns:
        Image id -> its categories, images without annotated objects left out; None where a file
        is missing, since then nothing is known of an image without mentioned objects.
    """
    files = [_annotations(root, f"instances_{name}") for name in names]
    missing = [file.name for file in files if not file.is_file()]
    if missing:
        return None, {
            "objects": f"only those that captions mention; {' and '.join(missing)} not found, so "
            "what holds of an image beyond its captions is unknown"
        }
    objects: dict[int, set[str]] = defaultdict(set)
    for path in files:
        categories = {
            get(record, "id", int, path, number): get(record, "name", str, path, number)
            for number, record in enumerate(stream(path, "categories.item", _INSTANCES))
        }
        for number, record in enumerate(stream(path, "annotations.item", _INSTANCES, empty=True)):
            with problems.skipping():
                image = get(record, "image_id", int, path, number)
                category = categories.get(get(record, "category_id", int, path, number))
                where = f"annotation {record.get('id', number)} of {path.name}"
                if image not in known:
                    problems.report(kinds.UNKNOWN_IMAGE, where, f"image {image}")
                elif category is None:
                    problems.report(kinds.UNKNOWN_CATEGORY, where, str(record.get("category_id")))
                elif image in wanted:
                    objects[image].add(category)
    about = f"annotated instances united with what captions mention, of {len(CATEGORIES)} kinds"
    return objects, {"objects": about}


def _picture(
    file: Path, told: Iterable[tuple[str, str]], objects: set[str] | None, problems: Problems
) -> Picture | None:
    """A picture with its captions' facts; None, reported, where no caption is left."""
    mentions = coco_mentions()
    captions = keep_captions(
        ((where, Caption(text, "caption", mentions(text))) for where, text in told), file, problems
    )
    facts = {fact for caption in captions for fact in caption.facts} | (objects or set())
    return Picture(file, captions, frozenset(facts), objects is not None) if captions else None
