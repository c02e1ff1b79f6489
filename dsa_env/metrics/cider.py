"""CIDEr-D: how much a caption says what people say of the picture and of no other.

Vedantam et al., "CIDEr: Consensus-based Image Description Evaluation", CVPR 2015, in the D form of
the COCO caption evaluation: clipped counts, and a Gaussian penalty on the length.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from dsa_env.errors import DSAError
from dsa_env.files import read_json, write_json
from dsa_env.metrics.tokens import check_captions, tokenise

ORDER, SIGMA = 4, 6.0
Gram = tuple[str, ...]


@dataclass(frozen=True)
class _Vector:
    """A caption: tf-idf by n-gram for each order, the norms, and how many bigrams it has."""

    weights: tuple[dict[Gram, float], ...]
    norms: tuple[float, ...]
    length: int


class Cider:
    """CIDEr-D with given document frequencies.

    As a *score* the frequencies come from the evaluated set itself (`Cider.score`), so one picture
    alone scores exactly 0, since nothing tells it from others. A *reward* needs frequencies that do
    not change with the batch: fit them once on the captions of the training pictures.

    Attributes:
        documents: how many pictures the frequencies come from.
        frequency: in how many pictures' captions an n-gram occurs.
    """

    def __init__(self, documents: int, frequency: Mapping[Gram, int]) -> None:
        if documents < 1:
            raise DSAError("Document frequencies need the captions of at least one picture.")
        self.documents = documents
        self.frequency = frequency

    @classmethod
    def fit(cls, references: Iterable[Sequence[str]]) -> Self:
        """Frequencies from each picture's captions.

        Raises:
            DSAError: there is no picture.
        """
        frequency: Counter[Gram] = Counter()
        documents = 0
        for texts in references:
            frequency.update(set(chain.from_iterable(_grams(tokenise(text)) for text in texts)))
            documents += 1
        return cls(documents, frequency)

    @classmethod
    def score(
        cls, candidates: Sequence[str], references: Sequence[Sequence[str]]
    ) -> NDArray[np.float64]:
        """The scores [N] of a set of captions, with the set's own frequencies; mean them.

        Raises:
            DSAError: nothing to score, or a caption without references.
        """
        check_captions(candidates, references)
        return cls.fit(references)(candidates, references)

    def __call__(
        self, candidates: Sequence[str], references: Sequence[Sequence[str]]
    ) -> NDArray[np.float64]:
        """The scores [N] >= 0, up to 10, each independent of the other captions.

        Raises:
            DSAError: nothing to score, or a caption without references.
        """
        check_captions(candidates, references)
        return np.array(
            [
                self._one(caption, texts)
                for caption, texts in zip(candidates, references, strict=True)
            ]
        )

    def save(self, path: str | Path) -> None:
        """Write the frequencies as JSON, atomically."""
        table = {" ".join(gram): count for gram, count in self.frequency.items()}
        write_json(path, {"documents": self.documents, "frequency": table})

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read what `save` wrote.

        Raises:
            DSAError: the file is missing or holds something else.
        """
        document = read_json(path)
        try:
            table = {tuple(text.split(" ")): int(n) for text, n in document["frequency"].items()}
            return cls(int(document["documents"]), table)
        except (AttributeError, KeyError, TypeError, ValueError):
            raise DSAError(
                f"{path} holds no document frequencies; write them with Cider.save."
            ) from None

    def _one(self, caption: str, texts: Sequence[str]) -> float:
        told = self._vector(caption)
        each = [_similarity(told, self._vector(text)) for text in texts]
        return 10.0 * float(np.mean(each))

    def _vector(self, text: str) -> _Vector:
        logarithm = math.log(self.documents)
        weights: tuple[dict[Gram, float], ...] = tuple({} for _ in range(ORDER))
        words = tokenise(text)
        for gram, count in Counter(_grams(words)).items():
            idf = logarithm - math.log(max(1.0, self.frequency.get(gram, 0)))
            weights[len(gram) - 1][gram] = count * idf
        norms = tuple(math.sqrt(sum(w * w for w in part.values())) for part in weights)
        return _Vector(weights, norms, max(len(words) - 1, 0))


def _grams(words: Sequence[str]) -> Iterable[Gram]:
    """Every n-gram of 1 to `ORDER` words, as often as it occurs."""
    for n in range(1, ORDER + 1):
        for at in range(len(words) - n + 1):
            yield tuple(words[at : at + n])


def _similarity(told: _Vector, reference: _Vector) -> float:
    """Mean over the orders of the clipped cosine, times the penalty on the length."""
    total = 0.0
    for n in range(ORDER):
        theirs = reference.weights[n]
        shared = sum(
            min(weight, theirs[gram]) * theirs[gram]
            for gram, weight in told.weights[n].items()
            if gram in theirs
        )
        norm = told.norms[n] * reference.norms[n]
        total += shared / norm if norm else shared
    difference = told.length - reference.length
    return total / ORDER * math.exp(-(difference**2) / (2 * SIGMA**2))
