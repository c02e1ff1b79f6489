"""ROUGE-L of captions, as the COCO caption evaluation has it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dsa_env.metrics.tokens import check_captions, tokenise

BETA = 1.2
"""How much more recall weighs than precision; ROUGE packages have 1."""


def rouge_l(candidates: Sequence[str], references: Sequence[Sequence[str]]) -> NDArray[np.float64]:
    """The score [N] in [0, 1] of each caption: F_1.2 of its longest common subsequence.

    Lin, "ROUGE", 2004; precision and recall are each the best over the references.

    Raises:
        DSAError: nothing to score, or a caption without references.
    """
    check_captions(candidates, references)
    return np.array(
        [
            _score(tokenise(caption), [tokenise(text) for text in texts])
            for caption, texts in zip(candidates, references, strict=True)
        ]
    )


def _score(told: list[str], references: list[list[str]]) -> float:
    common = [_longest_common(told, text) for text in references]
    precision = max(length / max(len(told), 1) for length in common)
    recall = max(
        length / max(len(text), 1) for length, text in zip(common, references, strict=True)
    )
    if precision == 0 or recall == 0:
        return 0.0
    return (1 + BETA**2) * precision * recall / (recall + BETA**2 * precision)


def _longest_common(one: list[str], other: list[str]) -> int:
    """The length of the longest common subsequence."""
    row = [0] * (len(other) + 1)
    for word in one:
        before = 0
        for at, theirs in enumerate(other, start=1):
            above = row[at]
            row[at] = before + 1 if word == theirs else max(above, row[at - 1])
            before = above
    return row[-1]
