"""Drawing ahead changes nothing: one environment does what a batch of one does."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest

from dsa_env.bank import FeatureBank
from dsa_env.core import RetrievalCore
from dsa_env.env import RetrievalEnv
from dsa_env.episodes import Episodes
from dsa_env.errors import DSAError
from dsa_env.infos import first_info
from dsa_env.retrieval.shortlist import DIRECTIONS
from dsa_env.solo import AHEAD, Solo
from dsa_env.testing import synthetic_bank


@pytest.fixture(scope="module")
def bank() -> FeatureBank:
    return synthetic_bank(n_images=60, seed=2)


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("arguments", [{}, {"observation": "index"}, {"reward": "terms"}])
def test_it_plays_the_episodes_of_a_batch_of_one(
    bank: FeatureBank, direction: str, arguments: dict[str, Any]
) -> None:
    core = RetrievalCore(bank, direction, **arguments)
    solo, batch = Solo(core), Episodes(core, 1)
    solo.seed(77)
    batch.seed([77])
    rng = np.random.default_rng(0)
    for episode in range(AHEAD + 5):
        options = {"query": episode % core.n_queries} if episode % 7 == 3 else None
        seen, info = solo.begin(options)
        wanted = batch.begin(options)
        assert info == first_info(wanted)
        for name, rows in batch.observe().items():
            np.testing.assert_array_equal(seen[name], rows[0])
        g = rng.uniform(-0.2, 1.2, 1).astype(np.float32)
        last, value, info = solo.advance(g)
        step, ended = batch.advance(np.clip(g, 0, 1))
        assert ended
        np.testing.assert_array_equal(value, step.values[0])
        np.testing.assert_equal(dict(info), first_info(step.info()))
        for name, rows in batch.observe().items():
            np.testing.assert_array_equal(last[name], rows[0])


def test_what_an_agent_does_to_an_observation_stays_with_it(bank: FeatureBank) -> None:
    env = RetrievalEnv(bank)
    first, _ = env.reset(seed=4)
    kept = copy.deepcopy(first)
    for row in first.values():
        row[:] = 9
    last, *_ = env.step(np.float32([0.3]))
    for name, row in last.items():
        np.testing.assert_array_equal(row, kept[name])


def test_a_pickled_environment_goes_on_with_the_same_episodes(bank: FeatureBank) -> None:
    env = RetrievalEnv(bank)
    env.reset(seed=4)
    env.step(np.float32([0.3]))
    twin = pickle.loads(pickle.dumps(env))
    for _ in range(3):
        assert env.reset()[1] == twin.reset()[1]
        one, two = env.step(np.float32([0.6])), twin.step(np.float32([0.6]))
        assert one[1] == two[1]
        assert dict(one[4]) == dict(two[4])


def test_actions_of_other_kinds_are_taken_and_wrong_ones_refused(bank: FeatureBank) -> None:
    env = RetrievalEnv(bank)
    values = []
    for action in (np.float32([0.25]), np.array([0.25]), [0.25], 0.25):
        env.reset(options={"query": 3})
        values.append(env.step(action)[1])  # type: ignore[arg-type]
    assert len(set(values)) == 1
    env.reset()
    with pytest.raises(DSAError, match="Action 0 is NaN"):
        env.step(np.float32([np.nan]))
    with pytest.raises(DSAError, match=r"got shape \(2,\)"):
        env.step(np.float32([0.1, 0.2]))
    env.step(np.float32([0.1]))
    with pytest.raises(DSAError, match="The episode ended after its 1 step"):
        env.step(np.float32([0.1]))
    with pytest.raises(DSAError, match="No episode is running"):
        RetrievalEnv(bank).step(np.float32([0.1]))


def test_a_replaced_retrieval_is_used(bank: FeatureBank) -> None:
    env, other = RetrievalEnv(bank), RetrievalCore(synthetic_bank(n_images=60, seed=3))
    g = np.float32([0.4])
    for query in range(4):
        env.reset(options={"query": query})
        env.core.retrieval = other.retrieval
        _, value, *_ = env.step(g)
        assert value == other.step(np.array([query]), g).values[0]
