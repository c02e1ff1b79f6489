"""Questions are balanced, true answers are true, and the three kinds of negatives differ."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from dsa_env.bank import FeatureBank
from dsa_env.errors import DSAError
from dsa_env.hallucination.pope_sampling import (
    ADVERSARIAL,
    POPULAR,
    RANDOM,
    Questions,
    QuestionSampler,
)


@pytest.fixture(scope="module")
def asked(synthetic_bank: FeatureBank) -> Questions:
    return QuestionSampler(synthetic_bank, "train").sample(60, np.random.default_rng(0))


def bank_of(facts: dict[str, Any], n: int = 6) -> FeatureBank:
    """A bank of n train images, one text each, with those facts."""
    features = np.random.default_rng(1).normal(size=(n, 8))
    return FeatureBank.from_arrays(
        features, features, fine=features, splits=["train"] * n, facts=facts
    )


def test_labels_are_the_truth(synthetic_bank: FeatureBank, asked: Questions) -> None:
    assert synthetic_bank.image_facts is not None
    truth = [set(row) for row in synthetic_bank.image_facts.to_lists()]
    held = [fact in truth[image] for image, fact in zip(asked.image, asked.fact, strict=True)]
    np.testing.assert_array_equal(held, asked.label > 0.5)


def test_every_true_fact_is_followed_by_a_false_one_of_its_kind_and_image(
    synthetic_bank: FeatureBank, asked: Questions
) -> None:
    np.testing.assert_array_equal(asked.label[0::2], 1)
    np.testing.assert_array_equal(asked.label[1::2], 0)
    assert synthetic_bank.fact_kind is not None
    kind = synthetic_bank.fact_kind[asked.fact]
    np.testing.assert_array_equal(kind, asked.kind)
    for same in (kind, asked.image, asked.negative):
        np.testing.assert_array_equal(same[0::2], same[1::2])


def test_the_three_kinds_of_negatives_are_a_third_each(asked: Questions) -> None:
    shares = np.bincount(asked.negative, minlength=3) / len(asked)
    np.testing.assert_allclose(shares, 1 / 3, atol=0.02)


def test_only_facts_that_the_splits_texts_assert_are_asked_about(
    synthetic_bank: FeatureBank,
) -> None:
    assert synthetic_bank.text_facts is not None
    for split in ("train", "test"):
        asked = QuestionSampler(synthetic_bank, split).sample(20, np.random.default_rng(0))
        texts = synthetic_bank.split_texts(split)
        assert set(asked.fact) <= set(synthetic_bank.text_facts.take(texts).indices)
        assert set(asked.image) <= set(synthetic_bank.split_images(split))


def test_popular_negatives_are_asserted_more_often_than_random_ones(
    synthetic_bank: FeatureBank, asked: Questions
) -> None:
    assert synthetic_bank.text_facts is not None
    texts = synthetic_bank.split_texts("train")
    counts = np.bincount(
        synthetic_bank.text_facts.take(texts).indices, minlength=asked.fact.max() + 1
    )
    false = asked.label < 0.5
    popular, random = (
        counts[asked.fact[false & (asked.negative == kind)]].mean() for kind in (POPULAR, RANDOM)
    )
    assert popular > 1.2 * random


def test_adversarial_negatives_are_nearer_to_the_true_fact(
    synthetic_bank: FeatureBank, asked: Questions
) -> None:
    features = synthetic_bank.fact_features
    assert features is not None
    similar = (features[asked.fact[0::2]] * features[asked.fact[1::2]]).sum(axis=1)
    negative = asked.negative[0::2]
    assert similar[negative == ADVERSARIAL].mean() > similar[negative == RANDOM].mean() + 0.05


def test_kinds_come_as_often_as_asserted_equally_often_or_as_weighed() -> None:
    facts = {
        "features": np.random.default_rng(0).normal(size=(6, 8)),
        # facts 0, 1, 2 are scenes asserted by every text, 3, 4, 5 objects asserted by two
        "text": [[0, 3], [1, 4], [2], [0], [1], [2]],
        "image": [[i % 3, 3 + i % 3] for i in range(6)],
        "kinds": ["scene"] * 3 + ["object"] * 3,
    }
    bank = bank_of(facts)
    sampler = QuestionSampler(bank, "train", equal_kinds=True)
    natural = QuestionSampler(bank, "train").sample(300, np.random.default_rng(0))
    equal = sampler.sample(300, np.random.default_rng(0))
    sampler.weigh_kinds([1, 3])
    weighed = sampler.sample(300, np.random.default_rng(0))
    # four of six images have an asserted object; there objects are 2 of 8 assertions, or half
    assert np.mean(natural.kind == 1) == pytest.approx(4 / 6 * 2 / 8, abs=0.03)
    assert np.mean(equal.kind == 1) == pytest.approx(4 / 6 / 2, abs=0.03)
    assert np.mean(weighed.kind == 1) == pytest.approx(4 / 6 * 3 / 4, abs=0.03)


def test_the_same_generator_asks_the_same_questions(synthetic_bank: FeatureBank) -> None:
    sampler = QuestionSampler(synthetic_bank, "train")
    first, again, other = (sampler.sample(4, np.random.default_rng(seed)) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first.fact, again.fact)
    assert not np.array_equal(first.fact[:100], other.fact[:100])


def test_images_without_a_known_fact_are_left_out() -> None:
    features = np.random.default_rng(0).normal(size=(2, 8))
    image = [[0], [1], [0], [1], [], []]
    bank = bank_of({"features": features, "text": [[0], [1], [], [], [], []], "image": image})
    asked = QuestionSampler(bank, "train").sample(5, np.random.default_rng(0))
    assert set(asked.image) == {0, 1, 2, 3}


@pytest.mark.parametrize(
    ("text", "image", "message"),
    [
        ([[0, 1]] * 6, [[0, 1]] * 6, "only one answer"),
        ([[0]] * 6, [[1]] * 6, "holds of its images"),
        ([[]] * 6, [[0]] * 6, "holds of its images"),
    ],
)
def test_facts_with_one_answer_or_none_are_refused(
    text: list[list[int]], image: list[list[int]], message: str
) -> None:
    features = np.random.default_rng(0).normal(size=(2, 8))
    bank = bank_of({"features": features, "text": text, "image": image})
    with pytest.raises(DSAError, match=message):
        QuestionSampler(bank, "train").sample(4, np.random.default_rng(0))


def test_a_bank_without_facts_is_refused() -> None:
    features = np.random.default_rng(1).normal(size=(6, 8))
    bank = FeatureBank.from_arrays(features, features, fine=features)
    with pytest.raises(DSAError, match="holds no facts"):
        QuestionSampler(bank, "train")
