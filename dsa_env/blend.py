"""The blend of a fine and a coarse view, and its cosine in closed form."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

VANISHED = 1e-14
"""A blend whose squared length is not above this has no direction (rounding leaves about 1e-16)."""


def blend(coarse: ArrayLike, fine: ArrayLike, g: ArrayLike) -> NDArray[np.floating[Any]]:
    """The blended view V' = g V_fine + (1 - g) V_coarse, not normalised.

    Args:
        coarse: coarse features, [..., D].
        fine: fine features, broadcastable to `coarse`.
        g: granularity in [0, 1]; broadcasts against the leading axes (the D axis is added).

    Returns:
        [..., D] in the floating dtype that the inputs promote to. For g = 0 this is `coarse`,
        for g = 1 it is `fine`.
    """
    coarse, fine = np.asarray(coarse), np.asarray(fine)
    share = np.asarray(g, dtype=np.result_type(coarse, fine, np.float32))[..., None]
    mixed: NDArray[np.floating[Any]] = share * fine + (1 - share) * coarse
    return mixed


def blended_cosine(
    fine_similarity: ArrayLike, coarse_similarity: ArrayLike, cross: ArrayLike, g: ArrayLike
) -> NDArray[np.float64]:
    """The cosine between a unit vector q and the blend of two unit vectors f and c.

    From <q, g f + (1-g) c> = g <q,f> + (1-g) <q,c> and
    |g f + (1-g) c|^2 = g^2 + 2 g (1-g) <f,c> + (1-g)^2 follows

        s(g) = (g s_f + (1-g) s_c) / sqrt(g^2 + 2 g (1-g) <f,c> + (1-g)^2).

    Args:
        fine_similarity: s_f = <q, f>, any shape.
        coarse_similarity: s_c = <q, c>.
        cross: <f, c>.
        g: granularity in [0, 1]. All four broadcast against each other.

    Returns:
        s(g) in float64. Where the blend vanishes (f = -c at g = 0.5) it has no direction, and the
        cosine is 0.
    """
    s_f, s_c, x, g = (
        np.asarray(a, dtype=np.float64) for a in (fine_similarity, coarse_similarity, cross, g)
    )
    numerator = g * s_f + (1 - g) * s_c
    square = g * g + 2 * g * (1 - g) * x + (1 - g) * (1 - g)
    alive = square > VANISHED
    scale = np.where(alive, np.sqrt(np.where(alive, square, 1)), np.inf)
    cosine: NDArray[np.float64] = numerator / scale
    return cosine
