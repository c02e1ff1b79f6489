"""Hallucination by meaning: is there something in the picture that a phrase may stand for?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dsa_env.errors import DSAError

Embed = Callable[[Sequence[str]], NDArray[np.floating]]

THRESHOLD = 0.8
"""Least cosine at which a detected thing supports an asserted phrase; depends on the encoder."""


@dataclass(frozen=True)
class SemanticHallucination:
    """How well what captions assert is supported by what was detected.

    Attributes:
        support: caption by caption, the best cosine in [-1, 1] of each asserted phrase with the
            things detected in the picture; -1 where nothing was.
        threshold: least cosine of a supported phrase.
    """

    support: tuple[NDArray[np.float64], ...]
    threshold: float

    @property
    def rates(self) -> NDArray[np.float64]:
        """[N] share of each caption's phrases that are unsupported; NaN where there are none."""
        found = [(s < self.threshold).mean() if s.size else np.nan for s in self.support]
        return np.array(found)

    @property
    def rate(self) -> float:
        """Share of all asserted phrases that are unsupported; 0 where nothing is asserted."""
        every = np.concatenate(self.support) if self.support else np.empty(0)
        return float((every < self.threshold).mean()) if every.size else 0.0


def semantic_hallucination(
    asserted: Sequence[Sequence[str]],
    detected: Sequence[Sequence[str]],
    embed: Embed,
    threshold: float = THRESHOLD,
) -> SemanticHallucination:
    """Compare asserted object phrases with detected objects by text-embedding similarity.

    So a detected "couch" supports a "sofa", which a comparison of words would count as made up.

    Args:
        asserted: the phrases that each caption asserts.
        detected: the labels of the things detected in its picture.
        embed: from phrases to rows [n, D], such as the ``text`` of a frozen encoder; each phrase
            is embedded once.
        threshold: least cosine in (-1, 1] of a supported phrase.

    Raises:
        DSAError: nothing to compare, numbers that do not fit, or a threshold out of range.
    """
    if len(asserted) != len(detected) or not asserted:
        raise DSAError(
            f"{len(asserted)} captions and {len(detected)} pictures do not fit; give each caption "
            "its phrases and its picture's labels."
        )
    if not -1 < threshold <= 1:
        raise DSAError(f"The threshold is a cosine in (-1, 1], got {threshold:g}.")
    phrases = sorted({phrase for group in (*asserted, *detected) for phrase in group})
    if not phrases:
        return SemanticHallucination(tuple(np.empty(0) for _ in asserted), threshold)
    rows = np.asarray(embed(phrases), dtype=np.float64)
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    if rows.shape[0] != len(phrases) or not np.isfinite(rows).all() or (norms == 0).any():
        raise DSAError(
            f"The embedding must give one finite row, not all zeros, for each of {len(phrases)} "
            f"phrases, got shape {rows.shape}."
        )
    unit = dict(zip(phrases, rows / norms, strict=True))
    support = tuple(
        np.array([max((float(unit[p] @ unit[d]) for d in there), default=-1.0) for p in told])
        for told, there in zip(asserted, detected, strict=True)
    )
    return SemanticHallucination(support, threshold)
