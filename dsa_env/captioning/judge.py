"""What captions are worth: do they find their own picture, and is what they assert true of it?"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dsa_env.bank import FeatureBank
from dsa_env.bank.ragged import Ragged
from dsa_env.blend import blended_cosine
from dsa_env.captioning.reading import TextEncoder, fact_reader
from dsa_env.errors import BankError
from dsa_env.progress import bar
from dsa_env.retrieval.severity import detector_folder, pair_severity, pair_unsupported
from dsa_env.retrieval.similarity import ImageViews, image_views, texts_against_images

EVEN = 0.5
"""The blend by which every caption is judged, whatever granularity it was written with."""
TOP = 5
"""How many of the best items are kept, to be shown."""
BLOCK = 256
"""Captions that are compared with a gallery at once."""

Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Judged:
    """What B captions are worth.

    Attributes:
        rank: [B] float32 >= 1, of a caption's own picture among its gallery, when it is sorted by
            the cosine with the caption; the expected rank on ties.
        top: [B, K] int32 bank ids of the pictures that the caption finds, best first; -1 where the
            gallery has fewer than K = 5.
        score: [B, K] float32, their cosines.
        severity: [B] float32 in [0, 1], how much of what the caption asserts its own picture does
            not support, by the bank's hallucination detection network; see `Judge`.
        unsupported: [B] float32, the true share of asserted facts that do not hold of the picture,
            among those that the bank knows of; NaN where there is none.
        facts: [B] int32, how many facts could be read.
    """

    rank: NDArray[np.float32]
    top: NDArray[np.int32]
    score: NDArray[np.float32]
    severity: NDArray[np.float32]
    unsupported: NDArray[np.float32]
    facts: NDArray[np.int32]


class Judge:
    """Holds captions against a bank: one judge for all, whatever wrote them.

    *Self-retrieval*: the caption goes through the bank's frozen text encoder and is compared with
    the pictures of the gallery (those of text to image), each in the even blend of its coarse and
    fine view. A caption without a word is equally far from all of them.

    *Severity*: the mean of 1 - probability over the facts that the caption asserts, by the bank's
    hallucination detection network. A caption of which no fact can be read has severity 1: it
    supports nothing, and silence or babble must not be the way to be spared a penalty. In a bank
    without such a network every severity is 0.

    Args:
        bank: a bank that says which encoder it was made with.
        split: whose galleries are searched.
        device: torch device of the encoder.

    Raises:
        BankError: the bank lacks the split, or its encoder cannot be had.
    """

    def __init__(self, bank: FeatureBank, split: str, device: str = "cpu") -> None:
        self.bank = bank
        self.galleries = bank.galleries(split)
        self._home = np.full(bank.n_images, -1)
        for number, images in enumerate(self.galleries):
            self._home[images] = number
        self._split = split
        self._encode = TextEncoder(bank, device)
        self._read = fact_reader(bank)
        self._views: tuple[int, ImageViews] | None = None

    def __call__(
        self, captions: Sequence[str], pictures: ArrayLike, *, progress: bool = False
    ) -> Judged:
        """Judge captions [B], each with the picture [B] (bank ids of the split) it is about.

        Args:
            captions: B texts; equal ones are encoded once.
            pictures: [B] ints.
            progress: show a progress bar on standard error.

        Raises:
            BankError: a picture is not one of the split.
        """
        own = np.asarray(pictures, dtype=np.int64)
        strange = own[self._home[own] < 0]
        if len(strange):
            raise BankError(f"Picture {strange[0]} is not in the {self._split} split.")
        texts, which = _distinct(captions)
        features = self._encode(texts)
        rank, top, score = self._retrieve(features, which, own, progress)
        severity, unsupported, facts = self._assert(texts, features, which, own)
        return Judged(rank, top, score, severity, unsupported, facts)

    def _retrieve(
        self, features: NDArray[np.float32], which: Ints, own: Ints, progress: bool
    ) -> tuple[NDArray[np.float32], NDArray[np.int32], NDArray[np.float32]]:
        rank = np.empty(len(own), dtype=np.float32)
        top = np.full((len(own), TOP), -1, dtype=np.int32)
        score = np.full((len(own), TOP), np.nan, dtype=np.float32)
        with _told(progress, len(own)) as advance:
            for number in np.unique(self._home[own]):
                items = self.galleries[number]
                keep = min(TOP, len(items))
                for rows, cosine in self._blocks(int(number), features, which, own):
                    mine = cosine[np.arange(len(rows)), np.searchsorted(items, own[rows])]
                    better = (cosine > mine[:, None]).sum(axis=1)
                    tied = (cosine == mine[:, None]).sum(axis=1) - 1
                    rank[rows] = 1 + better + tied / 2
                    best = np.argsort(-cosine, axis=1, kind="stable")[:, :keep]
                    top[rows, :keep] = items[best]
                    score[rows, :keep] = np.take_along_axis(cosine, best, axis=1)
                    advance(len(rows))
        return rank, top, score

    def _blocks(
        self, number: int, features: NDArray[np.float32], which: Ints, own: Ints
    ) -> Iterator[tuple[Ints, NDArray[np.float64]]]:
        """Rows whose pictures are in a gallery, and their cosines [b, n] with all of it."""
        views = self._gallery(number)
        rows = np.flatnonzero(self._home[own] == number)
        texts, place = np.unique(which[rows], return_inverse=True)
        order = np.argsort(place, kind="stable")
        for start in range(0, len(texts), BLOCK):
            part = texts[start : start + BLOCK]
            first, last = np.searchsorted(place[order], [start, start + len(part)])
            here = order[first:last]
            asked = _unit(features[part])
            found = texts_against_images(asked, views, self.bank.temperature)
            cosine = blended_cosine(found.fine, found.coarse, found.cross, EVEN)
            for begin in range(0, len(here), BLOCK):
                some = here[begin : begin + BLOCK]
                yield rows[some], cosine[place[some] - start]

    def _gallery(self, number: int) -> ImageViews:
        """The views of a gallery's pictures; the last one's are kept."""
        if self._views is None or self._views[0] != number:
            self._views = number, image_views(self.bank, self.galleries[number])
        return self._views[1]

    def _assert(
        self, texts: list[str], features: NDArray[np.float32], which: Ints, own: Ints
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int32]]:
        """Severity, unsupported share and number of facts of each caption."""
        bank = self.bank
        names = bank.facts
        if names is None or bank.fact_features is None or bank.text_facts is None:
            nothing = np.zeros(len(which), dtype=np.float32)
            return nothing, np.full_like(nothing, np.nan), nothing.astype(np.int32)
        told = [self._read(text) for text in texts]
        number = {name: i for i, name in enumerate(names)}
        new = sorted({fact for facts in told for fact in facts} - number.keys())
        number |= {name: len(names) + i for i, name in enumerate(new)}
        asserted = [[number[fact] for fact in facts] for facts in told]
        known = [[fact for fact in facts if fact < len(names)] for facts in asserted]
        rows = np.concatenate([np.asarray(bank.fact_features), self._encode(new)])
        severity = pair_severity(_with_texts(bank, features, asserted, rows), which, own)
        unsupported = pair_unsupported(
            _with_texts(bank, features, known, np.asarray(bank.fact_features)), which, own
        )
        facts = np.array([len(some) for some in asserted], dtype=np.int32)[which]
        return self._charged(severity, facts), unsupported, facts

    def _charged(
        self, severity: NDArray[np.float32], facts: NDArray[np.int32]
    ) -> NDArray[np.float32]:
        """The severities, 1 where nothing could be read, 0 where the bank has no network."""
        if detector_folder(self.bank) is None:
            return np.zeros_like(severity)
        return np.where(facts == 0, np.float32(1), severity)


def _distinct(captions: Sequence[str]) -> tuple[list[str], Ints]:
    """The different captions in the order of their first use, and the number [B] of each."""
    number: dict[str, int] = {}
    which = [number.setdefault(caption, len(number)) for caption in captions]
    return list(number), np.array(which, dtype=np.int64)


def _unit(features: NDArray[np.float32]) -> NDArray[np.float64]:
    """Rows of unit length in float64; rows of zeros stay."""
    rows = features.astype(np.float64)
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(length == 0, 1.0, length)


def _with_texts(
    bank: FeatureBank,
    features: NDArray[np.float32],
    asserted: list[list[int]],
    facts: NDArray[np.float32],
) -> FeatureBank:
    """The same pictures with captions as texts: what is made for a bank's texts judges them too."""
    rows = Ragged.from_lists(asserted)
    arrays = {
        **bank.arrays,
        "text_features": features,
        "fact_features": facts,
        "text_facts_indptr": rows.indptr,
        "text_facts_indices": rows.indices,
    }
    return FeatureBank(bank.manifest, arrays, path=bank.path)


@contextmanager
def _told(progress: bool, total: int) -> Iterator[Callable[[int], None]]:
    """A way to tell how many captions are done."""
    if not progress:
        yield lambda done: None
        return
    with bar("Judging captions", total) as shown:
        yield shown.advance
