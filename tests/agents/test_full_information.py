"""The full-information policy learns what there is to learn, and leaves the process as it was."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dsa_agents.baselines import best_fixed
from dsa_agents.full_information import Fit, fit_full_information
from dsa_agents.policies import OraclePolicy, Policy
from dsa_env.bank import FeatureBank
from dsa_env.core import RetrievalCore
from dsa_env.errors import DSAError

QUICK = Fit(members=1, max_steps=120, min_steps=120, hidden=(64, 32), batch=128)


def cores(bank: FeatureBank, **settings: object) -> list[RetrievalCore]:
    return [RetrievalCore(bank, split=s, k=1, **settings) for s in ("train", "validation", "test")]


def mean_reward(core: RetrievalCore, policy: Policy) -> float:
    query = np.arange(core.n_queries)
    return float(core.evaluate(query, policy(core, query))[0].mean())


def test_it_finds_most_of_what_there_is_to_find(synthetic_bank: FeatureBank) -> None:
    train, validation, test = cores(synthetic_bank)
    fixed = mean_reward(test, best_fixed(validation))
    best = mean_reward(test, OraclePolicy())
    reached = mean_reward(test, fit_full_information(train, validation, QUICK))
    assert best - fixed > 0.2
    assert reached > fixed + 0.7 * (best - fixed)


def test_it_chooses_from_its_grid_and_repeats_itself(synthetic_bank: FeatureBank) -> None:
    train, validation, test = cores(synthetic_bank)
    query = np.arange(test.n_queries)
    first, second = (fit_full_information(train, validation, QUICK)(test, query) for _ in range(2))
    assert np.array_equal(first, second)
    assert np.isin(first, np.linspace(0, 1, 33, dtype=np.float32)).all()
    assert first.dtype == np.float32


def test_where_nothing_can_be_learnt_it_stays_with_the_mean_curve(
    synthetic_bank: FeatureBank,
) -> None:
    """A start that no later step improves on validation is kept."""
    train, _, test = cores(synthetic_bank)
    stubborn = Fit(members=1, learning_rate=1e-9, max_steps=20, min_steps=20)
    g = fit_full_information(train, train, stubborn)(test, np.arange(test.n_queries))
    grid = np.linspace(0, 1, 33, dtype=np.float32)
    query = np.arange(train.n_queries)
    curve = [train.evaluate(query, np.full(len(query), each))[0].mean() for each in grid]
    assert set(np.unique(g)) == {grid[int(np.argmax(curve))]}


def test_it_leaves_threads_and_generators_alone(synthetic_bank: FeatureBank) -> None:
    train, validation, _ = cores(synthetic_bank)
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    fit_full_information(train, validation, Fit(members=1, max_steps=2, min_steps=2))
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.get_rng_state(), state)


def test_a_vector_reward_is_refused(synthetic_bank: FeatureBank) -> None:
    train, validation, _ = cores(synthetic_bank, reward="terms")
    with pytest.raises(DSAError, match="vector reward"):
        fit_full_information(train, validation, QUICK)
