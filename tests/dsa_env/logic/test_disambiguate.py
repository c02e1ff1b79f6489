"""Which readings a scene leaves standing, and what is said where an engine is missing."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from dsa_env.logic.disambiguate import NO_Z3, Verdicts, as_json, disambiguate
from dsa_env.logic.lean import ACCEPTED, NOT_CHECKED, REJECTED
from dsa_env.logic.scene_graph import SceneGraph


def thing(color: str, shape: str) -> dict[str, Any]:
    return {"size": "large", "color": color, "material": "rubber", "shape": shape}


def row(*things: dict[str, Any]) -> SceneGraph:
    """Things from left to right."""
    n = len(things)
    before, after = [list(range(i)) for i in range(n)], [list(range(i + 1, n)) for i in range(n)]
    empty: list[list[int]] = [[] for _ in range(n)]
    relations = {"left": before, "right": after, "front": empty, "behind": empty}
    scene = {"image_filename": "row", "objects": list(things), "relationships": relations}
    return SceneGraph.of(scene)


TEXT = "the red cube left of the ball and the cone"
CUBE, BALL, CONE = thing("red", "cube"), thing("blue", "sphere"), thing("green", "cone")


@pytest.mark.parametrize(
    ("things", "outcome", "survivors"),
    [
        ((CUBE, BALL, CONE), "ambiguous", 2),
        ((CONE, CUBE, BALL), "resolved", 1),  # the cone is not right of the cube
        ((CUBE, BALL, CUBE, CONE), "ambiguous", 2),  # one cube alone is left of the ball
        ((BALL, CUBE, CONE), "failing", 0),
        ((CUBE, CUBE, BALL, CONE), "failing", 0),
        ((CUBE, BALL), "failing", 0),
    ],
)
def test_a_reading_survives_when_its_descriptions_denote_one_object_each(
    things: tuple[dict[str, Any], ...], outcome: str, survivors: int
) -> None:
    pytest.importorskip("z3", reason="the extra `logic` is not installed")
    found = disambiguate(TEXT, row(*things), with_lean=False)
    assert (found.outcome, len(found.survivors)) == (outcome, survivors)
    for judged in found.readings:
        assert judged.verdicts.agree
        assert all(one.verdicts.z3 == one.verdicts.executor for one in judged.described)
        assert not judged.verdicts.proved, "Lean was not asked"


def test_objects_are_named() -> None:
    found = disambiguate("the cube", row(CUBE, thing("blue", "cube")), with_lean=False)
    (judged,) = found.readings
    assert judged.described[0].objects == (0, 1)
    assert judged.described[0].names == (
        "object 0 (large red rubber cube)",
        "object 1 (large blue rubber cube)",
    )
    assert found.outcome == "failing"


def test_a_reading_without_descriptions_survives_when_it_is_true() -> None:
    graph = row(CUBE, BALL)
    assert disambiguate("a red cube left of a ball", graph, with_lean=False).outcome == "resolved"
    assert disambiguate("a red cube right of a ball", graph, with_lean=False).outcome == "failing"


def test_without_z3_the_verdict_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "z3", None)
    found = disambiguate(TEXT, row(CONE, CUBE, BALL), with_lean=False)
    assert found.readings[0].verdicts.z3 == NO_Z3
    assert found.outcome == "resolved"


def test_proved_means_that_all_three_engines_said_so() -> None:
    assert Verdicts("true", "true", ACCEPTED).proved
    assert not Verdicts("true", "true", NOT_CHECKED).proved
    assert not Verdicts("true", NO_Z3, ACCEPTED).proved
    assert Verdicts("true", NO_Z3, NOT_CHECKED).agree
    assert not Verdicts("true", "false", ACCEPTED).agree
    assert not Verdicts("true", "true", REJECTED).agree


def test_json_tells_readings_objects_and_verdicts() -> None:
    told = as_json(disambiguate(TEXT, row(CONE, CUBE, BALL), with_lean=False))
    assert told["outcome"] == "resolved"
    assert told["lean"] == "it was not asked to"
    first = told["readings"][0]
    assert first["descriptions"][0]["objects"] == [1]
    assert first["holds"]["lean"] == NOT_CHECKED
