"""What a caption asserts, and what it says to the encoder that a bank was made with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dsa_env.datasets.caption_facts import read_facts
from dsa_env.datasets.coco_vocabulary import CATEGORIES, coco_mentions
from dsa_env.datasets.mentions import Mentions, words
from dsa_env.errors import BankError

if TYPE_CHECKING:
    from dsa_env.bank import FeatureBank

Reader = Callable[[str], tuple[str, ...]]
"""From a caption to the facts that it asserts, in a bank's words."""
PROBES = 4
"""Texts that are encoded again, to see whether an encoder is the bank's."""
SAME = 0.99
"""The least cosine of a text's features now and in the bank."""


def fact_reader(bank: FeatureBank) -> Reader:
    """How the facts of captions are read, in the way that the bank's own were.

    A bank whose facts are phrases of the embedded world is read by that world's phrases, one whose
    facts are COCO's categories by their names and other words for them, any other by the names of
    its own facts, in singular or plural.
    """
    names = bank.facts or []
    if names and all(name in read_facts(name) for name in names):
        return read_facts
    if names and set(names) <= set(CATEGORIES):
        return coco_mentions()
    return Mentions({name.lower(): name for name in names})


class TextEncoder:
    """The frozen encoder of a bank's texts, for texts that are not in the bank.

    Args:
        bank: a bank that says which encoder it was made with.
        device: torch device.

    Raises:
        BankError: it does not say so, or that encoder gives its texts other features.
    """

    def __init__(self, bank: FeatureBank, device: str = "cpu") -> None:
        about = _described(bank)
        self.dim = bank.dim
        self._encoder = _load(about["name"], about.get("text"), device)
        self._check(bank, about["name"])

    def __call__(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Unit rows [len(texts), dim] float32; zeros for a text without a word."""
        told = [place for place, text in enumerate(texts) if words(text)]
        features = np.zeros((len(texts), self.dim), dtype=np.float32)
        if told:
            features[told] = self._encoder.text([texts[place] for place in told])
        return features

    def _check(self, bank: FeatureBank, name: str) -> None:
        """Whether it gives some of the bank's texts the features that the bank has of them."""
        if bank.texts is None:
            return
        ids = np.unique(np.linspace(0, bank.n_texts - 1, PROBES).astype(np.int64))
        now = self._encoder.text([bank.texts[i] for i in ids])
        then = np.asarray(bank.text_features[ids], dtype=np.float32)
        if now.shape != then.shape or np.any(np.einsum("nd,nd->n", now, then) < SAME):
            raise BankError(
                f"The encoder {name!r} does not give this bank's texts the features that the bank "
                "has of them (an aligned bank, or another encoder of that name), so new captions "
                "cannot be compared with its pictures; use the bank that the encoder built."
            )


def _described(bank: FeatureBank) -> dict[str, Any]:
    about = (bank.manifest.get("provenance") or {}).get("encoder")
    if not isinstance(about, dict) or not about.get("name"):
        raise BankError(
            "The bank does not say which encoder made its features, so captions cannot be compared "
            "with its pictures; build it with dsa build."
        )
    return about


@lru_cache(maxsize=2)
def _load(name: str, text: str | None, device: str) -> Any:
    from dsa_env.encoders.families import load_encoder

    return load_encoder(name, device=device, text=text)
