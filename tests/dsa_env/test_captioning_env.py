"""DSA/Captioning-v0: an environment like the other one, over captions."""

from __future__ import annotations

import json
import pickle
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env, data_equivalence

from dsa_env import CAPTIONING_ID, ENV_ID
from dsa_env.bank import FeatureBank
from dsa_env.captioning_env import CaptioningEnv, CaptioningVectorEnv
from dsa_env.errors import BankError, DSAError
from tests.agents.benchmark.small_captioners import draw_bank, save_captioner

PROMPTS = ["a red cube", "what is the large metal cube on ?"]


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A drawn bank and a small LLaVA; three granularities."""
    bank = draw_bank(tmp_path_factory.mktemp("drawn"))
    model = save_captioner(tmp_path_factory.mktemp("llava"), "llava")
    return {"bank": str(bank.path), "model": str(model), "prompts": PROMPTS, "split": "test",
            "grid": 3}  # fmt: skip


def play(env: gym.Env[Any, Any], steps: int, seed: int = 0) -> Iterator[Any]:
    rng = np.random.default_rng(seed)
    yield env.reset(seed=seed)
    for _ in range(steps):
        returned = env.step(rng.random(1, dtype=np.float32))
        yield returned
        if returned[2]:
            yield env.reset()


@pytest.mark.parametrize(
    "more",
    [{}, {"horizon": 3}, {"observation": "index"}, {"live": True}, {"reward": "terms"}],
    ids=["plain", "horizon", "index", "live", "vector reward"],
)
def test_gymnasiums_checker_passes(settings: dict[str, Any], more: dict[str, Any]) -> None:
    if more.get("reward"):  # Gymnasium's checker wants scalar rewards
        env = gym.make(CAPTIONING_ID, disable_env_checker=True, **settings, **more)
        env.reset(seed=0)
        assert env.step(np.float32([0.5]))[1].shape == (2,)
        return
    env = gym.make(CAPTIONING_ID, render_mode="ansi", **settings, **more)
    check_env(env.unwrapped, skip_render_check=False)


def test_stable_baselines_checker_passes(settings: dict[str, Any]) -> None:
    checker = pytest.importorskip("stable_baselines3.common.env_checker")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="We recommend you to use a symmetric")
        checker.check_env(CaptioningEnv(**settings))


@pytest.mark.parametrize("horizon", [1, 3])
def test_scalar_and_vector_environments_do_the_same(settings: dict[str, Any], horizon: int) -> None:
    n, rng = 4, np.random.default_rng(0)
    vector = gym.make_vec(CAPTIONING_ID, num_envs=n, horizon=horizon, **settings)
    assert isinstance(vector, CaptioningVectorEnv)
    singles = [gym.make(CAPTIONING_ID, horizon=horizon, **settings) for _ in range(n)]
    seen, _ = vector.reset(seed=7)
    rows = [one.reset(seed=7 + i)[0] for i, one in enumerate(singles)]
    for _ in range(7):
        for i, row in enumerate(rows):
            assert data_equivalence(row, {name: value[i] for name, value in seen.items()})
        g = rng.random((n, 1), dtype=np.float32)
        seen, rewards, ended, _, _ = vector.step(g)
        rows = []
        for i, one in enumerate(singles):
            row, reward, terminated, _, _ = one.step(g[i])
            assert reward == rewards[i]
            assert terminated == ended[i]
            rows.append(one.reset()[0] if terminated else row)


def test_same_seed_same_rollout(settings: dict[str, Any]) -> None:
    one, two, other = (
        list(play(gym.make(CAPTIONING_ID, **settings), 12, seed)) for seed in (3, 3, 4)
    )
    assert data_equivalence(one, two, exact=True)
    assert not data_equivalence(one, other)


def test_pickles_and_specs_make_the_same_environment(settings: dict[str, Any]) -> None:
    env = gym.make(CAPTIONING_ID, **settings)
    assert env.spec is not None
    text = env.spec.to_json()
    assert json.loads(text)["kwargs"]["prompts"] == PROMPTS
    again = gym.make(gym.envs.registration.EnvSpec.from_json(text))
    twin = pickle.loads(pickle.dumps(env.unwrapped))
    played = list(play(env.unwrapped, 5))
    assert data_equivalence(played, list(play(again.unwrapped, 5)), exact=True)
    assert data_equivalence(played, list(play(twin, 5)), exact=True)


def test_info_has_the_keys_of_the_other_environment(
    settings: dict[str, Any], synthetic_bank_path: Path
) -> None:
    ours = gym.make(CAPTIONING_ID, **settings)
    theirs = gym.make(ENV_ID, bank=str(synthetic_bank_path))
    for env in (ours, theirs):
        env.reset(seed=0)
    info = ours.step(np.float32([0.4]))[-1]
    assert info.keys() == theirs.step(np.float32([0.4]))[-1].keys()
    assert (
        info["regret"]
        == info["oracle_reward"]
        - ours.unwrapped.core.evaluate([info["query"]], [info["granularity"]])[0].item()
    )  # type: ignore[attr-defined]


def test_live_captions_have_no_oracle(settings: dict[str, Any]) -> None:
    env = gym.make(CAPTIONING_ID, live=True, render_mode="ansi", **settings)
    env.reset(seed=0)
    info = env.step(np.float32([0.123]))[-1]
    assert not {"oracle_reward", "regret"} & info.keys()
    assert np.isnan(env.unwrapped.core.oracle()).all()  # type: ignore[attr-defined]
    assert "oracle" not in str(env.render())
    with pytest.raises(DSAError, match="live needs horizon 1"):
        CaptioningEnv(live=True, horizon=2, **settings)


def test_what_is_rendered_shows_prompt_and_caption(settings: dict[str, Any]) -> None:
    env = CaptioningEnv(render_mode="ansi", **settings)
    env.reset(options={"query": 3})
    assert PROMPTS[1] in env.render()
    env.step(np.float32([1.0]))
    shown = env.render()
    caption = env.core.retrieval.told(env.core.bank, 3, 1.0)[0]
    assert caption
    assert caption in shown
    assert f"picture {env.core.retrieval.query_ids[3]}" in shown
    assert "#" in shown
    picture = CaptioningEnv(render_mode="rgb_array", **settings)
    picture.reset(seed=0)
    before = picture.render()
    picture.step(np.float32([0.5]))
    assert picture.render().shape == before.shape == (400, 720, 3)
    assert (picture.render() != before).any()


def test_refining_shows_what_the_last_caption_found(settings: dict[str, Any]) -> None:
    env = CaptioningEnv(horizon=2, **settings)
    first, _ = env.reset(seed=0)
    assert not first["retrieved"].any()
    seen, _, terminated, _, info = env.step(np.float32([0.9]))
    assert not terminated
    bank = env.core.bank
    found = np.concatenate(
        [bank.image_coarse[info["retrieved"]], bank.fine_features(info["retrieved"])]
    )
    np.testing.assert_allclose(seen["retrieved"], found, atol=1e-6)


def test_what_cannot_work_is_refused(settings: dict[str, Any], synthetic_bank: FeatureBank) -> None:
    for more, words in (
        ({"prompts": "describe"}, "prompts must be a list"),
        ({"prompts": []}, "prompts must be a list of at least one"),
        ({"k": 11}, "k must be at most 10"),
        ({"render_mode": "human"}, "Unknown render mode"),
        ({"split": "tset"}, "Did you mean 'test'"),
        ({"split": "pretrain"}, "has no images"),
    ):
        with pytest.raises(DSAError, match=words):
            CaptioningEnv(**{**settings, **more})
    with pytest.raises(BankError, match="does not say which encoder"):
        CaptioningEnv(**{**settings, "bank": synthetic_bank})
