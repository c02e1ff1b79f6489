"""How much of what a text asserts an image does not support: estimated, and in truth."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dsa_env.errors import BankError

if TYPE_CHECKING:
    from dsa_env.bank import FeatureBank

DETECTOR_FOLDER = "hallucination"
"""Where a bank's folder holds its hallucination detection network."""
CHUNK = 1 << 20


def detector_folder(bank: FeatureBank) -> Path | None:
    """Where a bank's hallucination detection network lies; None where it has none."""
    folder = bank.path / DETECTOR_FOLDER if bank.path is not None else None
    return folder if folder is not None and folder.is_dir() else None


def pair_severity(bank: FeatureBank, text_ids: ArrayLike, image_ids: ArrayLike) -> NDArray[Any]:
    """The severity of each (text, image) pair, as the reward charges it.

    From the bank's hallucination detection network where it has one, else from its own table of
    severities, else 0.

    Args:
        bank: the bank.
        text_ids: [P] ids of the texts.
        image_ids: [P] ids of the images they are asserted of.

    Returns:
        [P] float32 in [0, 1].
    """
    texts, images = np.asarray(text_ids, np.int64), np.asarray(image_ids, np.int64)
    folder = detector_folder(bank)
    if folder is not None:
        try:
            from dsa_env.hallucination import HallucinationDetector
        except ImportError as error:
            raise BankError(
                f"{folder} holds a hallucination detection network, which needs {error.name}; "
                "pip install 'dsa-env[agents]'."
            ) from error
        detector = HallucinationDetector.from_pretrained(folder)
        scored = np.asarray(detector.severity(bank, texts, images), dtype=np.float32)
        return np.clip(scored, 0.0, 1.0)
    if bank.severity is not None:
        return np.asarray(bank.severity[texts, images], dtype=np.float32)
    return np.zeros(len(texts), dtype=np.float32)


def pair_unsupported(
    bank: FeatureBank, text_ids: ArrayLike, image_ids: ArrayLike
) -> NDArray[np.float32]:
    """The share of each text's asserted facts that do not hold in the image: the ground truth.

    Args:
        bank: the bank.
        text_ids: [P] ids of the texts.
        image_ids: [P] ids of the images.

    Returns:
        [P] float32 in [0, 1]; NaN where the text asserts no fact, or the image's are not known.
    """
    texts, images = np.asarray(text_ids, np.int64), np.asarray(image_ids, np.int64)
    share = np.full(len(texts), np.nan, dtype=np.float32)
    if bank.text_facts is None or bank.image_facts is None or bank.fact_features is None:
        return share
    from scipy.sparse import csr_array

    n_facts = len(bank.fact_features)
    for start in range(0, len(texts), CHUNK):
        part = slice(start, start + CHUNK)
        asserted, holding = (
            csr_array((np.ones(len(r.indices)), r.indices, r.indptr), shape=(len(r), n_facts))
            for r in (bank.text_facts.take(texts[part]), bank.image_facts.take(images[part]))
        )
        supported: NDArray[np.float64] = np.asarray(asserted.multiply(holding).sum(axis=1)).ravel()
        total = np.diff(asserted.indptr)
        judged = (total > 0) & bank.image_facts_known[images[part]]
        share[part] = np.where(judged, 1 - supported / np.maximum(total, 1), np.nan)
    return share
