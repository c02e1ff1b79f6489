"""Built-in rewards keep their formulas; wrong rewards are refused with one line."""

import pickle
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsa_env.errors import DSAError
from dsa_env.outcome import Outcome
from dsa_env.rewards import (
    BUILT_IN,
    ClippedReward,
    ReciprocalRankReward,
    TermsReward,
    check_values,
    evaluate,
    resolve_reward,
)

unit = st.floats(0, 1, width=32)
weight = st.floats(0.01, 10)


def outcome(rank: list[float], severity: list[float], k: int = 10) -> Outcome:
    count = len(rank)
    return Outcome.from_rank(
        np.arange(count), np.full(count, 0.5), rank, severity, np.arange(count), k
    )


@given(st.lists(st.tuples(st.integers(1, 30), unit), min_size=1, max_size=20), weight, weight)
def test_clipped_reward_is_its_formula(
    rows: list[tuple[int, float]], alpha: float, beta: float
) -> None:
    made = outcome([rank for rank, _ in rows], [severity for _, severity in rows])
    reward = ClippedReward(alpha, beta, low=-0.5, high=0.75)
    values, terms = reward(made)
    for value, (rank, severity) in zip(values, rows, strict=True):
        hit = 1.0 if rank <= 10 else 0.0
        assert value == pytest.approx(min(max(alpha * hit - beta * severity, -0.5), 0.75), abs=1e-5)
    assert values.dtype == np.float32
    np.testing.assert_array_equal(terms["recall"], made.recall)
    np.testing.assert_array_equal(terms["penalty"], -made.severity)


def test_clip_fraction_counts_only_what_the_clip_changes() -> None:
    made = outcome([1, 1, 20, 20], [0, 1, 0, 1])  # unclipped: 2, 1, 0, -1
    np.testing.assert_array_equal(
        ClippedReward(2, 1, low=-0.5, high=1).clipped(made), [True, False, False, True]
    )


def test_reciprocal_rank_tells_apart_what_recall_does_not() -> None:
    made = outcome([1, 2, 50, 100], [0, 0, 0, 0])
    smooth, terms = ReciprocalRankReward()(made)
    hard, _ = ClippedReward()(made)
    assert len(set(hard.tolist())) == 2
    assert smooth.tolist() == sorted(smooth.tolist(), reverse=True)
    assert len(set(smooth.tolist())) == 4
    np.testing.assert_allclose(terms["reciprocal_rank"], [1, 0.5, 0.02, 0.01], rtol=1e-6)


@given(st.lists(st.tuples(st.integers(1, 30), unit), min_size=1, max_size=20), weight, weight)
def test_weighing_the_terms_vector_gives_the_clipped_reward(
    rows: list[tuple[int, float]], alpha: float, beta: float
) -> None:
    made = outcome([rank for rank, _ in rows], [severity for _, severity in rows])
    vector, _ = TermsReward()(made)
    scalar, _ = ClippedReward(alpha, beta, low=-100, high=100)(made)
    np.testing.assert_allclose(vector @ np.float32([alpha, beta]), scalar, rtol=1e-5, atol=1e-5)
    assert all(row in TermsReward().reward_space for row in vector)


@pytest.mark.parametrize("name", BUILT_IN)
def test_built_in_rewards_survive_pickling_and_compare_by_value(name: str) -> None:
    reward = resolve_reward(name)
    assert pickle.loads(pickle.dumps(reward)) == reward == BUILT_IN[name]()


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"alpha": -1}, "at least 0, got alpha=-1"),
        ({"beta": -0.5}, "the penalty carries its minus sign already"),
        ({"alpha": 0, "beta": 0}, "both 0"),
        ({"alpha": float("nan")}, "finite number for alpha, got nan"),
        ({"beta": float("inf")}, "finite number for beta, got inf"),
        ({"alpha": "1"}, "finite number for alpha, got '1'"),
        ({"low": 1, "high": 1}, "low must be below high"),
        ({"low": 2, "high": -1}, "swap them"),
    ],
)
def test_weights_out_of_range_are_refused(kwargs: dict[str, Any], message: str) -> None:
    for reward in (ClippedReward, ReciprocalRankReward):
        with pytest.raises(DSAError, match=message):
            reward(**kwargs)


def test_numpy_weights_keep_the_values_float32() -> None:
    reward = ClippedReward(np.float64(1), np.float64(0.5))
    assert type(reward.alpha) is float
    assert reward(outcome([1], [0.5]))[0].dtype == np.float32


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A user's module with rewards in it, importable by name."""
    (tmp_path / "users_rewards.py").write_text(
        "import numpy as np\n"
        "class Hit:\n"
        "    def __init__(self, scale=1.0):\n"
        "        self.scale = scale\n"
        "    def __call__(self, outcome):\n"
        "        return self.scale * outcome.recall, {'recall': outcome.recall}\n"
        "class Needs:\n"
        "    def __init__(self, scale):\n"
        "        self.scale = scale\n"
        "    __call__ = Hit.__call__\n"
        "def bonus(outcome, extra=0.0):\n"
        "    return outcome.recall + np.float32(extra), {}\n"
        "ready = Hit(3.0)\n"
        "number = 7\n"
    )
    (tmp_path / "broken_rewards.py").write_text("1 / 0\n")
    (tmp_path / "hungry_rewards.py").write_text("import surely_not_installed\n")
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("users_rewards", "broken_rewards", "hungry_rewards"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return "users_rewards"


@pytest.mark.parametrize(
    ("spec", "kwargs", "expected"),
    [
        (None, None, 1.0),
        ("clipped", {"alpha": 0.5}, 0.5),
        ("users_rewards:Hit", None, 1.0),
        ("users_rewards:Hit", {"scale": 2.0}, 2.0),
        ("users_rewards:bonus", None, 1.0),
        ("users_rewards:bonus", {"extra": 0.25}, 1.25),
        ("users_rewards:ready", None, 3.0),
        (ClippedReward, {"alpha": 0.25}, 0.25),
        (ClippedReward(0.75), None, 0.75),
        (lambda outcome: (outcome.recall * 4, {}), {}, 4.0),
    ],
)
@pytest.mark.usefixtures("module")
def test_rewards_are_found_by_name_by_object_and_by_function(
    spec: Any, kwargs: dict[str, Any] | None, expected: float
) -> None:
    values, _ = resolve_reward(spec, kwargs)(outcome([1], [0]))
    assert values[0] == expected


@pytest.mark.parametrize(
    ("spec", "kwargs", "message"),
    [
        ("cliped", {}, "Unknown reward 'cliped'. Did you mean 'clipped'"),
        ("users_rewards.Hit", {}, "package.module:name"),
        ("users_rewards:Hitt", {}, "Unknown name in module 'users_rewards' 'Hitt'. Did you mean"),
        ("no_such_module_here:Hit", {}, "no module 'no_such_module_here'; install it"),
        ("broken_rewards:Hit", {}, "importing 'broken_rewards' failed: ZeroDivisionError"),
        ("hungry_rewards:Hit", {}, "importing 'hungry_rewards' failed: No module named 'surely"),
        ("users_rewards:number", {}, "is a int and cannot be called"),
        (5, {}, "cannot be called"),
        ("clipped", {"alhpa": 1}, "Unknown argument of reward ClippedReward 'alhpa'.*'alpha'"),
        ("users_rewards:Needs", {}, "missing a required argument: 'scale'"),
        ("users_rewards:bonus", {"extre": 1}, "Did you mean 'extra'"),
        ("users_rewards:ready", {"scale": 1}, "have nowhere to go"),
        (ClippedReward(), {"alpha": 1}, "give its class or its name instead"),
    ],
)
@pytest.mark.usefixtures("module")
def test_wrong_names_and_arguments_are_one_clear_line(
    spec: Any, kwargs: dict[str, Any], message: str
) -> None:
    with pytest.raises(DSAError, match=message) as caught:
        resolve_reward(spec, kwargs)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("values", "terms", "message"),
    [
        (np.zeros(3), {}, r"shape \(2,\), or \(2, m\) for a vector reward, .* got \(3,\)"),
        (np.float64(1), {}, "must be a NumPy array, got float64"),
        (np.zeros((2, 0)), {}, r"got \(2, 0\)"),
        (np.zeros((2, 1, 1)), {}, r"got \(2, 1, 1\)"),
        ([0.0, 0.0], {}, "must be a NumPy array, got list"),
        (np.array([True, False]), {}, "got dtype bool; add"),
        (np.array(["a", "b"]), {}, "real numbers"),
        (np.array([0, np.nan]), {}, "finite, got nan at outcome 1"),
        (np.array([[0, 0], [np.inf, 0]]), {}, "at outcome 1; guard"),
        (np.zeros(2), None, "return {} if there are none"),
        (np.zeros(2), {"hit": np.zeros((2, 1))}, r"term 'hit' must have shape \(2,\), one"),
        (np.zeros(2), {"hit": np.array([np.nan, 0])}, "term 'hit' must be finite"),
        (np.zeros(2), {3: np.zeros(2)}, "names of a reward's terms must be strings, got 3"),
    ],
)
def test_wrong_returns_are_one_clear_line(values: Any, terms: Any, message: str) -> None:
    with pytest.raises(DSAError, match=message) as caught:
        check_values(values, terms, 2)
    assert "\n" not in str(caught.value)


def test_right_returns_pass() -> None:
    check_values(np.zeros(2, np.int64), {"hit": np.ones(2, np.float16)}, 2)
    check_values(np.zeros((2, 5)), {}, 2)


def test_only_a_pair_is_a_reward() -> None:
    made = outcome([1], [0.5])
    values, terms = evaluate(ClippedReward(1, 1), made)
    assert values.tolist() == [0.5]
    assert set(terms) == {"recall", "penalty"}
    with pytest.raises(DSAError, match=r"must return the pair \(values, terms\), got ndarray"):
        evaluate(lambda outcome: outcome.recall, made)  # type: ignore[arg-type, return-value]
    with pytest.raises(DSAError, match="must be a NumPy array, got float32"):
        evaluate(lambda outcome: (outcome.recall.sum(), {}), made)
