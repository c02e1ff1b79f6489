"""The number of readings of texts as a feature and as groups of queries."""

from __future__ import annotations

import numpy as np
import pytest

from dsa_env.errors import DSAError
from dsa_env.logic.ambiguity import ambiguity_feature, by_ambiguity, group_of, reading_counts
from dsa_env.logic.grammar import MOST

TEXTS = ["a red cube", "two dogs on a sofa", "the cube left of the ball and the cone", "a red cube"]


def test_texts_are_counted_by_their_words_alone() -> None:
    counts = reading_counts(TEXTS)
    assert counts.dtype == np.int16
    assert counts.tolist() == [1, 0, 2, 1]


def test_a_bank_without_texts_is_refused() -> None:
    with pytest.raises(DSAError, match="holds no texts"):
        reading_counts(None)


def test_the_feature_grows_from_0_to_1() -> None:
    feature = ambiguity_feature(np.arange(MOST + 10))
    assert feature.dtype == np.float32
    assert feature[0] == 0
    assert feature[MOST] == 1 == feature[-1]
    assert (np.diff(feature[: MOST + 1]) > 0).all()


def test_groups_have_means_of_known_values() -> None:
    counts = [0, 1, 1, 5, 2]
    assert group_of(counts).tolist() == [0, 1, 1, 2, 2]
    table = by_ambiguity(counts, {"recall": [1, 0, np.nan, 1, 0], "severity": [np.nan] * 5})
    assert table == {
        "not read": {"queries": 1, "recall": 1.0},
        "one reading": {"queries": 2, "recall": 0.0},
        "several readings": {"queries": 2, "recall": 0.5},
    }
    assert list(by_ambiguity([1, 1], {})) == ["one reading"]
    with pytest.raises(DSAError, match="recall has shape"):
        by_ambiguity(counts, {"recall": [1.0]})
