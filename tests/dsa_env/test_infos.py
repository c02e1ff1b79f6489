"""Infos take Gymnasium's forms, and what is made on demand is made once."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest
from gymnasium.vector import VectorEnv

from dsa_env.infos import LazyInfos, first_info, unbatch, with_masks

INFO: dict[str, Any] = {
    "rank": np.array([1.0, 2.5]),
    "query": np.array([7, 3]),
    "terms": {"recall": np.array([1.0, 0.0])},
}


def test_the_first_environments_numbers_are_plain() -> None:
    info = first_info(INFO)
    assert info == {"rank": 1.0, "query": 7, "terms": {"recall": 1.0}}
    assert (type(info["rank"]), type(info["query"])) == (float, int)


def test_masks_are_those_that_gymnasium_makes() -> None:
    singles = [
        first_info(INFO),
        {"rank": 2.5, "query": 3, "terms": {"recall": 0.0}},
    ]
    theirs: dict[str, Any] = {}
    env: VectorEnv[Any, Any, Any] = VectorEnv()
    env.num_envs = 2
    for i, single in enumerate(singles):
        theirs = env._add_info(theirs, single, i)
    np.testing.assert_equal(with_masks(INFO, 2), theirs)


def test_observations_come_apart_into_one_dict_each() -> None:
    single = unbatch({"text": np.eye(3), "image": np.arange(3)[:, None]})
    assert single.shape == (3,)
    np.testing.assert_array_equal(single[1]["text"], [0, 1, 0])
    np.testing.assert_array_equal(single[2]["image"], [2])


def test_what_is_made_on_demand_is_made_once() -> None:
    calls: list[str] = []

    def make() -> dict[str, Any]:
        calls.append("entries")
        return {"query": 1}

    def final() -> str:
        calls.append("final")
        return "made"

    infos = LazyInfos(make, final)
    assert not calls
    assert "final_obs" in infos
    assert infos["query"] == 1
    assert calls == ["entries"]
    assert infos["final_obs"] == infos.get("final_obs") == "made"
    assert infos == {"query": 1, "final_obs": "made"}
    assert calls == ["entries", "final"]


def test_what_it_is_of_is_handed_to_what_makes_it() -> None:
    infos = LazyInfos(lambda a, b: {"sum": a + b}, lambda a, b: a * b, 2, 3)
    assert infos == {"sum": 5, "final_obs": 6}


def test_without_a_final_observation_there_is_none() -> None:
    infos = LazyInfos(lambda: {"query": 1})
    assert "final_obs" not in infos
    assert list(infos) == ["query"]
    with pytest.raises(KeyError):
        infos["final_obs"]


def test_an_entry_can_be_set_and_taken_out_unmade() -> None:
    infos = LazyInfos(lambda: {"query": 1}, lambda: pytest.fail("made although it was set"))
    infos["final_obs"] = "mine"
    infos["query"] = 2
    assert dict(infos) == {"final_obs": "mine", "query": 2}
    assert infos.pop("final_obs") == "mine"
    assert "final_obs" not in infos
    with pytest.raises(KeyError):
        infos["final_obs"]


def test_it_copies_and_pickles_as_a_plain_dict() -> None:
    infos = LazyInfos(lambda: {"query": 1}, lambda: 2)
    for other in (copy.copy(infos), copy.deepcopy(infos), pickle.loads(pickle.dumps(infos))):
        assert type(other) is dict
        assert other == {"query": 1, "final_obs": 2}
