"""What an agent sees of a query: frozen features, aggregated over candidates, leak-free."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dsa_env.retrieval.similarity import Components

if TYPE_CHECKING:
    from dsa_env.bank import FeatureBank

TOP = 32
"""How many candidates are aggregated."""
TEMPERATURE = 0.05
"""Of the softmax that weights them."""

Ids = NDArray[np.integer[Any]]
Observations = tuple[NDArray[np.float32], NDArray[np.float32]]


def observed_widths(bank: FeatureBank, direction: str) -> tuple[int, int]:
    """How many floats `observe` returns of a query: of texts, and of images."""
    return (1 if direction == "text_to_image" else 2) * bank.dim, 2 * bank.dim


def observe(
    bank: FeatureBank, direction: str, queries: Ids, items: Ids, components: Components
) -> Observations:
    """The observations of B queries; who is a positive is not among what they are made from.

    Text to image: the text's features [B, D], and the candidates' coarse features weighted by
    their coarse similarity beside their fine features weighted by their fine similarity [B, 2 D].
    Image to text: the candidate texts, weighted by either similarity [B, 2 D], and the image's
    coarse and fine features [B, 2 D].

    Args:
        bank: the bank.
        direction: "text_to_image" or "image_to_text".
        queries: bank ids [B].
        items: bank ids [n] of the candidates.
        components: similarities [B, n].

    Returns:
        text [B, Dt] and image [B, Di], float32 in [-1, 1].
    """
    if direction == "text_to_image":
        text = bank.text_features[queries]
        image = np.concatenate(
            [
                aggregate(components.coarse, lambda i: bank.image_coarse[items[i]]),
                aggregate(components.fine, lambda i: bank.fine_features(items[i])),
            ],
            axis=1,
        )
    else:
        text = np.concatenate(
            [
                aggregate(similarity, lambda i: bank.text_features[items[i]])
                for similarity in (components.coarse, components.fine)
            ],
            axis=1,
        )
        image = np.concatenate([bank.image_coarse[queries], bank.fine_features(queries)], axis=1)
    return _bounded(text), _bounded(image)


def aggregate(similarity: NDArray[np.float32], features: Any) -> NDArray[np.float64]:
    """The mean of the TOP most similar candidates' features, weighted by a softmax.

    Args:
        similarity: [B, n].
        features: function from positions [m] to features [m, D].

    Returns:
        [B, D] float64, within the unit ball.
    """
    from scipy.sparse import csr_array

    queries, n = similarity.shape
    top = min(TOP, n)
    if top < n:
        position = np.sort(np.argpartition(similarity, n - top, axis=1)[:, n - top :], axis=1)
    else:
        position = np.broadcast_to(np.arange(n), (queries, n))
    score = np.take_along_axis(similarity, position, axis=1).astype(np.float64) / TEMPERATURE
    weight = np.exp(score - score.max(axis=1, keepdims=True))
    weight /= weight.sum(axis=1, keepdims=True)
    used, column = np.unique(position, return_inverse=True)
    indptr = np.arange(queries + 1) * top
    share = csr_array((weight.ravel(), column.ravel(), indptr), shape=(queries, len(used)))
    mean: NDArray[np.float64] = share @ np.asarray(features(used), dtype=np.float64)
    return mean


def _bounded(values: NDArray[Any]) -> NDArray[np.float32]:
    """Float32 in [-1, 1]: a unit vector's entry may exceed 1 by rounding."""
    bounded: NDArray[np.float32] = np.clip(values, -1.0, 1.0).astype(np.float32)
    return bounded
