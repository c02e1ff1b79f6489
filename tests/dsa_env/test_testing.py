"""The conformance checks pass what is right and explain what is wrong; the test bank matters."""

from __future__ import annotations

import inspect
import textwrap
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from numpy.typing import NDArray

from dsa_env.bank import FeatureBank
from dsa_env.core import RetrievalCore
from dsa_env.env import RetrievalEnv
from dsa_env.errors import DSAError
from dsa_env.outcome import Outcome
from dsa_env.rewards import BUILT_IN, Reward
from dsa_env.testing import check_bank, check_env, check_reward, example_outcome, synthetic_bank

Returned = tuple[NDArray[Any], dict[str, NDArray[Any]]]
GRID = np.linspace(0, 1, 21)


def hits(core: RetrievalCore) -> NDArray[np.float64]:
    """[21, Q] the recall of every query on a grid of g."""
    everyone = np.arange(core.n_queries)
    return np.stack(
        [core.evaluate(everyone, np.full(len(everyone), g))[2].recall for g in GRID]
    ).astype(np.float64)


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize(("direction", "gain"), [("text_to_image", 1.2), ("image_to_text", 1.15)])
def test_granularity_matters_in_the_synthetic_bank(direction: str, gain: float, seed: int) -> None:
    core = RetrievalCore(synthetic_bank(seed=seed), direction)
    recall = hits(core)
    assert recall.max(axis=0).mean() > gain * recall.mean(axis=1).max()


def test_scene_texts_want_the_coarse_view_and_object_texts_the_fine_one() -> None:
    core = RetrievalCore(synthetic_bank(), k=1)
    recall = hits(core)
    kinds = np.array(core.bank.kinds)[core.retrieval.kind]
    assert sorted(set(kinds)) == ["object", "scene"]
    assert GRID[recall[:, kinds == "scene"].mean(axis=1).argmax()] <= 0.2
    assert GRID[recall[:, kinds == "object"].mean(axis=1).argmax()] >= 0.8
    assert 0.4 < np.mean(kinds == "scene") < 0.6


def test_the_kind_of_a_query_shows_in_its_features() -> None:
    core = RetrievalCore(synthetic_bank())
    scene = np.array(core.bank.kinds)[core.retrieval.kind] == "scene"
    text = np.c_[core.observe(np.arange(core.n_queries))["text"], np.ones(core.n_queries)]
    weights, *_ = np.linalg.lstsq(text, scene.astype(float), rcond=None)
    assert np.mean((text @ weights > 0.5) == scene) > 0.85


def test_severity_follows_from_the_facts() -> None:
    bank = synthetic_bank(n_images=30)
    assert bank.text_facts is not None
    assert bank.image_facts is not None
    assert bank.severity is not None
    for text, image in ((0, 0), (5, 20), (17, 3), (40, 12)):
        asserted, holds = set(bank.text_facts.row(text)), set(bank.image_facts.row(image))
        assert bank.severity[text, image] == pytest.approx(len(asserted - holds) / len(asserted))
    for text in range(bank.n_texts):
        assert bank.severity[text, bank.positives.row(text)[0]] == 0


def test_without_facts_only_a_severity_near_the_truth_is_left() -> None:
    bank, truth = synthetic_bank(facts=False), synthetic_bank()
    assert bank.text_facts is None
    assert bank.severity is not None
    assert truth.severity is not None
    assert 0.01 < np.abs(bank.severity - truth.severity).mean() < 0.1
    np.testing.assert_array_equal(bank.text_features, truth.text_features)


def test_the_synthetic_bank_is_repeatable() -> None:
    bank = synthetic_bank()
    assert bank.sha256 == synthetic_bank().sha256 != synthetic_bank(seed=1).sha256
    assert (bank.n_images, bank.n_texts, bank.dim) == (200, 400, 16)


@pytest.mark.parametrize(
    "sizes", [{"n_images": 7, "captions": 1, "regions": 1}, {"dim": 3, "captions": 3}]
)
def test_odd_sizes_make_whole_banks(sizes: dict[str, int]) -> None:
    synthetic_bank(**sizes).verify()  # type: ignore[arg-type]


def test_wrong_sizes_are_refused() -> None:
    with pytest.raises(DSAError, match="captions must be at least 1, got 0"):
        synthetic_bank(captions=0)
    with pytest.raises(DSAError, match="regions must be at most 36"):
        synthetic_bank(regions=100)


@pytest.mark.parametrize("name", BUILT_IN)
def test_built_in_rewards_conform(name: str) -> None:
    check_reward(name)


def test_examples_cover_both_ends() -> None:
    outcome = example_outcome()
    assert set(outcome.recall.tolist()) == {0.0, 1.0}
    assert {0.0, 1.0} <= set(outcome.severity.tolist())
    assert (outcome.rank % 1 == 0.5).any()
    assert len(example_outcome(1)) == 1


class Random:
    def __call__(self, outcome: Outcome) -> Returned:
        return np.random.default_rng().random(len(outcome)), {}


class Centred:
    def __call__(self, outcome: Outcome) -> Returned:
        return outcome.recall - outcome.recall.mean(), {}


class Writes:
    def __call__(self, outcome: Outcome) -> Returned:
        outcome.severity[:] = 0
        return outcome.recall.copy(), {}


class Sometimes:
    def __call__(self, outcome: Outcome) -> Returned:
        return outcome.recall, {"hit": outcome.recall} if len(outcome) > 10 else {}


class Squeezed:
    def __call__(self, outcome: Outcome) -> Returned:
        return outcome.recall[:, None] if len(outcome) > 1 else outcome.recall, {}


class Outside:
    reward_space = BUILT_IN["terms"]().reward_space  # type: ignore[attr-defined]

    def __call__(self, outcome: Outcome) -> Returned:
        return np.stack([outcome.recall, outcome.rank], axis=1), {}


class Short:
    def __call__(self, outcome: Outcome) -> Returned:
        return outcome.recall[:-1], {}


@pytest.mark.parametrize(
    ("reward", "error", "message"),
    [
        (Random, AssertionError, "drop its randomness"),
        (Centred, AssertionError, "depends on the others in its batch"),
        (Writes, AssertionError, "wrote into outcome.severity"),
        (Sometimes, AssertionError, "same names at every call"),
        (Squeezed, AssertionError, "one form for every batch size"),
        (Outside, AssertionError, "lies outside reward_space"),
        (Short, DSAError, r"must have shape \(64,\)"),
        (lambda outcome: (outcome.recall, {}), AssertionError, "top level of a module"),
        ("clippd", DSAError, "Did you mean 'clipped'"),
    ],
)
def test_wrong_rewards_are_explained(reward: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        check_reward(reward)


def test_the_documented_example_conforms(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    code = inspect.cleandoc(str(Reward.__doc__)).partition("::\n")[2]
    (tmp_path / "my_rewards.py").write_text(textwrap.dedent(code))
    monkeypatch.syspath_prepend(tmp_path)
    check_reward("my_rewards:PricedDetail", {"price": 0.2})
    core = RetrievalCore(
        synthetic_bank(n_images=40), reward="my_rewards:PricedDetail", reward_kwargs={"price": 0.2}
    )
    assert core.term_names == ("recall", "cost")


def test_arguments_reach_the_reward() -> None:
    check_reward("clipped", {"alpha": 2.0})
    with pytest.raises(DSAError, match="Did you mean 'alpha'"):
        check_reward("clipped", {"alpah": 2.0})


def test_a_whole_bank_passes(tmp_path: Any) -> None:
    check_bank(synthetic_bank(n_images=40))
    synthetic_bank(n_images=40, path=tmp_path / "bank")
    check_bank(tmp_path / "bank")


def test_a_damaged_bank_is_explained(tmp_path: Any) -> None:
    bank = synthetic_bank(n_images=40, path=tmp_path / "bank")
    features = np.array(bank.text_features)
    features[3] = -features[3]
    np.save(tmp_path / "bank" / "text_features.npy", features)
    with pytest.raises(DSAError, match=r"text_features\.npy"):
        check_bank(FeatureBank.open(tmp_path / "bank"))


@pytest.mark.parametrize("horizon", [1, 3])
def test_the_environment_passes_its_own_check(horizon: int) -> None:
    bank = synthetic_bank(n_images=40)
    check_env(RetrievalEnv(bank, horizon=horizon))
    check_env(gym.make("DSA/Retrieval-v0", bank=bank, horizon=horizon))


class Doubled(gym.RewardWrapper[Any, Any]):
    def reward(self, reward: Any) -> Any:
        return 2 * reward + 1


class Bare(gym.Wrapper[Any, Any, Any, Any]):
    def step(self, action: Any) -> Any:
        observation, reward, terminated, truncated, info = super().step(action)
        return observation, reward, terminated, truncated, {"rank": info["rank"]}


@pytest.mark.parametrize(
    ("wrapper", "message"),
    [(Doubled, "does a wrapper change the reward"), (Bare, "reward_terms|lacks")],
)
def test_an_environment_that_lost_its_contract_is_explained(wrapper: Any, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check_env(wrapper(RetrievalEnv(synthetic_bank(n_images=40))))
