"""Weight-free metrics: the reward has no part in them."""

from __future__ import annotations

import numpy as np
import pytest

from dsa_agents.policies import FixedPolicy
from dsa_env.bank import FeatureBank
from dsa_env.core import RetrievalCore
from dsa_env.errors import DSAError
from dsa_env.testing import synthetic_bank as make_bank
from dsa_tuning.metrics import average, hallucination_metric, weight_free_metrics


def core_of(bank: FeatureBank, **settings: object) -> RetrievalCore:
    return RetrievalCore(bank, "image_to_text", "validation", 1, **settings)  # type: ignore[arg-type]


def test_the_reward_changes_no_metric(synthetic_bank: FeatureBank) -> None:
    one = core_of(synthetic_bank, reward_kwargs={"alpha": 1.0, "beta": 0.0})
    other = core_of(synthetic_bank, reward_kwargs={"alpha": 0.0, "beta": 1.0})
    policy = FixedPolicy(0.3)
    assert weight_free_metrics(one, policy) == weight_free_metrics(other, policy)
    assert not {"reward", "regret"} & set(weight_free_metrics(one, policy))


def test_they_are_what_the_outcome_says(synthetic_bank: FeatureBank) -> None:
    core = core_of(synthetic_bank)
    query = np.arange(core.n_queries)
    outcome = core.outcome(query, np.full(len(query), 0.3, np.float32))
    found = weight_free_metrics(core, FixedPolicy(0.3))
    assert found["recall@1"] == pytest.approx(outcome.recall.mean())
    assert found["severity"] == pytest.approx(outcome.severity.mean())
    assert found["reciprocal_rank"] == pytest.approx((1 / outcome.rank).mean())


def test_hallucination_is_the_truth_where_it_is_known(synthetic_bank: FeatureBank) -> None:
    assert hallucination_metric(core_of(synthetic_bank)) == "hallucination_rate"
    assert hallucination_metric(core_of(make_bank(60, facts=False))) == "severity"


def test_a_bank_that_knows_nothing_of_it_is_refused() -> None:
    rng = np.random.default_rng(0)
    text, coarse, fine = rng.normal(size=(3, 60, 4))
    bank = FeatureBank.from_arrays(text, coarse, fine)
    core = RetrievalCore(bank, "image_to_text", "validation", 1)
    with pytest.raises(DSAError, match="no facts and no severities"):
        hallucination_metric(core)
    assert "hallucination_rate" not in weight_free_metrics(core, FixedPolicy(0.5))


def test_seeds_are_averaged() -> None:
    assert average([{"a": 1.0, "b": 0.0}, {"a": 3.0, "b": 1.0}]) == {"a": 2.0, "b": 0.5}
