"""One judge for all captions: what they find, and whether what they assert is true."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dsa_env.bank import FeatureBank
from dsa_env.captioning.judge import Judge
from dsa_env.errors import BankError
from dsa_env.retrieval.severity import pair_severity, pair_unsupported
from dsa_env.retrieval.shortlist import load_retrieval


@pytest.fixture(scope="module")
def judge(drawn_bank: FeatureBank) -> Judge:
    return Judge(drawn_bank, "train")


def test_the_banks_own_captions_are_worth_what_text_to_image_says(
    drawn_bank: FeatureBank, judge: Judge
) -> None:
    retrieval = load_retrieval(drawn_bank, "text_to_image", "train")
    ids, own = retrieval.query_ids, retrieval.cluster
    assert drawn_bank.texts is not None
    found = judge([drawn_bank.texts[i] for i in ids], own)
    outcome = retrieval.outcomes(np.arange(len(ids)), np.full(len(ids), 0.5), 10)
    np.testing.assert_array_equal(found.rank, outcome.rank)
    np.testing.assert_array_equal(found.top[:, 0], outcome.retrieved)
    np.testing.assert_allclose(found.severity, pair_severity(drawn_bank, ids, own), atol=1e-6)
    np.testing.assert_array_equal(found.unsupported, pair_unsupported(drawn_bank, ids, own))


def test_what_is_asserted_is_held_against_the_captions_own_picture(
    drawn_bank: FeatureBank, judge: Judge
) -> None:
    assert drawn_bank.texts is not None
    texts = [drawn_bank.texts[i] for i in drawn_bank.captions_of.indices[:4]]
    own = drawn_bank.split_images("train")[[9, 10, 11, 12]]
    found = judge(texts, own)
    ids = drawn_bank.captions_of.indices[:4]
    np.testing.assert_allclose(found.severity, pair_severity(drawn_bank, ids, own), atol=1e-6)
    np.testing.assert_array_equal(found.unsupported, pair_unsupported(drawn_bank, ids, own))
    assert found.unsupported.max() > 0


def test_who_asserts_nothing_supports_nothing(drawn_bank: FeatureBank, judge: Judge) -> None:
    own = drawn_bank.split_images("train")[:4]
    found = judge(["", "a a a", "the the cube", "a cube"], own)
    assert found.facts.tolist() == [0, 0, 0, 1]
    assert found.severity[:3].tolist() == [1, 1, 1]
    assert found.severity[3] < 1
    assert np.isnan(found.unsupported[:3]).all()


def test_silence_is_as_far_from_every_picture(drawn_bank: FeatureBank, judge: Judge) -> None:
    gallery = judge.galleries[0]
    found = judge(["", ""], gallery[[0, 5]])
    assert found.rank.tolist() == [(len(gallery) + 1) / 2] * 2


def test_facts_that_the_bank_does_not_know_are_judged_by_the_network_alone(
    drawn_bank: FeatureBank, judge: Judge
) -> None:
    assert drawn_bank.facts is not None
    new = next(
        name
        for color in ("gray", "red", "blue", "cyan")
        for other in ("gray", "red", "blue", "cyan")
        if (name := f"a {color} cube behind a {other} sphere") not in drawn_bank.facts
    )
    parts = [part for part in (new[: new.index(" behind")], new[new.index("behind ") + 7 :])]
    known = [part for part in parts if part in drawn_bank.facts]
    picture = drawn_bank.split_images("train")[:1]
    found = judge([new], picture)
    assert found.facts.tolist() == [3]
    assert 0 < found.severity[0] <= 1
    assert drawn_bank.image_facts is not None
    holding = {drawn_bank.facts[i] for i in drawn_bank.image_facts.row(int(picture[0]))}
    wanted = np.mean([part not in holding for part in known]) if known else np.nan
    np.testing.assert_allclose(found.unsupported, [wanted])


def test_a_caption_is_judged_the_same_in_any_company(drawn_bank: FeatureBank, judge: Judge) -> None:
    assert drawn_bank.texts is not None
    own = np.repeat(drawn_bank.split_images("train"), 20)
    told = [drawn_bank.texts[i % drawn_bank.n_texts] for i in range(len(own))]
    found = judge(told, own, progress=True)
    for row in (0, 17, 300, 471):
        alone = judge([told[row]], own[[row]])
        assert alone.rank == found.rank[row]
        assert alone.top.tolist() == found.top[[row]].tolist()
        np.testing.assert_allclose(alone.severity, found.severity[row], atol=1e-6)
        assert alone.facts == found.facts[row]


def test_scores_fall_and_small_galleries_leave_places_empty(tmp_path: Path) -> None:
    bank = a_small_bank()
    judge = Judge(bank, "test")
    found = judge(["a red cube", "a dog"], [2, 3])
    assert found.top[:, 3:].tolist() == [[-1, -1]] * 2
    assert (np.diff(found.score[:, :3]) <= 0).all()
    assert sorted(found.top[0, :3].tolist()) == [1, 2, 3]
    assert found.severity.tolist() == [0, 0]
    assert np.isnan(found.unsupported).all()


def a_small_bank() -> FeatureBank:
    """Features of texts by the embedded encoder, of pictures random; no facts, no network."""
    from dsa_env.encoders.families import load_encoder

    rng = np.random.default_rng(0)
    texts = ["a red cube", "a blue sphere", "a gray cylinder", "a scene"]
    return FeatureBank.from_arrays(
        load_encoder("embedded").text(texts),
        rng.normal(size=(4, 64)),
        rng.normal(size=(4, 64)),
        texts=texts,
        splits=["train", "test", "test", "test"],
        provenance={"encoder": {"name": "embedded"}},
    )


def test_pictures_of_another_split_are_refused(drawn_bank: FeatureBank, judge: Judge) -> None:
    stranger = drawn_bank.split_images("test")[:1]
    with pytest.raises(BankError, match="not in the train split"):
        judge(["a cube"], stranger)
