"""The one pass is, to the bit, what the core's parts do one after the other."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from dsa_env.bank import FeatureBank
from dsa_env.core import RetrievalCore
from dsa_env.curves.turn import SOON, draw
from dsa_env.errors import DSAError
from dsa_env.one_pass import OnePass
from dsa_env.outcome import Outcome
from dsa_env.retrieval.shortlist import DIRECTIONS
from dsa_env.step import clip
from dsa_env.testing import synthetic_bank

LARGEST = 2**64 - 1


@pytest.fixture(scope="module")
def bank() -> FeatureBank:
    return synthetic_bank(n_images=90, seed=5)


def own(outcome: Outcome) -> tuple[NDArray[Any], dict[str, NDArray[Any]]]:
    """A reward that the compiled pass does not know."""
    return outcome.recall - np.float32(0.3) * outcome.granularity, {"recall": outcome.recall}


@pytest.mark.parametrize("observation", ["features", "index"])
@pytest.mark.parametrize(
    ("reward", "settings"),
    [
        ("clipped", {}),
        ("clipped", {"alpha": 0.7, "beta": 1.9, "low": -0.3, "high": 0.6}),
        ("reciprocal_rank", {"alpha": 1.3, "beta": 0.1}),
        ("terms", {}),
        (own, {}),
    ],
)
@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("batch", [1, SOON, 500])
def test_a_turn_is_its_parts(
    bank: FeatureBank, batch: int, direction: str, reward: Any, settings: Any, observation: str
) -> None:
    core = RetrievalCore(
        bank, direction, reward=reward, reward_kwargs=settings, observation=observation
    )
    rng = np.random.default_rng(batch)
    key = rng.integers(LARGEST, size=batch, dtype=np.uint64, endpoint=True)
    query = rng.integers(core.n_queries, size=batch)
    action = rng.uniform(-0.3, 1.3, batch).astype(np.float32)
    breaks = core.retrieval.curves.start
    action[::3] = breaks[rng.integers(len(breaks), size=len(action[::3]))]
    step, following, seen = OnePass(core).turn(query, action, key, 99)
    plain = core.step(query, clip(action))
    np.testing.assert_array_equal(following, draw(key, 99, core.n_queries))
    np.testing.assert_array_equal(step.values, plain.values)
    assert step.values.dtype == plain.values.dtype == np.float64
    np.testing.assert_equal(step.info(), plain.info())
    for name in ("query", "granularity", "rank", "recall", "severity", "retrieved"):
        ours, theirs = getattr(step.outcome, name), getattr(plain.outcome, name)
        np.testing.assert_array_equal(ours, theirs)
        assert ours.dtype == theirs.dtype
    wanted = core.observe(following)
    assert seen.keys() == wanted.keys()
    for name, rows in seen.items():
        np.testing.assert_array_equal(rows, wanted[name])
        assert rows.dtype == wanted[name].dtype
        assert rows.flags.writeable


def test_an_action_that_is_no_number_ends_a_turn(bank: FeatureBank) -> None:
    action = np.array([0.2, np.nan, 0.4], dtype=np.float32)
    made = OnePass(RetrievalCore(bank))
    with pytest.raises(DSAError, match="Action 1 is NaN"):
        made.turn(np.arange(3), action, np.zeros(3, np.uint64), 1)
