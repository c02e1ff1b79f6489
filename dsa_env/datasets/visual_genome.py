"""Visual Genome: region descriptions as captions, objects as facts.

Expected in the root, as the official archives unpack: `image_data.json`,
`region_descriptions.json`, `objects.json` and the image folders `VG_100K` and `VG_100K_2`, there
or below `images`; beside them, where it is at hand, `dataset_coco.json` (Karpathy's split of COCO).

Half of Visual Genome's images are COCO's: those in Karpathy's test split are left out and counted.
A picture's captions are some of its dozens of regions, chosen by seed. Facts are the names of
objects that many images have; a picture's are those annotated or mentioned by its captions.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Set
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import numpy as np

from dsa_env.datasets import Caption, Dataset, Picture
from dsa_env.datasets import problems as kinds
from dsa_env.datasets.assembly import Listing, assemble, clean, keep_captions, present
from dsa_env.datasets.coco import KARPATHY_FILE, image_folder
from dsa_env.datasets.json_stream import get, stream
from dsa_env.datasets.karpathy import find_karpathy, held_out_ids
from dsa_env.datasets.mentions import Mentions, merge_plurals
from dsa_env.datasets.problems import BadRecordError, Problems
from dsa_env.datasets.splitting import complete

if TYPE_CHECKING:
    from dsa_env.datasets.registry import ReadOptions

NAMES = 1600
"""How many object names are facts: those that the most pictures have."""

_IMAGES = 'Visual Genome\'s image_data.json, a list of {"image_id", "url", "coco_id"}'
_REGIONS = 'Visual Genome\'s region_descriptions.json, a list of {"id", "regions"}'
_OBJECTS = 'Visual Genome\'s objects.json, a list of {"image_id", "objects"}'


@dataclass(frozen=True)
class _Image:
    number: int
    folder: str
    name: str
    coco_id: int | None


def read(root: Path, options: ReadOptions) -> Dataset:
    """Reads Visual Genome as `dsa_env.datasets.registry.read_dataset` asks for it.

    The files are streamed: memory holds the images' names and what is kept of them.

    Raises:
        DSAError: if files are missing or malformed, or the data has problems that are fatal.
    """
    problems, listing = Problems(options.on_bad), Listing()
    images = {image.number: image for image in _images(root / "image_data.json", problems)}
    kept, about = _without_test_images(list(images.values()), root, options)
    folders = {name: image_folder(root, name, options.images) for name in {i.folder for i in kept}}

    def file_of(image: _Image) -> Path:
        return folders[image.folder] / image.name

    planned, origin = complete(
        {"train": kept},
        lambda image: str(image.number),
        options.held_out_share,
        options.seed,
        lambda image: listing.has(file_of(image)),
    )
    chosen = {
        split: present(part, file_of, problems, listing, options.limit)
        for split, part in planned.items()
    }
    wanted = {image.number for part in chosen.values() for image in part}
    told = _captions(root / "region_descriptions.json", wanted, images.keys(), options, problems)
    objects = root / "objects.json"
    if objects.is_file():
        things = _objects(objects, wanted, images.keys(), problems)
        about["objects"] = f"the {NAMES:,} names that the most pictures have, and mentions of them"
    else:
        things = {}
        about["objects"] = f"unknown; {objects.name} not found"
    names, mentions = _vocabulary(things)
    splits: dict[str, list[Picture]] = {split: [] for split in chosen}
    for split, part in chosen.items():
        for image in part:
            file = file_of(image)
            captions = keep_captions(
                (
                    (where, Caption(text, "region", mentions(text)))
                    for where, text in told.pop(image.number, [])
                ),
                file,
                problems,
            )
            annotated = things.pop(image.number, None)
            if captions:
                facts = {names[name] for name in annotated or () if name in names}
                facts.update(fact for caption in captions for fact in caption.facts)
                splits[split].append(
                    Picture(file, captions, frozenset(facts), annotated is not None)
                )
    provenance = {
        "split": origin,
        "captions": f"up to {options.captions} regions a picture, drawn with seed {options.seed}",
        **about,
    }
    return assemble("visual_genome", root, splits, provenance, problems)


def _number(record: Any, path: Path, place: int) -> int:
    """An image's id: `image_id` in some dumps, `id` in others."""
    name = "image_id" if isinstance(record, dict) and "image_id" in record else "id"
    number: int = get(record, name, int, path, place)
    return number


def _images(path: Path, problems: Problems) -> Iterator[_Image]:
    seen: set[int] = set()
    for place, record in enumerate(stream(path, "item", _IMAGES)):
        with problems.skipping():
            number = _number(record, path, place)
            parts = urlsplit(get(record, "url", str, path, place)).path.split("/")
            if len(parts) < 2 or not parts[-1] or not parts[-2]:
                raise BadRecordError(path, place, "has a url that names no folder and file")
            if number in seen:
                problems.report(kinds.DUPLICATE, f"image {number} of {path}")
                continue
            seen.add(number)
            coco_id = record.get("coco_id")
            yield _Image(number, sys.intern(parts[-2]), parts[-1], coco_id)


def _without_test_images(
    images: list[_Image], root: Path, options: ReadOptions
) -> tuple[list[_Image], dict[str, object]]:
    """The images outside of Karpathy's test split, and how many were left out."""
    split_file = options.karpathy or find_karpathy(root, KARPATHY_FILE)
    if split_file is None:
        shared = sum(image.coco_id is not None for image in images)
        return images, {
            "left out": f"none: {KARPATHY_FILE} was not given, so images of COCO's test split may "
            f"be among the {shared:,} that are COCO's; do not test on COCO what trains on them"
        }
    test = held_out_ids(split_file, ("test",))
    kept = [image for image in images if image.coco_id not in test]
    return kept, {"left out": {"in Karpathy's test split": len(images) - len(kept)}}


def _captions(
    path: Path,
    wanted: set[int],
    known: Set[int],
    options: ReadOptions,
    problems: Problems,
) -> dict[int, list[tuple[str, str]]]:
    """Up to `options.captions` regions of each wanted image, no phrase twice, in their order."""
    told: dict[int, list[tuple[str, str]]] = {}
    for place, record in enumerate(stream(path, "item", _REGIONS)):
        with problems.skipping():
            number = _number(record, path, place)
            if number not in known:
                problems.report(kinds.UNKNOWN_IMAGE, f"record {place} of {path.name}", f"{number}")
            elif number in told:
                problems.report(kinds.DUPLICATE, f"image {number} of {path}")
            elif number in wanted:
                phrases: dict[str, tuple[str, str]] = {}
                for n, region in enumerate(get(record, "regions", list, path, place)):
                    about = region if isinstance(region, dict) else {}
                    where = f"region {about.get('region_id', n)} of {path.name}"
                    text = clean(about.get("phrase"))
                    if text:
                        phrases.setdefault(text.lower(), (where, text))
                    else:
                        problems.report(kinds.EMPTY_CAPTION, where, f"of image {number}")
                order = np.random.default_rng([options.seed, number]).permutation(len(phrases))
                among = list(phrases.values())
                told[number] = [among[n] for n in sorted(order[: options.captions])]
    return told


def _objects(
    path: Path, wanted: set[int], known: Set[int], problems: Problems
) -> dict[int, frozenset[str]]:
    """The names of the objects of each wanted image, in lower case."""
    things: dict[int, frozenset[str]] = {}
    for place, record in enumerate(stream(path, "item", _OBJECTS)):
        with problems.skipping():
            number = _number(record, path, place)
            if number not in known:
                problems.report(kinds.UNKNOWN_IMAGE, f"record {place} of {path.name}", f"{number}")
            elif number in wanted:
                names = (
                    sys.intern(clean(name).lower())
                    for thing in get(record, "objects", list, path, place)
                    for name in _names_of(thing)
                )
                things[number] = frozenset(filter(None, names)) | things.get(number, frozenset())
    return things


def _names_of(thing: Any) -> list[Any]:
    """An object's `names`, or its one `name` in older dumps."""
    if not isinstance(thing, dict):
        return []
    names = thing.get("names", thing.get("name"))
    return names if isinstance(names, list) else [names]


def _vocabulary(things: dict[int, frozenset[str]]) -> tuple[dict[str, str], Mentions]:
    """Object name -> the fact that it is, of the commonest names; and what finds them in text."""
    counts = Counter(name for names in things.values() for name in names)
    common = sorted(counts, key=lambda name: (-counts[name], name))[:NAMES]
    facts = merge_plurals(common)
    return facts, Mentions(facts)
