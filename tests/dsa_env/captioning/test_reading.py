"""Captions are read as the bank's own texts were, and encoded by the bank's own encoder."""

from __future__ import annotations

import numpy as np
import pytest

from dsa_env.bank import FeatureBank
from dsa_env.captioning.reading import TextEncoder, fact_reader
from dsa_env.errors import BankError


def a_bank(names: list[str] | None, **more: object) -> FeatureBank:
    rows = np.random.default_rng(0).normal(size=(4, 64))
    facts = None
    if names is not None:
        features = np.random.default_rng(1).normal(size=(len(names), 64))
        facts = {"features": features, "text": [[0]] * 4, "image": [[0]] * 4, "names": names}
    return FeatureBank.from_arrays(rows, rows, rows, facts=facts, **more)  # type: ignore[arg-type]


def test_the_embedded_world_is_read_by_its_phrases(drawn_bank: FeatureBank) -> None:
    read = fact_reader(drawn_bank)
    assert read("a red cube left of a small sphere in warm light") == (
        "a red cube",
        "a small sphere",
        "warm light",
    )
    assert drawn_bank.texts is not None
    assert drawn_bank.facts is not None
    assert drawn_bank.text_facts is not None
    for text in range(0, drawn_bank.n_texts, 7):
        asserted = {drawn_bank.facts[fact] for fact in drawn_bank.text_facts.row(text)}
        assert set(read(drawn_bank.texts[text])) == asserted


def test_categories_of_coco_are_read_by_all_their_names() -> None:
    read = fact_reader(a_bank(["dog", "person"]))
    assert read("Two puppies and a woman near a hot dog") == ("dog", "person", "hot dog")


def test_other_facts_are_read_by_their_own_names() -> None:
    read = fact_reader(a_bank(["lighthouse", "Fishing boat"]))
    assert read("fishing boats below the LIGHTHOUSE, dogs") == ("Fishing boat", "lighthouse")
    assert fact_reader(a_bank(None))("a lighthouse") == ()


def test_new_texts_get_the_features_that_the_bank_would_have(drawn_bank: FeatureBank) -> None:
    encode = TextEncoder(drawn_bank)
    assert drawn_bank.texts is not None
    found = encode([drawn_bank.texts[3], "", " ?!", drawn_bank.texts[5]])
    np.testing.assert_allclose(found[[0, 3]], drawn_bank.text_features[[3, 5]], atol=1e-5)
    assert not found[1:3].any()
    assert encode([]).shape == (0, drawn_bank.dim)


def test_a_bank_of_unknown_or_other_features_is_refused(drawn_bank: FeatureBank) -> None:
    with pytest.raises(BankError, match="does not say which encoder"):
        TextEncoder(a_bank(None))
    said = a_bank(None, texts=["a", "b", "c", "d"], provenance={"encoder": {"name": "embedded"}})
    with pytest.raises(BankError, match="'embedded' does not give this bank's texts"):
        TextEncoder(said)
