"""Infos take Gymnasium's forms, and what is made on demand is made once."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from gymnasium.vector import VectorEnv

from dsa_env.infos import FinalInfos, first_info, unbatch, with_masks

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
    calls: list[int] = []
    infos = FinalInfos({"query": 1}, lambda: calls.append(1) or "made")
    assert "final_obs" in infos
    assert infos["query"] == 1
    assert not calls
    assert infos["final_obs"] == infos.get("final_obs") == "made"
    assert infos == {"query": 1, "final_obs": "made"}
    assert len(calls) == 1


def test_an_entry_can_be_set_and_taken_out_unmade() -> None:
    infos = FinalInfos({}, lambda: pytest.fail("made although it was set"))
    infos["final_obs"] = "mine"
    assert dict(infos) == {"final_obs": "mine"}
    assert infos.pop("final_obs") == "mine"
    assert "final_obs" not in infos
    with pytest.raises(KeyError):
        infos["final_obs"]
