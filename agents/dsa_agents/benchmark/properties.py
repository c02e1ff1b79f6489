"""Properties of queries and pictures that may predict where granularity helps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from dsa_env.bank import FeatureBank

Floats = NDArray[np.float64]

BLOCK = 512
"""Pictures that are compared with their gallery at once."""


def query_properties(
    bank: FeatureBank, images: NDArray[np.integer], prompts: Sequence[str], split: str
) -> dict[str, Floats]:
    """What is known of each query's prompt and picture, [Q] each.

    Of the prompt, which one it is (1 or 0, for each but the first). Of the picture, as far as the
    bank tells: how many regions it has, how large they are on average and the largest (shares of
    the picture), how far they lie apart (root mean square distance of their centres from their
    middle), how many facts are known of it, how long people's captions are (words), how alike its
    coarse and fine features are (cosine), and how alike the picture of its gallery is that
    resembles it most, with both halves blended evenly.

    Args:
        bank: the bank.
        images: picture of each query [Q].
        prompts: prompt of each query, Q of them.
        split: whose galleries the pictures lie in.
    """
    asked = np.array(prompts, dtype=np.str_)
    names = list(dict.fromkeys(prompts))
    found = {f"prompt: {name}": (asked == name).astype(np.float64) for name in names[1:]}
    unique, where = np.unique(images, return_inverse=True)
    of_pictures = {**_regions(bank, unique), **_known(bank, unique), **_views(bank, unique, split)}
    return found | {name: values[where] for name, values in of_pictures.items()}


def _regions(bank: FeatureBank, images: NDArray[np.integer]) -> dict[str, Floats]:
    if bank.region_counts is None:
        return {}
    counts = np.asarray(bank.region_counts[images], dtype=np.float64)
    found = {"regions": counts}
    if bank.region_boxes is None:
        return found
    boxes = np.asarray(bank.region_boxes[images], dtype=np.float64)
    used = np.arange(boxes.shape[1]) < counts[:, None]
    some = np.maximum(counts, 1)[:, None]
    area = np.where(used, boxes[..., 2] * boxes[..., 3], 0.0)
    centres = np.where(used[..., None], boxes[..., :2], 0.0)
    away = np.where(used[..., None], centres - (centres.sum(axis=1) / some)[:, None], 0.0)
    return found | {
        "mean region size": area.sum(axis=1) / some[:, 0],
        "largest region size": area.max(axis=1),
        "spread of regions": np.sqrt(np.square(away).sum(axis=(1, 2)) / some[:, 0]),
    }


def _known(bank: FeatureBank, images: NDArray[np.integer]) -> dict[str, Floats]:
    found = {}
    if bank.image_facts is not None:
        facts = bank.image_facts.take(images).lengths.astype(np.float64)
        found["known facts"] = np.where(bank.image_facts_known[images], facts, np.nan)
        if not bank.image_facts_known[images].all():
            del found["known facts"]
    if bank.texts is not None:
        captions = [bank.captions_of.row(int(image)) for image in images]
        words = [[len(bank.texts[int(text)].split()) for text in texts] for texts in captions]
        if all(words):
            found["words of people's captions"] = np.array([float(np.mean(one)) for one in words])
    return found


def _views(bank: FeatureBank, images: NDArray[np.integer], split: str) -> dict[str, Floats]:
    coarse = np.asarray(bank.image_coarse[images], dtype=np.float64)
    alike = (coarse * bank.fine_features(images, np.float64)).sum(axis=1)
    nearest = np.full(len(images), np.nan)
    for gallery in bank.galleries(split):
        own = np.flatnonzero(np.isin(images, gallery))
        even = _even(bank, gallery)
        place = np.searchsorted(gallery, images[own])
        for start in range(0, len(own), BLOCK):
            rows = own[start : start + BLOCK]
            at = place[start : start + BLOCK]
            cosine = even[at] @ even.T
            cosine[np.arange(len(at)), at] = -1.0
            nearest[rows] = cosine.max(axis=1)
    return {"coarse and fine alike": alike, "nearest other picture": nearest}


def _even(bank: FeatureBank, images: NDArray[np.integer]) -> Floats:
    """Unit vectors [N, D] of pictures' views, blended half and half."""
    both = np.asarray(bank.image_coarse[images], np.float64) + bank.fine_features(
        images, np.float64
    )
    length = np.linalg.norm(both, axis=1, keepdims=True)
    unit: Floats = both / np.maximum(length, 1e-12)
    return unit
