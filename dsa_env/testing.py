"""Checks for what people plug in: `check_reward`, `check_bank`, `check_env`; and a bank to try."""

from __future__ import annotations

import copy
import pickle
import warnings
from typing import TYPE_CHECKING, Any

import gymnasium as gym
import numpy as np
from gymnasium.utils.env_checker import check_env as check_gymnasium_api
from gymnasium.utils.env_checker import data_equivalence

from dsa_env.outcome import Outcome
from dsa_env.rewards import Reward, evaluate, resolve_reward
from dsa_env.synthetic import synthetic_bank

if TYPE_CHECKING:
    import os

    from dsa_env.bank import FeatureBank

__all__ = ["check_bank", "check_env", "check_reward", "example_outcome", "synthetic_bank"]

STEP_KEYS = {
    *("query", "rank", "recall", "severity", "granularity", "retrieved"),
    *("oracle_reward", "regret", "reward_terms"),
}


def example_outcome(batch: int = 64, seed: int = 0, k: int = 10) -> Outcome:
    """A varied outcome of B actions: hits and misses, ties, both ends of every range."""
    rng = np.random.default_rng(seed)
    rank = 1 + rng.geometric(0.08, batch) / 2
    severity = rng.choice([0.0, 0.25, 1 / 3, 1.0], batch)
    granularity = rng.random(batch)
    rank[:2], severity[:2], granularity[:2] = (1.0, 500.0)[:batch], (0, 1)[:batch], (0, 1)[:batch]
    return Outcome.from_rank(
        np.arange(batch), granularity, rank, severity, rng.integers(1000, size=batch), k
    )


def check_reward(reward: Any, kwargs: dict[str, Any] | None = None) -> None:
    """Check a reward of one's own against the whole `Reward` contract.

    Args:
        reward: whatever ``reward=`` takes: a name, a class, a function, an object.
        kwargs: its arguments, as in ``reward_kwargs=``.

    Raises:
        DSAError: it cannot be found or made, or returns something of the wrong form.
        AssertionError: it is not pure, looks at other entries of the batch, changes its form,
            leaves its `reward_space` or cannot be copied; the message says what to change.
    """
    found = resolve_reward(reward, kwargs)
    outcome = example_outcome()
    pristine = copy.deepcopy(outcome)
    values, terms = (copy.deepcopy(part) for part in evaluate(found, outcome))
    for name in ("query", "granularity", "rank", "recall", "severity", "retrieved"):
        assert np.array_equal(getattr(outcome, name), getattr(pristine, name)), (
            f"The reward wrote into outcome.{name}; compute with a copy of it."
        )
    _check_pure(found, outcome, values, terms)
    _check_rowwise(found, outcome, values, terms)
    _check_space(found, values)
    _check_copies(found, outcome, values)


def _check_pure(reward: Reward, outcome: Outcome, values: Any, terms: Any) -> None:
    again = evaluate(reward, outcome)
    assert data_equivalence((values, terms), again, exact=True), (
        "The reward gave the same outcome another value the second time; drop its randomness or "
        "whatever it remembers from call to call."
    )


def _check_rowwise(reward: Reward, outcome: Outcome, values: Any, terms: Any) -> None:
    """Entry i of the result belongs to entry i of the outcome, whatever else is in the batch."""
    everything = np.arange(len(outcome))
    for rows in (everything[::-1], everything[:1], everything[5:12]):
        part, part_terms = evaluate(reward, outcome.take(rows))
        assert part.shape[1:] == values.shape[1:], (
            f"The reward's values have shape {values.shape} for {len(values)} outcomes and "
            f"{part.shape} for {len(part)}; return one form for every batch size."
        )
        assert part_terms.keys() == terms.keys(), (
            f"The reward's terms are {sorted(terms)} for one batch and {sorted(part_terms)} for "
            "another; return the same names at every call."
        )
        same = np.allclose(part, values[rows], rtol=1e-5, atol=1e-6)
        same &= all(np.allclose(part_terms[name], terms[name][rows]) for name in terms)
        assert same, (
            "The reward of an outcome depends on the others in its batch; use nothing that mixes "
            "entries, such as a mean over the batch."
        )


def _check_space(reward: Reward, values: Any) -> None:
    space = getattr(reward, "reward_space", None)
    if values.ndim == 1 or space is None:
        return
    assert space.shape == values.shape[1:], (
        f"reward_space has shape {space.shape}, the values of one outcome {values.shape[1:]}; "
        "make them one."
    )
    outside = [row for row in values.astype(space.dtype) if row not in space]
    assert not outside, f"The value {outside[0]} lies outside reward_space {space}; widen it."


def _check_copies(reward: Reward, outcome: Outcome, values: Any) -> None:
    try:
        twins = [copy.deepcopy(reward), pickle.loads(pickle.dumps(reward))]
    except Exception as error:
        raise AssertionError(
            f"The reward cannot be copied and pickled ({error}), so environments that hold it "
            "cannot either; define it at the top level of a module."
        ) from error
    for twin in twins:
        assert np.array_equal(twin(outcome)[0], values), (
            "A copy of the reward gives other values; keep everything it needs in its attributes."
        )


def check_bank(bank: str | os.PathLike[str] | FeatureBank) -> None:
    """Check that a bank is whole and that every split with images can be played both ways.

    Raises:
        DSAError: what is wrong, and the cure.
        AssertionError: an observation or outcome leaves its range.
    """
    from dsa_env.bank import resolve_bank
    from dsa_env.core import RetrievalCore
    from dsa_env.retrieval.shortlist import DIRECTIONS

    opened = resolve_bank(bank)
    opened.verify()
    for split in ("train", "validation", "test"):
        if len(opened.split_images(split)) == 0:
            continue
        for direction in DIRECTIONS:
            core = RetrievalCore(opened, direction, split)
            query = np.arange(min(core.n_queries, 64))
            observation = core.observe(query)
            for i in query:
                one = {name: rows[i] for name, rows in observation.items()}
                assert core.observation_space.contains(one), (
                    f"Observation of query {i} ({direction}, {split}) leaves its space."
                )
            for g in (0.0, 0.5, 1.0):
                _, _, outcome = core.evaluate(query, np.full(len(query), g))
                fits = (outcome.rank >= 1) & (outcome.severity >= 0) & (outcome.severity <= 1)
                assert fits.all(), (
                    f"Outcome of query {query[~fits][0]} ({direction}, {split}) leaves its range."
                )


def check_env(env: gym.Env[Any, Any], steps: int = 20) -> None:
    """Check a retrieval environment, wrapped or not, against its documentation.

    Runs Gymnasium's own checker, then plays `steps` random steps twice from one seed and looks at
    the infos. Scalar rewards only.

    Raises:
        AssertionError: what differs from the documentation.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".* is different from the unwrapped version")
        check_gymnasium_api(env, skip_render_check=env.render_mode is None)
    first, second = _play(env, steps), _play(pickle.loads(pickle.dumps(env)), steps)
    assert data_equivalence(first, second, exact=True), (
        "Two rollouts from the same seed differ, the second with a pickled copy; draw from "
        "self.np_random alone."
    )
    for _, reward, _, truncated, info in first:
        missing = STEP_KEYS - info.keys()
        assert not missing, f"The info of a step lacks {sorted(missing)}."
        assert info["reward_terms"].keys() == first[0][-1]["reward_terms"].keys(), (
            "The names of the reward terms change from step to step."
        )
        assert not truncated, "An episode was truncated; it must terminate at its horizon."
        assert info["rank"] >= 1, f"rank is {info['rank']}, below 1."
        for key in ("recall", "severity", "granularity"):
            assert 0 <= info[key] <= 1, f"{key} is {info[key]}, outside [0, 1]."
        assert info["regret"] >= 0, f"regret is {info['regret']}: the oracle was beaten."
        assert np.isclose(info["oracle_reward"] - reward, info["regret"]), (
            "regret is not oracle_reward - reward; does a wrapper change the reward?"
        )


def _play(env: gym.Env[Any, Any], steps: int) -> list[tuple[Any, Any, bool, bool, dict[str, Any]]]:
    env.action_space.seed(7)
    env.reset(seed=7)
    played: list[tuple[Any, Any, bool, bool, dict[str, Any]]] = []
    for _ in range(steps):
        observation, reward, terminated, truncated, info = env.step(env.action_space.sample())
        played.append((observation, reward, terminated, truncated, info))
        if terminated or truncated:
            env.reset()
    return played
