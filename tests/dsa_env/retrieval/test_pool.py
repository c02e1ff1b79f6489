"""Candidates from FAISS indexes find what comparing everything finds."""

from __future__ import annotations

import pickle
import sys

import gymnasium as gym
import numpy as np
import pytest

from dsa_env.bank import FeatureBank
from dsa_env.core import RetrievalCore
from dsa_env.errors import DSAError
from dsa_env.retrieval import pool
from dsa_env.retrieval.shortlist import DIRECTIONS, build_retrieval, load_retrieval
from dsa_env.testing import synthetic_bank

BANK = synthetic_bank(600, captions=2, dim=16, seed=2)


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize(("flat", "share"), [(20_000, 0.99), (50, 0.9)])
def test_pools_hold_what_ranks_high(
    direction: str, flat: int, share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("faiss")
    monkeypatch.setattr(pool, "FLAT", flat)
    exact = load_retrieval(BANK, direction, "train", shortlist=64)
    found = build_retrieval(BANK, direction, "train", 64, faiss=True)
    np.testing.assert_array_equal(found.query_ids, exact.query_ids)
    np.testing.assert_array_equal(found.positive.sum(axis=1), exact.positive.sum(axis=1))
    query = np.arange(len(exact))
    for g in (0.0, 0.5, 1.0):
        one, other = (r.outcomes(query, np.full(len(query), g), 10) for r in (found, exact))
        assert (one.retrieved == other.retrieved).mean() > share
        assert (one.recall == other.recall).mean() > share
    same = found.candidates == exact.candidates
    assert same[:, :10].mean() > 0.5
    np.testing.assert_allclose(found.fine[same], exact.fine[same], atol=1e-6)
    shown = [one.observed(one.observation)["image"] for one in (found, exact)]
    difference = np.abs(shown[0] - shown[1]).max(axis=1)
    assert (difference < 0.1).mean() > share


def test_who_is_the_positive_leaves_observations_bit_identical() -> None:
    pytest.importorskip("faiss")
    rng = np.random.default_rng(0)
    text, view = rng.normal(size=(2, 150, 8))
    observed = []
    for positives in (np.arange(150), rng.permutation(150)):
        bank = FeatureBank.from_arrays(
            text, view, regions=view[:, None], positives=positives, splits=["test"] * 150
        )
        made = load_retrieval(bank, "text_to_image", "test", shortlist=20, faiss=True)
        observed.append(made.observation.tobytes())
    assert observed[0] == observed[1]


def test_without_faiss_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(DSAError, match=r"pip install 'dsa-env\[faiss\]'"):
        load_retrieval(BANK, "text_to_image", "train", faiss=True)


def test_the_environments_take_it_as_an_argument() -> None:
    pytest.importorskip("faiss")
    options = {"bank": BANK, "shortlist": 64, "faiss": True}
    env = gym.make("DSA/Retrieval-v0", **options)
    vector = gym.make_vec("DSA/Retrieval-v0", num_envs=3, **options)
    made = load_retrieval(BANK, "text_to_image", "train", shortlist=64, faiss=True)
    for core in (env.unwrapped.core, vector.unwrapped.core, copy_of(env.unwrapped.core)):
        np.testing.assert_array_equal(core.retrieval.candidates, made.candidates)


def copy_of(core: RetrievalCore) -> RetrievalCore:
    return pickle.loads(pickle.dumps(core))
