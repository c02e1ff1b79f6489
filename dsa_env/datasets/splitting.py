"""Splits by image: other people's words for them, and seeded ones where the files give none."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from hashlib import sha256
from typing import TypeVar

from dsa_env.errors import DSAError, unknown

T = TypeVar("T")

SPLIT_WORDS = {
    "train": "train",
    "training": "train",
    "restval": "train",  # Karpathy's: what is left of COCO's validation images
    "val": "validation",
    "valid": "validation",
    "dev": "validation",
    "validation": "validation",
    "test": "test",
    "testing": "test",
}


def split_name(word: str, where: str) -> str:
    """The split that a file's own word for it means.

    Raises:
        DSAError: for a word that means none, naming `where` it stands.
    """
    found = SPLIT_WORDS.get(word.strip().lower())
    if found is None:
        raise unknown(f"split in {where}", word, SPLIT_WORDS)
    return found


def draw(names: Iterable[str], count: int, seed: int) -> set[str]:
    """`count` of the names, chosen by a seeded hash of each; their order plays no part."""
    return set(sorted(names, key=lambda name: sha256(f"{seed}\n{name}".encode()).digest())[:count])


def complete(
    found: Mapping[str, Sequence[T]],
    key: Callable[[T], str],
    share: float,
    seed: int,
    eligible: Callable[[T], bool] = lambda _: True,
) -> tuple[dict[str, list[T]], str]:
    """Fills the splits that a dataset's files do not give, by image and seeded.

    With training and validation pictures only, validation becomes test; where validation is
    missing, a share of the training pictures takes its place; training pictures alone are parted
    into three. Without training pictures, or without any that is eligible, the splits stay as they
    are.

    Args:
        found: split name to its pictures, in any form.
        key: what names a picture's image; one image never falls into two splits.
        share: of the eligible training pictures that each missing split gets, at least one.
        seed: of the choice.
        eligible: which training pictures may be held out: those whose file is there.

    Returns:
        The splits, each in its original order, and one sentence that says where they come from.

    Raises:
        DSAError: for too few pictures.
    """
    splits = {name: list(items) for name, items in found.items() if items}
    said = f"{', '.join(splits)} as the files have them"
    if "train" not in splits or {"validation", "test"} <= set(splits):
        return splits, said
    told = []
    if "test" not in splits and "validation" in splits:
        splits["test"] = splits.pop("validation")
        told.append("the files' validation pictures are the test split")
    names = {key(item) for item in splits["train"] if eligible(item)}
    count = max(1, round(share * len(names)))
    missing = [name for name in ("test", "validation") if name not in splits]
    if names and count * len(missing) >= len(names):
        raise DSAError(
            f"Of {len(splits['train']):,} training pictures {len(names):,} have a file, too few to "
            f"hold out {' and '.join(missing)} splits: add pictures, or give the splits."
        )
    for name in missing if names else ():
        chosen = draw(names, count, seed)
        names -= chosen
        splits[name] = [item for item in splits["train"] if key(item) in chosen]
        splits["train"] = [item for item in splits["train"] if key(item) not in chosen]
        told.append(f"{count:,} training pictures drawn with seed {seed} are the {name} split")
    first = [name for name in ("train", "validation", "test") if name in splits]
    ordered = {name: splits.pop(name) for name in first} | splits
    return ordered, "; ".join([*told, "the rest as the files have it"])
