"""From rows of images and captions, however they were written, to a dataset."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from dsa_env.datasets import Caption, Dataset, Picture
from dsa_env.datasets.assembly import Listing, assemble, keep_captions, present
from dsa_env.datasets.problems import Problems
from dsa_env.datasets.splitting import complete
from dsa_env.errors import DSAError

if TYPE_CHECKING:
    from dsa_env.datasets.registry import ReadOptions


@dataclass(frozen=True)
class Row:
    """An image and some of its captions; an image may have several rows.

    Attributes:
        file: the image file.
        captions: where each caption stands, and the caption.
        split: "train", "validation" or "test"; "" where the files give no splits.
        facts_known: whether the captions' facts were given.
    """

    file: Path
    captions: tuple[tuple[str, Caption], ...]
    split: str = ""
    facts_known: bool = False


@dataclass
class _Image:
    split: str
    facts_known: bool = True
    captions: list[tuple[str, Caption]] = field(default_factory=list)


def from_rows(
    name: str,
    root: Path,
    rows: Iterable[Row],
    options: ReadOptions,
    problems: Problems,
    provenance: dict[str, object],
) -> Dataset:
    """A dataset from rows: captions of one image file together, splits where there are none.

    Args:
        name: the dataset's name.
        root: folder that the image files lie under.
        rows: in the files' order.
        options: how to read.
        problems: where bad pictures are reported.
        provenance: where the rows come from.

    Raises:
        DSAError: if an image is in two splits, only some rows give a split, or the data has
            problems that are fatal.
    """
    images: dict[Path, _Image] = {}
    for row in rows:
        image = images.setdefault(row.file, _Image(row.split))
        if image.split != row.split:
            raise DSAError(
                f"{row.file} is in the split {image.split or '(none)'} and in "
                f"{row.split or '(none)'}; give all rows of an image the same split."
            )
        image.captions += row.captions
        image.facts_known &= row.facts_known
    found: dict[str, list[Path]] = {}
    for file, image in images.items():
        found.setdefault(image.split, []).append(file)
    if "" in found:
        if len(found) > 1:
            raise DSAError(
                f"{len(found['']):,} images, such as {found[''][0]}, have no split and others have "
                "one; give every row a split, or none."
            )
        found["train"] = found.pop("")
    listing = Listing()
    planned, origin = complete(
        found,
        lambda file: os.path.relpath(file, root),
        options.held_out_share,
        options.seed,
        listing.has,
    )
    splits: dict[str, list[Picture]] = {}
    for split, files in planned.items():
        splits[split] = []
        for file in present(files, Path, problems, listing, options.limit):
            image = images.pop(file)
            captions = keep_captions(image.captions, file, problems)
            if captions:
                facts = frozenset(fact for caption in captions for fact in caption.facts)
                splits[split].append(Picture(file, captions, facts, image.facts_known))
    return assemble(name, root, splits, {**provenance, "split": origin}, problems)
