"""The core's outcomes match brute force, its oracle is never beaten, wrong input is refused."""

from __future__ import annotations

import pickle
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from dsa_env.bank import FeatureBank
from dsa_env.blend import blended_cosine
from dsa_env.core import RetrievalCore
from dsa_env.errors import DSAError
from dsa_env.logic.ambiguity import ambiguity_feature
from dsa_env.oracle import best_granularity
from dsa_env.outcome import Outcome
from dsa_env.retrieval.shortlist import DIRECTIONS
from dsa_env.rewards import BUILT_IN, ClippedReward
from dsa_env.step import check_actions
from dsa_env.testing import synthetic_bank

SCALAR_REWARDS = [name for name in BUILT_IN if name != "terms"]


@cache
def bank() -> FeatureBank:
    return synthetic_bank(n_images=120, seed=3)


@cache
def core(direction: str = "text_to_image", **arguments: Any) -> RetrievalCore:
    return RetrievalCore(bank(), direction, **arguments)


def price_of_detail(outcome: Outcome) -> tuple[NDArray[Any], dict[str, NDArray[Any]]]:
    """A reward that looks at g itself, falling in every segment."""
    return outcome.recall - np.float32(0.3) * outcome.granularity, {}


def counted(core: RetrievalCore, g: float) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Expected ranks and top items of every query, by counting blended cosines."""
    retrieval = core.retrieval
    score = blended_cosine(retrieval.fine, retrieval.coarse, retrieval.cross, g)
    score = np.where(retrieval.candidates >= 0, score, -np.inf)
    best = np.where(retrieval.positive, score, -np.inf).max(axis=1, keepdims=True)
    negative = ~retrieval.positive
    better = ((score > best) & negative).sum(axis=1)
    tied = ((score == best) & negative).sum(axis=1)
    top = np.take_along_axis(retrieval.candidates, score.argmax(axis=1)[:, None], axis=1)[:, 0]
    return 1 + better + 0.5 * tied, top


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_outcomes_match_counting(direction: str) -> None:
    made = core(direction)
    everyone = np.arange(made.n_queries)
    for g in np.random.default_rng(0).random(20).astype(np.float32):
        _, _, outcome = made.evaluate(everyone, np.full(made.n_queries, g))
        rank, top = counted(made, float(g))
        np.testing.assert_array_equal(outcome.rank, rank)
        np.testing.assert_array_equal(outcome.retrieved, top)
        np.testing.assert_array_equal(outcome.recall, rank <= made.k)


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_the_compiled_lookup_is_the_plain_one(direction: str) -> None:
    made = core(direction)
    rng = np.random.default_rng(1)
    query = rng.integers(made.n_queries, size=4000)
    breaks = made.retrieval.curves.start[rng.integers(len(made.retrieval.curves.start), size=1000)]
    g = np.float32([*rng.random(2000), *breaks, *np.zeros(500), *np.ones(500)])
    ours, plain = made.outcome(query, g), made.retrieval.outcomes(query, g, made.k)
    for name in ("query", "granularity", "rank", "recall", "severity", "retrieved"):
        np.testing.assert_array_equal(getattr(ours, name), getattr(plain, name))


@pytest.mark.parametrize(
    ("query", "g", "message"),
    [
        ([-1], [0.5], r"must lie in 0\.\.\d+ and .* got query -1 with g 0.5 at 0"),
        ([1, 10**6], [0.5, 0.5], "got query 1000000 with g 0.5 at 1"),
        ([1], [1.5], r"granularities in \[0, 1\], got query 1 with g 1.5"),
        ([1], [np.nan], "with g nan"),
        ([1, 2], [0.5], r"of one length, got shapes \(2,\) and \(1,\)"),
        ([[1]], [[0.5]], "one-dimensional"),
    ],
)
def test_queries_and_granularities_out_of_range_are_refused(
    query: Any, g: Any, message: str
) -> None:
    with pytest.raises(DSAError, match=message):
        core().evaluate(query, g)


def test_no_queries_have_no_outcome() -> None:
    values, _, outcome = core().evaluate([], [])
    assert len(values) == len(outcome) == 0


@pytest.mark.parametrize("reward", [*SCALAR_REWARDS, price_of_detail])
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_no_point_of_a_fine_grid_beats_the_oracle(direction: str, reward: Any) -> None:
    made = core(direction, reward=reward)
    everyone = np.arange(made.n_queries)
    best, _ = made.oracle()
    for g in np.linspace(0, 1, 1001):
        values, _, _ = made.evaluate(everyone, np.full(made.n_queries, g))
        assert (values <= best).all()


@pytest.mark.parametrize("reward", SCALAR_REWARDS)
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_the_oracle_earns_what_it_says(direction: str, reward: str) -> None:
    made = core(direction, reward=reward)
    best, g = made.oracle()
    values, _, _ = made.evaluate(np.arange(made.n_queries), g)
    np.testing.assert_array_equal(values, best)


def test_the_oracle_of_a_reward_that_prices_g_uses_no_more_than_it_needs() -> None:
    made = core(reward=price_of_detail)
    best, g = made.oracle()
    values, _, _ = made.evaluate(np.arange(made.n_queries), g)
    np.testing.assert_allclose(values, best, atol=1e-6)
    free = core().retrieval.outcomes(np.arange(made.n_queries), np.zeros(made.n_queries), made.k)
    assert (g[free.recall == 1] == 0).all()


def test_the_oracle_sits_in_the_middle_of_its_widest_stretch() -> None:
    made = core()
    best, g = made.oracle()
    grid = np.linspace(0, 1, 401)
    everyone = np.arange(made.n_queries)
    values = np.stack([made.evaluate(everyone, np.full(len(everyone), p))[0] for p in grid])
    for query in everyone:
        good = values[:, query] >= best[query]
        runs = np.split(grid[good], np.flatnonzero(np.diff(grid[good]) > 0.003) + 1)
        widest = max(runs, key=len)
        if len(widest) > 2 and sum(len(run) >= len(widest) - 2 for run in runs) == 1:
            assert g[query] == pytest.approx((widest[0] + widest[-1]) / 2, abs=0.006)


@pytest.mark.parametrize("segments", [1, 50])
def test_an_oracle_made_in_parts_is_the_same_oracle(
    segments: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = core()
    whole = best_granularity(made.retrieval.curves, made.reward, made.k)
    monkeypatch.setattr("dsa_env.curves.breakpoints.CHUNK", segments)
    parts = best_granularity(made.retrieval.curves, made.reward, made.k)
    np.testing.assert_array_equal(parts, whole)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(0, 1, width=32), min_size=1, max_size=20), st.sampled_from(DIRECTIONS))
def test_regret_is_never_negative(granularities: list[float], direction: str) -> None:
    g = np.float32(granularities)
    for reward in SCALAR_REWARDS:
        made = core(direction, reward=reward)
        query = np.arange(len(g)) * 7 % made.n_queries
        step = made.step(query, g)
        values, info = step.values, step.info()
        assert (info["regret"] >= 0).all()
        np.testing.assert_array_equal(info["oracle_reward"], values + info["regret"])


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("horizon", [1, 3])
def test_observations_are_fresh_float32_rows_of_their_space(direction: str, horizon: int) -> None:
    made = core(direction, horizon=horizon)
    query = np.array([0, 5, 5])
    observation = made.observe(query)
    assert observation.keys() == made.observation_space.keys()
    for row in range(3):
        assert made.observation_space.contains({k: v[row] for k, v in observation.items()})
    for name, rows in observation.items():
        np.testing.assert_array_equal(rows[1], rows[2])
        rows[:] = 0.25
        assert not (made.observe(query)[name] == 0.25).all()


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_a_refining_agent_sees_what_it_retrieved(direction: str) -> None:
    made = core(direction, horizon=2)
    query = np.arange(6)
    start = made.observe(query)
    assert not start["retrieved"].any()
    np.testing.assert_array_equal(start["granularity"], np.full((6, 1), 0.5))
    g = np.linspace(0, 1, 6, dtype=np.float32)
    info = made.step(query, g).info()
    seen = made.observe(query, g, info["retrieved"])
    np.testing.assert_array_equal(seen["granularity"], g[:, None])
    top = info["retrieved"]
    if direction == "text_to_image":
        wanted = np.hstack([bank().image_coarse[top], bank().fine_features(top)])
    else:
        wanted = bank().text_features[top]
    np.testing.assert_allclose(seen["retrieved"], wanted, atol=1e-6)


def test_a_pickled_core_is_the_same_core(tmp_path: Any) -> None:
    kept = synthetic_bank(n_images=60, path=tmp_path / "bank")
    for given_bank in (kept, str(tmp_path / "bank"), bank()):
        made = RetrievalCore(given_bank, reward="clipped", reward_kwargs={"beta": 0.5}, k=3)
        copied = pickle.loads(pickle.dumps(made))
        query, g = np.arange(9), np.linspace(0, 1, 9)
        np.testing.assert_array_equal(copied.evaluate(query, g)[0], made.evaluate(query, g)[0])
        assert copied.reward == made.reward == ClippedReward(beta=0.5)
        assert (copied.k, copied.split, copied.horizon) == (3, "train", 1)


def test_a_replaced_retrieval_is_used_throughout() -> None:
    made, other = core(), RetrievalCore(synthetic_bank(n_images=120, seed=4))
    twin = RetrievalCore(bank(), horizon=2)
    twin.oracle(), twin.observe([0])
    twin.retrieval = other.retrieval
    query, g = np.arange(9), np.linspace(0, 1, 9)
    np.testing.assert_array_equal(twin.evaluate(query, g)[0], other.evaluate(query, g)[0])
    np.testing.assert_array_equal(twin.oracle(), other.oracle())
    assert not np.array_equal(made.oracle(), twin.oracle())


def test_a_vector_reward_has_a_space_and_no_oracle() -> None:
    made = core(reward="terms")
    step = made.step(np.arange(4), np.linspace(0, 1, 4, dtype=np.float32))
    values, info = step.values, step.info()
    assert values.shape == (4, 2)
    assert made.reward_space is not None
    assert made.reward_space.shape == (2,)
    assert np.isnan(info["regret"]).all()
    assert np.isnan(made.oracle()[0]).all()
    assert core().reward_space is None


def unbounded(outcome: Outcome) -> tuple[NDArray[Any], dict[str, NDArray[Any]]]:
    return np.stack([outcome.recall, outcome.rank, outcome.severity], axis=1), {}


class Misplaced:
    """A vector reward whose space has another shape."""

    reward_space = BUILT_IN["terms"]().reward_space  # type: ignore[attr-defined]

    def __call__(self, outcome: Outcome) -> tuple[NDArray[Any], dict[str, NDArray[Any]]]:
        return unbounded(outcome)


def test_a_vector_reward_without_a_space_gets_an_unbounded_one() -> None:
    space = core(reward=unbounded).reward_space
    assert space is not None
    assert space.shape == (3,)
    assert not space.is_bounded()
    with pytest.raises(DSAError, match=r"must be a Box of shape \(3,\)"):
        RetrievalCore(bank(), reward=Misplaced())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"direction": "text_to_images"}, "Unknown direction.*Did you mean 'text_to_image'"),
        ({"split": "valid"}, "Unknown split 'valid'. Did you mean 'validation'"),
        ({"split": "pretrain"}, "'pretrain' has no images"),
        ({"k": 0}, "k must be a whole number of at least 1, got 0"),
        ({"k": 11}, "k must be at most 10, got 11"),
        ({"k": 2.5}, "k must be a whole number"),
        ({"horizon": True}, "horizon must be a whole number"),
        ({"reward": "cliped"}, "Did you mean 'clipped'"),
        ({"reward_kwargs": {"alpha": -1}}, "at least 0"),
        ({"reward": lambda outcome: outcome.recall}, "must return the pair"),
        ({"reward": lambda outcome: (outcome.recall[:1], {})}, r"shape \(3,\).*got \(1,\)"),
        ({"reward": lambda outcome: (outcome.recall / 0 * 0, {})}, "must be finite, got nan"),
        ({"reward": lambda outcome: (list(outcome.recall), {})}, "NumPy array, got list"),
    ],
)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_wrong_arguments_are_refused_in_one_line(arguments: Any, message: str) -> None:
    with pytest.raises(DSAError, match=message) as caught:
        RetrievalCore(bank(), **arguments)
    assert "\n" not in str(caught.value)


class Moody:
    """A reward that changes its form after the first call."""

    def __init__(self, *later: str) -> None:
        self.later: tuple[str, ...] = later
        self.calls = 0

    def __call__(self, outcome: Outcome) -> tuple[NDArray[Any], dict[str, NDArray[Any]]]:
        self.calls += 1
        names = ("hit",) if self.calls == 1 else self.later
        return outcome.recall, dict.fromkeys(names, outcome.recall)


def test_a_reward_that_changes_its_form_is_caught() -> None:
    made = RetrievalCore(bank(), reward=Moody("hit", "more"))
    with pytest.raises(DSAError, match="return the same at every call"):
        made.step(np.array([0]), np.float32([0.5]))


def test_actions_are_clipped_and_flattened() -> None:
    g = check_actions([[-3.0], [0.25], [7.0], [np.inf]], ((4, 1), (4,)))
    np.testing.assert_array_equal(g, np.float32([0, 0.25, 1, 1]))
    assert g.dtype == np.float32


@pytest.mark.parametrize(
    ("action", "message"),
    [
        ([0.1, 0.2], r"shape \(1,\), .* got shape \(2,\); reshape"),
        ([[0.1]], r"got shape \(1, 1\)"),
        ([np.nan], "Action 0 is NaN: the policy has diverged; lower its learning rate"),
        (["much"], "must be numbers"),
        (None, "NaN|numbers"),
    ],
)
def test_wrong_actions_are_refused_in_one_line(action: Any, message: str) -> None:
    with pytest.raises(DSAError, match=message) as caught:
        check_actions(action, ((1,), ()))
    assert "\n" not in str(caught.value)


AMBIGUOUS = "the red cube left of the sphere and the cylinder"


def bank_of_texts(texts: list[str] | None = None) -> FeatureBank:
    """Twelve texts and images; by default every fourth text has two readings."""
    rng = np.random.default_rng(0)
    text, coarse, fine = rng.normal(size=(3, 12, 4))
    told = [AMBIGUOUS if n % 4 == 0 else "a small red metal cube" for n in range(12)]
    return FeatureBank.from_arrays(
        text, coarse, fine, splits=["train", "validation", "test"] * 4, texts=texts or told
    )


def test_the_number_of_readings_can_be_observed_and_comes_from_the_words_alone() -> None:
    plain = RetrievalCore(bank_of_texts(), k=1)
    seeing = RetrievalCore(bank_of_texts(), k=1, ambiguity=True)
    query = np.arange(seeing.n_queries)
    one, other = plain.observe(query), seeing.observe(query)
    assert list(other) == ["text", "image", "ambiguity"]
    np.testing.assert_array_equal(one["text"], other["text"])
    np.testing.assert_array_equal(one["image"], other["image"])
    texts = seeing.bank.texts or []
    several = np.array([texts[i] == AMBIGUOUS for i in seeing.retrieval.query_ids])
    wanted = np.where(several, ambiguity_feature(2), ambiguity_feature(1))
    np.testing.assert_array_equal(other["ambiguity"][:, 0], wanted)
    for i in range(seeing.n_queries):
        assert seeing.observation_space.contains({name: rows[i] for name, rows in other.items()})


def test_ambiguity_needs_texts_that_ask() -> None:
    with pytest.raises(DSAError, match="the query is a picture"):
        RetrievalCore(bank_of_texts(), "image_to_text", k=1, ambiguity=True)
    rng = np.random.default_rng(0)
    text, coarse, fine = rng.normal(size=(3, 30, 4))
    silent = FeatureBank.from_arrays(text, coarse, fine)
    with pytest.raises(DSAError, match="holds no texts"):
        RetrievalCore(silent, k=1, ambiguity=True).observe(np.arange(2))
