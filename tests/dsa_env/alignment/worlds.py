"""Small worlds in which it is known what an alignment must find."""

import numpy as np

from dsa_env.alignment.pairs import Pairs
from dsa_env.bank import FeatureBank


def linear_pairs(n=256, text=6, image=8, noise=0.05, seed=0):
    """Texts, and images that are the same texts through one linear map [image, text]."""
    rng = np.random.default_rng(seed)
    said = rng.standard_normal((n, text))
    seen = said @ mixing(text, image).T + noise * rng.standard_normal((n, image))
    return Pairs.from_arrays(said, seen)


def mixing(text=6, image=8):
    return np.random.default_rng(99).standard_normal((image, text))


def garbled(bank, path=None):
    """The bank with its coarse view in another space: turned by a random matrix."""
    turn = np.linalg.qr(np.random.default_rng(1).standard_normal((bank.dim, bank.dim)))[0]
    return FeatureBank.from_arrays(
        text=bank.text_features,
        coarse=bank.image_coarse @ turn,
        regions=bank.image_regions,
        region_counts=bank.region_counts,
        region_boxes=bank.region_boxes,
        positives=bank.positives,
        splits=bank.image_split,
        severity=bank.severity,
        texts=bank.texts,
        path=path,
        provenance={"command": "garble"},
    )
