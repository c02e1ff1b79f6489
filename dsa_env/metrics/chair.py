"""CHAIR: which share of the things that captions mention are not in the picture.

Rohrbach et al., "Object Hallucination in Image Captioning", EMNLP 2018.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dsa_env.errors import DSAError
from dsa_env.metrics.tokens import tokenise


@dataclass(frozen=True)
class Chair:
    """What CHAIR found, caption by caption, and its figures.

    Attributes:
        mentioned: [N] mentions of things, doubles counted.
        hallucinated: [N] how many of them are not in the picture.
        recalled: [N] how many of the picture's things are mentioned.
        present: [N] how many things the picture has.
        words: [N] words of the captions.
    """

    mentioned: NDArray[np.int64]
    hallucinated: NDArray[np.int64]
    recalled: NDArray[np.int64]
    present: NDArray[np.int64]
    words: NDArray[np.int64]

    @property
    def sentences(self) -> float:
        """CHAIRs: share of the captions with at least one thing that is not there."""
        return float((self.hallucinated > 0).mean())

    @property
    def instances(self) -> float:
        """CHAIRi: share of the mentions that are of things not there; 0 without any mention."""
        return float(self.hallucinated.sum() / max(self.mentioned.sum(), 1))

    @property
    def recall(self) -> float:
        """Share of the pictures' things that are mentioned: silence must not win."""
        return float(self.recalled.sum() / max(self.present.sum(), 1))

    @property
    def length(self) -> float:
        """Mean words of a caption."""
        return float(self.words.mean())

    def summary(self) -> dict[str, float]:
        """The four figures by name."""
        return {
            "chair_s": self.sentences,
            "chair_i": self.instances,
            "object_recall": self.recall,
            "length": self.length,
        }


def chair(
    captions: Sequence[str],
    present: Sequence[Collection[str]],
    mentions: Callable[[str], Sequence[str]] | None = None,
) -> Chair:
    """Hold captions against what their pictures hold.

    The variant is the original one, per mention: a thing that is named twice counts twice.

    Args:
        captions: one a picture.
        present: the things in each picture, by the names that `mentions` gives; for COCO the
            annotated instances united with what the human captions mention.
        mentions: from a caption to the things it mentions, in order and with doubles; None for
            COCO's 80 categories and their synonyms.

    Raises:
        DSAError: no captions, or another number of pictures.
    """
    if not captions:
        raise DSAError("There are no captions to hold against pictures; give at least one.")
    if len(captions) != len(present):
        raise DSAError(f"{len(captions)} captions and {len(present)} pictures do not fit.")
    find = mentions or _coco
    rows = []
    for caption, things in zip(captions, present, strict=True):
        found, there = list(find(caption)), set(things)
        wrong = sum(thing not in there for thing in found)
        rows.append(
            (len(found), wrong, len(there & set(found)), len(there), len(tokenise(caption)))
        )
    return Chair(*np.array(rows, dtype=np.int64).T)


def _coco(caption: str) -> list[str]:
    """The categories that a caption mentions, doubles included."""
    from dsa_env.datasets.coco_vocabulary import coco_mentions

    return [mention.meaning for mention in coco_mentions().find(caption)]
