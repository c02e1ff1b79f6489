"""An outcome derives its terms, refuses ragged arrays and can be cut and pickled."""

import dataclasses
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsa_env.errors import DSAError
from dsa_env.outcome import Outcome


def outcome(ranks: list[float], k: int = 10) -> Outcome:
    count = len(ranks)
    return Outcome.from_rank(
        query=np.arange(count),
        granularity=np.linspace(0, 1, count),
        rank=ranks,
        severity=np.linspace(0, 1, count),
        retrieved=np.arange(count) + 100,
        k=k,
    )


@given(st.lists(st.integers(2, 400), min_size=1, max_size=30), st.integers(1, 20))
def test_recall_is_one_exactly_where_the_rank_is_within_k(halves: list[int], k: int) -> None:
    ranks = [half / 2 for half in halves]
    made = outcome(ranks, k)
    np.testing.assert_array_equal(made.recall, [1.0 if rank <= k else 0.0 for rank in ranks])
    assert made.recall.dtype == np.float32


def test_terms_follow_from_rank_and_severity() -> None:
    made = outcome([1, 2, 4])
    np.testing.assert_array_equal(made.reciprocal_rank, np.float32([1, 0.5, 0.25]))
    np.testing.assert_array_equal(made.penalty, np.float32([0, -0.5, -1]))
    assert made.reciprocal_rank.dtype == made.penalty.dtype == np.float32


def test_take_keeps_rows_together() -> None:
    made = outcome([1, 2, 4, 11])
    for index in ([3, 0], np.array([True, False, False, True])):
        part = made.take(index)
        rows = np.arange(4)[np.asarray(index)]
        for field in dataclasses.fields(Outcome):
            if field.name != "k":
                np.testing.assert_array_equal(
                    getattr(part, field.name), getattr(made, field.name)[rows]
                )
        assert part.k == made.k
        assert len(part) == 2


def test_is_immutable() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        outcome([1.0]).k = 3  # type: ignore[misc]


def test_survives_pickling() -> None:
    made = outcome([1, 3])
    copy = pickle.loads(pickle.dumps(made))
    np.testing.assert_array_equal(copy.rank, made.rank)
    assert copy.k == made.k


def test_arrays_of_different_lengths_are_refused() -> None:
    with pytest.raises(DSAError, match=r"one length, got query \(2,\), .* rank \(1,\)"):
        Outcome.from_rank([0, 1], [0.5, 0.5], [1.0], [0.0, 0.0], [3, 4], k=10)


def test_two_dimensional_arrays_are_refused() -> None:
    column = np.ones((3, 1))
    with pytest.raises(DSAError, match="one-dimensional"):
        Outcome.from_rank(column, column, column, column, column, k=10)
