"""From records to pictures, the same way for every format: checked, counted, whole."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TypeVar

from dsa_env.datasets import Caption, Dataset, Picture
from dsa_env.datasets import problems as kinds
from dsa_env.datasets.problems import Problems
from dsa_env.errors import DSAError

T = TypeVar("T")


@dataclass
class Listing:
    """Which files exist; each folder is listed once, so that asking is cheap."""

    _names: dict[str, frozenset[str]] = field(default_factory=dict)

    def has(self, file: Path) -> bool:
        """Whether the file is there."""
        folder, name = os.path.split(file)
        if folder not in self._names:
            try:
                self._names[folder] = frozenset(os.listdir(folder or "."))
            except OSError:
                self._names[folder] = frozenset()
        return name in self._names[folder]


def clean(text: object) -> str:
    """A caption on one line with single spaces; "" for what is no text."""
    return " ".join(text.split()) if isinstance(text, str) else ""


def present(
    planned: Iterable[T],
    file_of: Callable[[T], Path],
    problems: Problems,
    listing: Listing,
    limit: int | None = None,
) -> list[T]:
    """Those of the planned pictures whose file is there, `limit` at most; reports the others.

    Raises:
        DSAError: when one is missing and the problems are fatal.
    """

    def there(item: T) -> bool:
        file = file_of(item)
        if listing.has(file):
            return True
        problems.report(kinds.MISSING_IMAGE, file)
        return False

    return list(islice(filter(there, planned), limit))


def keep_captions(
    captions: Iterable[tuple[str, Caption]], image: Path, problems: Problems
) -> tuple[Caption, ...]:
    """The captions of a picture that say something; reports the others, and if none is left.

    Args:
        captions: where each stands in the files, and the caption, its text `clean`.
        image: the picture's file.
        problems: where empty ones are reported.

    Raises:
        DSAError: when one is empty, or none is left, and the problems are fatal.
    """
    kept = []
    for where, caption in captions:
        if caption.text:
            kept.append(caption)
        else:
            problems.report(kinds.EMPTY_CAPTION, where, f"of {image.name}")
    if not kept:
        problems.report(kinds.NO_CAPTIONS, image)
    return tuple(kept)


def assemble(
    name: str,
    root: Path,
    splits: Mapping[str, Sequence[Picture]],
    provenance: dict[str, object],
    problems: Problems,
) -> Dataset:
    """A dataset from its pictures, once it is sure that it can be used.

    A split of which nothing is left has a line in the provenance under "empty".

    Raises:
        DSAError: if no picture is left, or one image file lies in two splits.
    """
    empty = [split for split, pictures in splits.items() if not pictures]
    splits = {split: pictures for split, pictures in splits.items() if pictures}
    if not splits:
        told = "; ".join(problems.lines(1)) or "its files list none"
        raise DSAError(f"{root} has no pictures that can be used: {told}.")
    seen: dict[Path, str] = {}
    for split, pictures in splits.items():
        for picture in pictures:
            other = seen.setdefault(picture.file, split)
            if other != split:
                raise DSAError(
                    f"{picture.file} lies in the splits {other} and {split}; what is trained on "
                    "must not be tested on: take it out of one."
                )
    counts = {split: len(pictures) for split, pictures in splits.items()}
    facts = "known" if any(p.facts_known for ps in splits.values() for p in ps) else "unknown"
    about = {"root": str(root), **provenance, "pictures": counts, "facts": facts}
    if empty:
        about["empty"] = f"nothing is left of {', '.join(empty)}"
    return Dataset(name, root, dict(splits), about, problems)
