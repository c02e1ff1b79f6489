"""Karpathy's split files, `dataset_coco.json` and its sisters: captions and splits in one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dsa_env.datasets.assembly import clean
from dsa_env.datasets.json_stream import get, stream
from dsa_env.datasets.problems import Problems
from dsa_env.datasets.splitting import split_name

_EXPECTED = (
    'a Karpathy split file, a list "images" of records with "filename", "split" and "sentences"'
)
_FOLDERS = ("", "annotations", "karpathy", "caption_datasets")


@dataclass(frozen=True)
class KarpathyImage:
    """An image of a Karpathy split file.

    Attributes:
        name: the image file's name.
        folder: the folder it lies in, such as "val2014"; "" where the file does not say.
        split: "train", "validation" or "test"; the file's "restval" is "train".
        coco_id: COCO's id of the image, or None in other datasets.
        sentences: where each caption stands, and the caption; "" for one that is no text.
    """

    name: str
    folder: str
    split: str
    coco_id: int | None
    sentences: tuple[tuple[str, str], ...]


def find_karpathy(root: Path, name: str) -> Path | None:
    """The Karpathy file of that name in a dataset's folder, or None."""
    places = (root / folder / name for folder in _FOLDERS)
    return next((place for place in places if place.is_file()), None)


def read_karpathy(path: Path, problems: Problems | None = None) -> Iterator[KarpathyImage]:
    """The images of a Karpathy split file, one at a time.

    Args:
        path: the file.
        problems: where records that cannot be used are reported; None makes the first fatal.

    Raises:
        DSAError: for a file that is missing, cut off or something else.
    """
    problems = Problems() if problems is None else problems
    for number, image in enumerate(stream(path, "images.item", _EXPECTED)):
        with problems.skipping():
            name = get(image, "filename", str, path, number)
            sentences = get(image, "sentences", list, path, number)
            split = get(image, "split", str, path, number)
            coco_id = image.get("cocoid")
            yield KarpathyImage(
                name,
                str(image.get("filepath") or ""),
                split_name(split, path.name),
                coco_id if isinstance(coco_id, int) else None,
                tuple(
                    (f"sentence {row.get('sentid', place)} of {path.name}", clean(row.get("raw")))
                    if isinstance(row, dict)
                    else (f"sentence {place} of {name} in {path.name}", "")
                    for place, row in enumerate(sentences)
                ),
            )


def held_out_ids(path: Path, splits: tuple[str, ...]) -> set[int]:
    """COCO's ids of the images in some splits of `dataset_coco.json`."""
    return {
        image.coco_id
        for image in read_karpathy(path)
        if image.split in splits and image.coco_id is not None
    }
