"""The best fixed g is the top of the exact curve; the re-paired world holds luck alone."""

from __future__ import annotations

import numpy as np
import pytest

from dsa_agents.baselines import best_fixed, null_core, reward_curve
from dsa_env.bank import FeatureBank
from dsa_env.core import RetrievalCore
from dsa_env.outcome import Outcome


def indifferent(outcome: Outcome) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """The same reward whatever happens."""
    return np.ones(len(outcome)), {}


def near_a_third(outcome: Outcome) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """A reward that looks at g alone."""
    return -np.abs(outcome.granularity - 1 / 3), {}


@pytest.fixture
def core(synthetic_bank: FeatureBank) -> RetrievalCore:
    return RetrievalCore(synthetic_bank, split="validation", k=1)


def test_the_reward_curve_is_the_mean_over_the_queries(core: RetrievalCore) -> None:
    grid = np.array([0.0, 0.3, 1.0])
    rewards = [
        [core.evaluate(np.array([q]), np.array([g]))[0][0] for q in range(core.n_queries)]
        for g in grid
    ]
    np.testing.assert_allclose(reward_curve(core, grid), np.mean(rewards, axis=1), atol=1e-6)


def test_the_best_fixed_granularity_is_the_top_of_the_curve(core: RetrievalCore) -> None:
    fixed = best_fixed(core, points=201)
    curve = reward_curve(core, np.linspace(0, 1, 201))
    assert reward_curve(core, np.array([fixed.granularity]))[0] == curve.max()


def test_the_best_fixed_granularity_of_a_reward_that_names_it(
    synthetic_bank: FeatureBank,
) -> None:
    core = RetrievalCore(synthetic_bank, split="validation", reward=near_a_third)
    assert best_fixed(core).granularity == pytest.approx(1 / 3, abs=1 / 500)


def test_of_equally_good_granularities_the_middle_is_taken(synthetic_bank: FeatureBank) -> None:
    core = RetrievalCore(synthetic_bank, split="validation", reward=indifferent)
    assert best_fixed(core).granularity == 0.5


def test_re_pairing_leaves_nothing_about_the_fine_view_to_learn(
    synthetic_bank: FeatureBank,
) -> None:
    """The fine view alone serves object queries; re-paired, it serves nobody in particular."""

    def advantage(core: RetrievalCore) -> float:
        query, kind = np.arange(core.n_queries), core.retrieval.kind
        found = core.evaluate(query, np.ones(len(query)))[2].recall
        return float(found[kind == 1].mean() - found[kind == 0].mean())

    real = RetrievalCore(synthetic_bank, split="train", k=1)
    assert advantage(real) > 0.5
    assert abs(advantage(null_core(real))) < 0.15


def test_re_pairing_leaves_the_real_split_alone(core: RetrievalCore) -> None:
    before = core.oracle()[0].copy()
    twin = null_core(core, seed=1)
    assert not np.array_equal(twin.oracle()[0], before)
    assert np.array_equal(core.oracle()[0], before)
    again = RetrievalCore(core.bank, core.direction, core.split, k=1)
    assert np.array_equal(again.oracle()[0], before)


def test_re_pairing_is_decided_by_its_seed(core: RetrievalCore) -> None:
    first, same, other = (null_core(core, seed=seed).oracle()[0] for seed in (2, 2, 3))
    assert np.array_equal(first, same)
    assert not np.array_equal(first, other)
