"""Rewards joined into few pieces say, to the bit, what the reward says of every outcome."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsa_env.bank import FeatureBank
from dsa_env.core import RetrievalCore
from dsa_env.curves.turn import earned
from dsa_env.env import RetrievalEnv
from dsa_env.outcome import Outcome
from dsa_env.reward_curves import reward_curves
from dsa_env.rewards import ClippedReward, ReciprocalRankReward, TermsReward
from dsa_env.testing import synthetic_bank
from dsa_env.vector import RetrievalVectorEnv


@pytest.fixture(scope="module")
def bank() -> FeatureBank:
    return synthetic_bank(n_images=90, seed=5)


@pytest.fixture(scope="module")
def core(bank: FeatureBank) -> RetrievalCore:
    return RetrievalCore(bank)


def same_as_evaluated(core: RetrievalCore, reward: Any, k: int, seed: int = 0) -> None:
    """Compare at random g, at every breakpoint and on both sides of it."""
    found = core.retrieval.curves
    rewards = reward_curves(found, reward, k)
    rng = np.random.default_rng(seed)
    at = found.start.astype(np.float32)
    g = np.concatenate([at, np.nextafter(at, np.float32(2)), np.nextafter(at, np.float32(-1))])
    g = np.concatenate([np.clip(g, 0, 1), rng.random(len(at), dtype=np.float32)])
    query = np.tile(found.query, 4)
    wanted, _ = reward(core.retrieval.outcomes(query, g, k))
    got = [
        earned(rewards.pieces, rewards.base, rewards.first, q, one)
        for q, one in zip(query, g, strict=True)
    ]
    np.testing.assert_array_equal(np.array(got), wanted)


weight = st.floats(0, 3).filter(lambda w: w == 0 or w > 1e-3)


@given(weight, weight, st.integers(1, 10), st.integers(0, 99))
def test_every_granularity_earns_what_its_outcome_earns(
    core: RetrievalCore, alpha: float, beta: float, k: int, seed: int
) -> None:
    alpha = alpha if alpha or beta else 1.0
    same_as_evaluated(core, ClippedReward(alpha, beta, low=-0.9, high=1.4), k, seed)


def test_a_reward_of_many_pieces(core: RetrievalCore) -> None:
    same_as_evaluated(core, ReciprocalRankReward(), 10)


@pytest.mark.parametrize("segments", [1, 7, 100])
def test_it_is_the_same_in_parts(
    core: RetrievalCore, segments: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = reward_curves(core.retrieval.curves, ClippedReward(), 10)
    monkeypatch.setattr("dsa_env.curves.breakpoints.CHUNK", segments)
    parts = reward_curves(core.retrieval.curves, ClippedReward(), 10)
    for name in ("pieces", "base", "first"):
        np.testing.assert_array_equal(getattr(whole, name), getattr(parts, name))


def test_neighbours_of_one_value_are_one_piece(core: RetrievalCore) -> None:
    rewards = reward_curves(core.retrieval.curves, ClippedReward(), 10)
    same = rewards.pieces[1:, 1] == rewards.pieces[:-1, 1]
    assert not (same & np.isfinite(rewards.pieces[:-1, 0])).any()
    assert len(rewards.pieces) < len(core.retrieval.curves.start) / 2


def test_a_reward_that_may_look_at_g_is_not_joined(core: RetrievalCore) -> None:
    class Own(ClippedReward):
        def __call__(self, outcome: Outcome) -> Any:
            return outcome.recall - outcome.granularity, {}

    for reward in (Own(), TermsReward(), lambda outcome: (outcome.recall, {})):
        assert reward_curves(core.retrieval.curves, reward, 10) is None


def test_a_large_split_steps_without_joining(
    bank: FeatureBank, monkeypatch: pytest.MonkeyPatch
) -> None:
    def rewards() -> Any:
        env, single = RetrievalVectorEnv(4, bank), RetrievalEnv(bank)
        env.reset(seed=3)
        single.reset(seed=3)
        actions = np.random.default_rng(0).random((6, 4, 1), dtype=np.float32)
        several = [env.step(action) for action in actions]
        alone = single.step(actions[0, 0])
        return (
            [(seen["text"], seen["image"], value) for seen, value, *_ in several],
            [infos["final_info"] for *_, infos in several],
            (alone[1], alone[4]),
        )

    joined = rewards()
    monkeypatch.setattr("dsa_env.reward_curves.MOST", 10)
    assert RetrievalCore(bank).reward_curves is None
    np.testing.assert_equal(rewards(), joined)
