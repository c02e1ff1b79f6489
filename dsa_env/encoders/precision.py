"""Whether rankings survive low precision: one encoder against its float32 self on a sample."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.stats import rankdata

from dsa_env.encoders.protocol import FrozenEncoder, Prepared
from dsa_env.errors import DSAError

TOP = 10  # pictures that count as found; of a small sample, a third
OVERLAP, RANK_CORRELATION = 0.9, 0.95


@dataclass(frozen=True)
class Agreement:
    """How alike two encoders rank the same pictures for the same texts.

    Attributes:
        texts: texts in the sample.
        images: pictures in the sample.
        top: pictures of each text that count as found.
        same_top: mean over texts of the share of those that both find, in [0, 1].
        same_best: share of texts with the same best picture, in [0, 1]; of a tie at the top,
            either counts.
        rank_correlation: mean over texts of Spearman's correlation of the two rankings.
        largest_difference: greatest absolute difference of two cosines.
        margin: median over texts of the cosine gap between the two best pictures in float32;
            where it is below `largest_difference`, best pictures change places as coins fall.
    """

    texts: int
    images: int
    top: int
    same_top: float
    same_best: float
    rank_correlation: float
    largest_difference: float
    margin: float

    @property
    def survives(self) -> bool:
        """Whether nine in ten of the pictures found stay, and whole orders correlate at 0.95.

        Which of two near ties comes first is not held against it.
        """
        return self.same_top >= OVERLAP and self.rank_correlation >= RANK_CORRELATION

    def __str__(self) -> str:
        """One line for people."""
        return (
            f"{self.texts} texts keep {self.same_top:.1%} of their {self.top} best of "
            f"{self.images} pictures and {self.same_best:.1%} of the best, rank correlation "
            f"{self.rank_correlation:.4f}, cosines differ by at most {self.largest_difference:.1e}"
        )


def rankings_survive(
    encoder: FrozenEncoder,
    reference: FrozenEncoder,
    texts: Sequence[str],
    images: Sequence[Image.Image],
) -> Agreement:
    """Compares the rankings of a low-precision encoder with those of the float32 one.

    Args:
        encoder: the one in doubt, such as a bf16 one.
        reference: the same model in float32, with the same coarse feature.
        texts: queries of the sample; some dozens suffice.
        images: RGB pictures of the sample, at least three.

    Returns:
        What agrees; `survives` is the verdict.

    Raises:
        DSAError: if the sample is too small to rank.
    """
    none = np.empty((0, 4), dtype=np.float32)
    return rankings_agree(
        encoder, reference, texts, [reference.prepare(image, none) for image in images]
    )


def rankings_agree(
    encoder: FrozenEncoder,
    reference: FrozenEncoder,
    texts: Sequence[str],
    prepared: Sequence[Prepared],
) -> Agreement:
    """`rankings_survive` for pictures that are prepared already."""
    if len(prepared) < 3 or not texts:
        raise DSAError(
            f"comparing rankings needs at least 3 pictures and 1 text, not {len(prepared)} and "
            f"{len(texts)}; give a larger sample"
        )
    low, high = (_cosines(model, texts, prepared) for model in (encoder, reference))
    best = high.max(1)
    chosen = high[np.arange(len(texts)), low.argmax(1)]
    second = np.partition(high, -2, axis=1)[:, -2]
    top = min(TOP, max(1, len(prepared) // 3))
    return Agreement(
        texts=len(texts),
        images=len(prepared),
        top=top,
        same_top=float(np.mean(_found(low, top, high) / top)),
        same_best=float(np.mean(chosen >= best)),
        rank_correlation=float(np.mean(_spearman(low, high))),
        largest_difference=float(np.abs(low - high).max()),
        margin=float(np.median(best - second)),
    )


def _cosines(
    encoder: FrozenEncoder, texts: Sequence[str], prepared: Sequence[Prepared]
) -> NDArray[np.float64]:
    coarse, _ = encoder.look(prepared)
    cosines: NDArray[np.float64] = encoder.text(texts).astype(np.float64) @ coarse.T
    return cosines


def _found(low: NDArray[np.float64], top: int, high: NDArray[np.float64]) -> NDArray[np.float64]:
    """How many of each row's `top` by `low` are among those by `high`, ties with its last too."""
    last = np.partition(high, -top, axis=1)[:, -top, None]
    chosen = np.argpartition(low, -top, axis=1)[:, -top:]
    found: NDArray[np.float64] = (np.take_along_axis(high, chosen, axis=1) >= last).sum(1)
    return found


def _spearman(one: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
    """Spearman's correlation of each row; ties share ranks, a constant row correlates with none."""
    ranks = [rankdata(rows, axis=1) for rows in (one, other)]
    centred = [rows - rows.mean(1, keepdims=True) for rows in ranks]
    scale = np.sqrt(np.prod([np.square(rows).sum(1) for rows in centred], axis=0))
    correlation: NDArray[np.float64] = np.divide(
        (centred[0] * centred[1]).sum(1), scale, out=np.zeros(len(one)), where=scale > 0
    )
    return correlation
