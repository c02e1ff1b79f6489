"""Datasets: what a bank is built from, one file a format, behind one small type."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dsa_env.datasets.captions import Caption
from dsa_env.datasets.problems import Problem, Problems

__all__ = ["Caption", "Dataset", "Picture", "Problem", "Problems"]


@dataclass(frozen=True)
class Picture:
    """One picture with what is known of it.

    Attributes:
        file: its image file.
        captions: the captions written for it.
        facts: every fact that is known to hold of it, for judging hallucination.
        facts_known: whether `facts` was looked for at all; False where the dataset says nothing,
            so that an empty `facts` does not mean that nothing holds.
    """

    file: Path
    captions: tuple[Caption, ...]
    facts: frozenset[str] = frozenset()
    facts_known: bool = True


@dataclass(frozen=True)
class Dataset:
    """Pictures by split, with where they come from.

    Attributes:
        name: the dataset's name, recorded in the bank.
        root: folder that the image files lie under.
        splits: split name ("train", "validation", "test", "pretrain") to its pictures.
        provenance: how the data was made or where it was read from, as JSON's types.
        problems: what was left out, and where what is found later is reported.
    """

    name: str
    root: Path
    splits: dict[str, Sequence[Picture]]
    provenance: dict[str, object] = field(default_factory=dict)
    problems: Problems = field(default_factory=Problems)
