"""The vector environment does what as many scalar ones do, in Gymnasium's form, faster."""

from __future__ import annotations

import copy
import pickle
import warnings
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import data_equivalence
from gymnasium.vector import AutoresetMode
from gymnasium.wrappers.vector import (
    DictInfoToList,
    RecordEpisodeStatistics,
    TransformReward,
)

from dsa_env.curves.turn import GAMMA, scatter
from dsa_env.env import RetrievalEnv
from dsa_env.errors import DSAError
from dsa_env.retrieval.shortlist import DIRECTIONS
from dsa_env.testing import synthetic_bank
from dsa_env.vector import RetrievalVectorEnv


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("vector") / "bank"
    synthetic_bank(n_images=100, path=folder)
    return str(folder)


def actions(n: int, steps: int) -> Any:
    return np.random.default_rng(0).uniform(-0.2, 1.2, (steps, n, 1)).astype(np.float32)


def plain(infos: Any) -> Any:
    """Infos as a plain dict, so that types compare equal."""
    return {key: plain(value) for key, value in infos.items()} if isinstance(infos, dict) else infos


@pytest.mark.parametrize(
    ("horizon", "observation"), [(1, "features"), (3, "features"), (1, "index")]
)
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_equals_gymnasiums_own_vectorisation_exactly(
    path: str, direction: str, horizon: int, observation: str
) -> None:
    arguments: dict[str, Any] = {
        "bank": path,
        "direction": direction,
        "horizon": horizon,
        "observation": observation,
    }
    ours = gym.make_vec("DSA/Retrieval-v0", num_envs=5, **arguments)
    theirs = gym.make_vec(
        "DSA/Retrieval-v0",
        num_envs=5,
        vectorization_mode="sync",
        vector_kwargs={"autoreset_mode": AutoresetMode.SAME_STEP},
        **arguments,
    )
    assert isinstance(ours, RetrievalVectorEnv)
    assert ours.observation_space == theirs.observation_space
    assert ours.action_space == theirs.action_space
    for seed in (11, None, [4, 9, 4, 0, 2]):
        one, two = (env.reset(seed=seed) for env in (ours, theirs))  # type: ignore[arg-type]
        assert data_equivalence(one, two, exact=True)
        for action in actions(5, 7):
            one, two = ours.step(action), theirs.step(action)  # type: ignore[assignment]
            assert data_equivalence((*one[:4], plain(one[4])), two, exact=True)  # type: ignore[misc]


@pytest.mark.parametrize("reward", ["clipped", "terms"])
def test_environment_i_is_the_scalar_environment_seeded_with_seed_plus_i(
    path: str, reward: str
) -> None:
    vector = RetrievalVectorEnv(4, path, horizon=2, reward=reward)
    scalars = [RetrievalEnv(path, horizon=2, reward=reward) for _ in range(4)]
    observation, infos = vector.reset(seed=20)
    firsts = [env.reset(seed=20 + i) for i, env in enumerate(scalars)]
    for action in actions(4, 9):
        for i, (first, info) in enumerate(firsts):
            for name, rows in observation.items():
                np.testing.assert_array_equal(rows[i], first[name])
            assert infos["query"][i] == info["query"]
        observation, rewards, terminated, truncated, infos = vector.step(action)
        assert not truncated.any()
        firsts = []
        for i, env in enumerate(scalars):
            last, value, done, _, info = env.step(action[i])
            np.testing.assert_array_equal(rewards[i], value)
            assert terminated[i] == done
            if done:
                final = infos["final_info"]
                assert final["reward_terms"]["penalty"][i] == info["reward_terms"]["penalty"]
                assert final["rank"][i] == info["rank"]
                assert data_equivalence(infos["final_obs"][i], last, exact=True)
                firsts.append(env.reset())
            else:
                firsts.append((last, info))


def test_declares_the_enum_of_its_autoreset_mode(path: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        env = gym.make_vec("DSA/Retrieval-v0", num_envs=3, bank=path)
    assert env.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP
    assert env.num_envs == 3
    assert "DSA/Retrieval-v0" in str(env)
    assert env.spec is not None
    env.spec.to_json()


def test_observations_are_new_arrays_at_every_step(path: str) -> None:
    env = RetrievalVectorEnv(2, path)
    first, _ = env.reset(seed=0, options={"query": 3})
    kept = copy.deepcopy(first)
    for rows in first.values():
        rows[:] = 9
    again, _ = env.reset(options={"query": 3})
    assert data_equivalence(kept, again, exact=True)


def test_a_pickled_environment_continues_where_it_was(path: str) -> None:
    env = RetrievalVectorEnv(3, path, horizon=3)
    env.reset(seed=1)
    env.step(np.full((3, 1), 0.4))
    twin = pickle.loads(pickle.dumps(env))
    for action in actions(3, 6):
        one, two = env.step(action), twin.step(action)
        assert data_equivalence((*one[:4], plain(one[4])), (*two[:4], plain(two[4])), exact=True)


def test_options_choose_one_query_or_one_each(path: str) -> None:
    env = RetrievalVectorEnv(3, path)
    assert env.reset(options={"query": 4})[1]["query"].tolist() == [4, 4, 4]
    assert env.reset(options={"query": [2, 0, 1]})[1]["query"].tolist() == [2, 0, 1]
    with pytest.raises(DSAError, match="one whole number, or 3 of them"):
        env.reset(options={"query": [1, 2]})


def test_final_observations_are_made_on_demand_and_then_kept(path: str) -> None:
    env = RetrievalVectorEnv(2, path)
    last, _ = env.reset(seed=0)
    _, _, _, _, infos = env.step(np.zeros((2, 1)))
    assert "final_obs" in infos
    assert "query" in infos
    assert "missing" not in infos
    with pytest.raises(KeyError):
        infos["missing"]
    assert infos["final_obs"] is infos["final_obs"]
    assert infos["final_obs"].dtype == object
    np.testing.assert_array_equal(infos["final_obs"][1]["text"], last["text"][1])
    for read in (
        dict,
        dict.copy,
        copy.copy,
        copy.deepcopy,
        lambda infos: {**infos},
        lambda infos: dict(infos.items()),
        lambda infos: infos | {},
        lambda infos: {key: infos[key] for key in infos},
        lambda infos: pickle.loads(pickle.dumps(infos)),
    ):
        env.reset(seed=0)
        infos = env.step(np.zeros((2, 1)))[4]
        result = read(infos)
        if read is not dict.copy:  # the one way around the class; it has what was made so far
            np.testing.assert_array_equal(result["final_obs"][1]["text"], last["text"][1])
    infos = env.step(np.zeros((2, 1)))[4]
    infos["final_obs"] = "mine"
    assert infos["final_obs"] == "mine"
    assert len(infos) == len(list(infos)) == 6


@pytest.mark.parametrize("horizon", [1, 2])
def test_gymnasiums_vector_wrappers_work(path: str, horizon: int) -> None:
    plain_env = RetrievalVectorEnv(3, path, horizon=horizon)
    rewarded = TransformReward(
        RetrievalVectorEnv(3, path, horizon=horizon), lambda reward: 2 * reward
    )
    env: Any = DictInfoToList(RecordEpisodeStatistics(rewarded))
    env.reset(seed=2)
    plain_env.reset(seed=2)
    total = np.zeros(3)
    for action in actions(3, 2 * horizon):
        _, rewards, terminated, _, infos = env.step(action)
        _, plain_rewards, _, _, plain_infos = plain_env.step(action)
        np.testing.assert_array_equal(rewards, 2 * plain_rewards)
        total += rewards
        if terminated.all():
            for i in range(3):
                assert infos[i]["episode"]["r"] == pytest.approx(total[i], abs=1e-6)
                assert infos[i]["final_info"]["rank"] == plain_infos["final_info"]["rank"][i]
                last = plain_infos["final_obs"][i]
                assert data_equivalence(infos[i]["final_obs"], last, exact=True)
            total[:] = 0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda env: env.step(np.zeros((2, 1))), r"shape \(3, 1\).*got shape \(2, 1\)"),
        (lambda env: env.step(np.full((3, 1), np.nan)), "Action 0 is NaN"),
        (lambda env: env.reset(seed=[1, 2]), "one seed, or 3 of them; got 2"),
        (lambda env: env.reset(options={"q": 1}), "Unknown reset option"),
    ],
)
def test_wrong_calls_are_refused(path: str, call: Any, message: str) -> None:
    env = RetrievalVectorEnv(3, path)
    env.reset(seed=0)
    with pytest.raises(DSAError, match=message):
        call(env)


def test_wrong_arguments_are_refused(path: str) -> None:
    with pytest.raises(DSAError, match="num_envs must be at least 1"):
        RetrievalVectorEnv(0, path)
    with pytest.raises(DSAError, match="Did you mean 'ansi'"):
        RetrievalVectorEnv(1, path, render_mode="ansii")
    with pytest.raises(DSAError, match=r"call reset\(\) before step"):
        RetrievalVectorEnv(1, path).step(np.zeros((1, 1)))


def test_renders_the_step_just_taken(path: str) -> None:
    env = RetrievalVectorEnv(2, path, render_mode="ansi")
    with pytest.raises(DSAError, match=r"call reset\(\) first"):
        env.render()
    env.reset(options={"query": [0, 1]})
    env.step(np.float32([[0.25], [0.75]]))
    frames = env.render()
    assert frames is not None
    assert ["g 0.25" in frames[0], "g 0.75" in frames[1]] == [True, True]
    assert RetrievalVectorEnv(2, path).render() is None


def test_splitmix64_matches_the_reference_stream() -> None:
    # The first outputs of Vigna's splitmix64.c for the seed 1234567.
    state = np.array([(1234567 + (t + 1) * int(GAMMA)) % 2**64 for t in range(5)], dtype=np.uint64)
    expected = [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ]
    assert [int(scatter(number)) for number in state] == expected


def test_a_policy_can_gather_the_features_of_a_query_itself(path: str) -> None:
    dense = RetrievalVectorEnv(6, path)
    indexed = RetrievalVectorEnv(6, path, observation="index")
    seen, number = dense.reset(seed=3)[0], indexed.reset(seed=3)[0]
    for action in actions(6, 5):
        retrieval = indexed.core.retrieval
        query = number["query"]
        assert query.dtype == np.int64
        shown = np.concatenate([seen["text"], seen["image"]], axis=1)
        np.testing.assert_array_equal(retrieval.observation[query], shown)
        (seen, value, *_), (number, same, *_) = dense.step(action), indexed.step(action)
        np.testing.assert_array_equal(value, same)


def test_a_number_is_not_enough_where_observations_change(path: str) -> None:
    with pytest.raises(DSAError, match="needs horizon 1"):
        RetrievalVectorEnv(2, path, horizon=2, observation="index")
    with pytest.raises(DSAError, match="Did you mean 'index'"):
        RetrievalVectorEnv(2, path, observation="indexes")
