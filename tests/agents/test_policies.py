"""Every policy keeps one contract, and each does what its name says."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from dsa_agents.policies import (
    ControllerPolicy,
    FixedPolicy,
    OraclePolicy,
    Policy,
    RandomPolicy,
)
from dsa_env.bank import FeatureBank
from dsa_env.controller import GranularityController
from dsa_env.core import RetrievalCore
from dsa_env.env import RetrievalEnv
from dsa_env.errors import DSAError
from tests.agents.made_runs import untrained

MAKERS: dict[str, Callable[[RetrievalCore], Policy]] = {
    "random": lambda core: RandomPolicy(3),
    "fixed": lambda core: FixedPolicy(0.25),
    "controller": lambda core: ControllerPolicy(untrained(core)),
    "oracle": lambda core: OraclePolicy(),
}


@pytest.fixture(params=["text_to_image", "image_to_text"])
def core(request: pytest.FixtureRequest, synthetic_bank: FeatureBank) -> RetrievalCore:
    return RetrievalCore(synthetic_bank, request.param, "test", k=1)


@pytest.mark.parametrize("name", MAKERS)
def test_a_policy_gives_every_query_a_granularity(name: str, core: RetrievalCore) -> None:
    policy, query = MAKERS[name](core), np.arange(core.n_queries)
    g = policy(core, query)
    assert g.shape == query.shape
    assert g.dtype == np.float32
    assert ((g >= 0) & (g <= 1)).all()
    assert np.array_equal(g, policy(core, query))


@pytest.mark.parametrize("name", MAKERS)
def test_a_choice_does_not_depend_on_the_batch(name: str, core: RetrievalCore) -> None:
    policy, query = MAKERS[name](core), np.arange(core.n_queries)
    some = np.array([5, 0, 11, 5])
    np.testing.assert_allclose(policy(core, some), policy(core, query)[some], atol=1e-6)


def test_random_policies_cover_the_range_and_differ_by_seed(core: RetrievalCore) -> None:
    query = np.arange(core.n_queries)
    first, second = RandomPolicy(0)(core, query), RandomPolicy(1)(core, query)
    assert first.min() < 0.2
    assert first.max() > 0.8
    assert not np.array_equal(first, second)


@pytest.mark.parametrize("granularity", [-0.01, 1.01, float("nan")])
def test_a_fixed_granularity_outside_the_range_is_refused(granularity: float) -> None:
    with pytest.raises(DSAError, match=r"\[0, 1\]"):
        FixedPolicy(granularity)


def test_no_granularity_beats_the_oracle(core: RetrievalCore) -> None:
    query = np.arange(core.n_queries)
    best = core.evaluate(query, OraclePolicy()(core, query))[0]
    for g in np.linspace(0, 1, 23, dtype=np.float32):
        reward = core.evaluate(query, np.full(len(query), g))[0]
        assert (reward <= best + 1e-6).all()


def test_a_vector_reward_has_no_oracle(synthetic_bank: FeatureBank) -> None:
    core = RetrievalCore(synthetic_bank, split="test", reward="terms")
    with pytest.raises(DSAError, match="no oracle"):
        OraclePolicy()(core, np.arange(3))


def test_refining_is_what_the_environment_would_have_played(synthetic_bank: FeatureBank) -> None:
    env = RetrievalEnv(synthetic_bank, split="test", k=1, horizon=3)
    controller = untrained(env.core)
    chosen = ControllerPolicy(controller)(env.core, np.arange(6))
    for query in range(6):
        observation, _ = env.reset(options={"query": query})
        for _ in range(3):
            g = controller.predict({name: value[None] for name, value in observation.items()})
            observation, *_ = env.step(g)
        assert chosen[query] == pytest.approx(float(g[0]), abs=1e-6)


def test_a_controller_for_other_features_is_refused(core: RetrievalCore) -> None:
    policy = ControllerPolicy(GranularityController({"text": 3, "image": 4}))
    with pytest.raises(DSAError, match="expected"):
        policy(core, np.arange(2))
