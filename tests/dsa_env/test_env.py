"""The scalar environment keeps Gymnasium's contract, SB3's and its own documentation."""

from __future__ import annotations

import copy
import json
import pickle
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import stable_baselines3.common.env_checker as sb3
from gymnasium.utils.env_checker import check_env, data_equivalence
from gymnasium.wrappers import RescaleAction
from numpy.typing import NDArray

import dsa_env
from dsa_env.env import RetrievalEnv
from dsa_env.errors import DSAError
from dsa_env.outcome import Outcome
from dsa_env.retrieval.shortlist import DIRECTIONS
from dsa_env.testing import synthetic_bank

INFO = {
    *("query", "rank", "recall", "severity", "granularity", "retrieved"),
    *("oracle_reward", "regret", "reward_terms"),
}


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("env") / "bank"
    synthetic_bank(n_images=100, path=folder)
    return str(folder)


def make(path: str, **arguments: Any) -> gym.Env[Any, Any]:
    return gym.make("DSA/Retrieval-v0", bank=path, **arguments)


def half_of_recall(
    outcome: Outcome, share: float = 0.5
) -> tuple[NDArray[Any], dict[str, NDArray[Any]]]:
    return share * outcome.recall, {"recall": outcome.recall}


def play(env: gym.Env[Any, Any], steps: int, seed: int = 3) -> Iterator[tuple[Any, ...]]:
    env.action_space.seed(seed)
    yield env.reset(seed=seed)
    for _ in range(steps):
        returned = env.step(env.action_space.sample())
        yield returned
        if returned[2]:
            yield env.reset()


@pytest.mark.parametrize("horizon", [1, 3])
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_passes_both_checkers_without_a_warning(path: str, direction: str, horizon: int) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for mode in (None, "ansi", "rgb_array"):
            env = make(path, direction=direction, horizon=horizon, render_mode=mode)
            check_env(env.unwrapped, skip_render_check=mode is None)
        sb3.check_env(RescaleAction(env, np.float32(-1), np.float32(1)), skip_render_check=False)
        # [0, 1] is what g means; SB3 recommends [-1, 1], which its adapter gives it.
        warnings.filterwarnings("ignore", "We recommend you to use a symmetric")
        sb3.check_env(env, skip_render_check=False)


@pytest.mark.parametrize("horizon", [1, 3])
def test_terminates_at_the_horizon_and_never_truncates(path: str, horizon: int) -> None:
    env = make(path, horizon=horizon)
    for _ in range(3):
        env.reset()
        for step in range(1, horizon + 1):
            _, reward, terminated, truncated, _ = env.step(np.float32([0.5]))
            assert terminated is (step == horizon)
            assert truncated is False
            assert type(reward) is float


@pytest.mark.parametrize("horizon", [1, 3])
def test_info_has_the_documented_keys_at_every_step(path: str, horizon: int) -> None:
    env = make(path, horizon=horizon)
    for returned in play(env, 20):
        info = returned[-1]
        if len(returned) == 2:
            assert info.keys() == {"query"}
            continue
        assert info.keys() == INFO
        assert info["reward_terms"].keys() == {"recall", "penalty"}
        numbers = [*info.values(), *info["reward_terms"].values()]
        assert {type(number) for number in numbers} == {int, float, dict}
        assert info["regret"] == info["oracle_reward"] - returned[1] >= 0
        assert f"| {next(iter(info))} " in str(RetrievalEnv.__doc__)
    assert all(f"| {key} " in str(RetrievalEnv.__doc__) for key in INFO)


def test_the_query_stays_through_the_episode_and_changes_after(path: str) -> None:
    env = make(path, horizon=4)
    asked = []
    for episode in range(12):
        first, info = env.reset(seed=1 if episode == 0 else None)
        for g in (0.0, 0.3, 0.9, 1.0):
            observation, _, _, _, step = env.step(np.float32([g]))
            assert step["query"] == info["query"]
            np.testing.assert_array_equal(observation["text"], first["text"])
            np.testing.assert_array_equal(observation["granularity"], np.float32([g]))
        asked.append(info["query"])
    assert len(set(asked)) > 6


def test_same_seed_same_rollout_other_seed_another(path: str) -> None:
    one, two, other = (list(play(make(path), 15, seed)) for seed in (3, 3, 4))
    assert data_equivalence(one, two, exact=True)
    assert not data_equivalence(one, other)


def test_queries_are_drawn_uniformly(path: str) -> None:
    env = RetrievalEnv(path, split="test")
    env.reset(seed=0)
    drawn = [env.reset()[1]["query"] for _ in range(3000)]
    counts = np.bincount(drawn, minlength=env.core.n_queries)
    expected = 3000 / env.core.n_queries
    assert ((counts - expected) ** 2 / expected).sum() < 2 * env.core.n_queries


def test_unseeded_environments_differ(path: str) -> None:
    env = make(path)
    first = [env.reset()[1]["query"] for _ in range(8)]
    second = [make(path).reset()[1]["query"] for _ in range(8)]
    assert first != second


def test_an_option_chooses_the_query(path: str) -> None:
    env = make(path)
    for query in (0, 7, np.int64(3)):
        _, info = env.reset(options={"query": query})
        assert info["query"] == query
        assert env.step(np.float32([0.5]))[-1]["query"] == query


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"query": 10**6}, r'options\["query"\] must lie in 0\.\.\d+'),
        ({"query": -1}, "must lie in"),
        ({"query": 1.5}, "must be one whole number, got 1.5"),
        ({"query": [1, 2]}, "must be one whole number"),
        ({"querry": 1}, "Unknown reset option 'querry'. Did you mean 'query'"),
    ],
)
def test_wrong_options_are_refused(path: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(DSAError, match=message):
        make(path).reset(options=options)


def test_a_pickled_environment_continues_where_it_was(path: str) -> None:
    for env in (make(path, horizon=3), RetrievalEnv(synthetic_bank(n_images=40), horizon=3)):
        env.reset(seed=5)
        env.step(np.float32([0.2]))
        for twin in (pickle.loads(pickle.dumps(env)), copy.deepcopy(env)):
            original = pickle.loads(pickle.dumps(env))
            for g in (0.9, 0.4):
                assert data_equivalence(
                    original.step(np.float32([g])), twin.step(np.float32([g])), exact=True
                )
            for _ in range(3):
                assert data_equivalence(original.reset(), twin.reset(), exact=True)


def test_the_spec_goes_through_json(path: str) -> None:
    env = make(path, direction="image_to_text", reward="clipped", reward_kwargs={"beta": 0.5})
    assert env.spec is not None
    text = env.spec.to_json()
    assert json.loads(text)["kwargs"]["reward_kwargs"] == {"beta": 0.5}
    again = gym.make(gym.envs.registration.EnvSpec.from_json(text))
    assert data_equivalence(list(play(env, 5)), list(play(again, 5)), exact=True)


@pytest.mark.parametrize(
    ("reward", "kwargs"),
    [
        (f"{__name__}:half_of_recall", None),
        (f"{__name__}:half_of_recall", {"share": 0.5}),
        (half_of_recall, None),
        ("clipped", {"alpha": 0.5, "beta": 0}),
    ],
)
def test_rewards_are_given_by_name_and_by_object(path: str, reward: Any, kwargs: Any) -> None:
    env = make(path, reward=reward, reward_kwargs=kwargs)
    for returned in play(env, 10):
        if len(returned) == 5:
            assert returned[1] == 0.5 * returned[-1]["recall"]


def test_a_vector_reward_comes_as_an_array(path: str) -> None:
    env = RetrievalEnv(path, reward="terms")
    env.reset(seed=0)
    _, reward, _, _, info = env.step(np.float32([0.5]))
    assert env.reward_space is not None
    assert reward.astype(np.float32) in env.reward_space
    assert reward.tolist() == [info["recall"], -info["severity"]]
    assert np.isnan(info["regret"])


@pytest.mark.parametrize(
    ("action", "message"),
    [
        (np.zeros(2), r"shape \(1,\).*got shape \(2,\)"),
        (np.float32([np.nan]), "NaN: the policy has diverged"),
    ],
)
def test_wrong_actions_are_refused(path: str, action: Any, message: str) -> None:
    env = make(path)
    env.reset()
    with pytest.raises(DSAError, match=message):
        env.step(action)


def test_actions_outside_are_clipped(path: str) -> None:
    env = make(path)
    for action, g in ((-2.0, 0.0), (5.0, 1.0)):
        env.reset(options={"query": 1})
        assert env.step(np.float32([action]))[-1]["granularity"] == g


def test_stepping_at_the_wrong_time_is_refused(path: str) -> None:
    env = RetrievalEnv(path)
    with pytest.raises(DSAError, match=r"call reset\(\) before step\(\)"):
        env.step(np.float32([0.5]))
    env.reset()
    env.step(np.float32([0.5]))
    with pytest.raises(DSAError, match=r"ended after its 1 step\(s\): call reset\(\)"):
        env.step(np.float32([0.5]))


def test_an_unknown_render_mode_is_refused(path: str) -> None:
    with pytest.raises(DSAError, match=r"Unknown render mode 'rgb_aray'.*mean 'rgb_array'"):
        RetrievalEnv(path, render_mode="rgb_aray")


def test_registering_again_changes_nothing() -> None:
    before = gym.registry[dsa_env.ENV_ID]
    dsa_env.register()
    gym.register_envs(dsa_env)
    assert gym.registry[dsa_env.ENV_ID] is before


def test_the_module_prefix_finds_the_environment(path: str) -> None:
    program = (
        f"import gymnasium as gym; gym.make('dsa_env:DSA/Retrieval-v0', bank={path!r}).reset()"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        cwd=Path(dsa_env.__file__).parents[1],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_public_names_are_all_there() -> None:
    heavy = {"GranularityController", "HallucinationDetector"}  # these need torch
    for name in set(dsa_env.__all__) - heavy:
        assert getattr(dsa_env, name) is not None
    assert set(dsa_env.__all__) <= set(dir(dsa_env))
    with pytest.raises(AttributeError, match="no attribute 'Bank'"):
        _ = dsa_env.Bank
