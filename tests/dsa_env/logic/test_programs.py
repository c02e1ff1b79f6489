"""CLEVR's programs: every function, what is refused, and the words of the answers."""

from __future__ import annotations

from typing import Any

import pytest

from dsa_env.datasets.clevr_questions import Step
from dsa_env.datasets.scenes import generate_scene
from dsa_env.logic.programs import (
    FUNCTIONS,
    ProgramError,
    as_program,
    as_records,
    check_program,
    execute,
    trace,
)
from dsa_env.logic.scene_graph import SceneGraph

# From left to right, the first in front.
THINGS = [
    ("large", "red", "metal", "cube"),
    ("small", "red", "rubber", "sphere"),
    ("large", "blue", "metal", "sphere"),
]


@pytest.fixture(scope="module")
def scene() -> dict[str, Any]:
    names = ("size", "color", "material", "shape")
    later, earlier = [[1, 2], [2], []], [[], [0], [0, 1]]
    return {
        "image_filename": "three.png",
        "objects": [dict(zip(names, thing, strict=True)) for thing in THINGS],
        "relationships": {"left": earlier, "right": later, "front": earlier, "behind": later},
    }


def program(*calls: str) -> tuple[Step, ...]:
    """Steps written as "filter_color 0 red"; digits are inputs, the rest words."""
    steps = []
    for call in calls:
        name, *rest = call.split()
        inputs = tuple(int(word) for word in rest if word.isdigit())
        steps.append(Step(name, inputs, tuple(word for word in rest if not word.isdigit())))
    return tuple(steps)


RED_CUBE = ("scene", "filter_color 0 red", "filter_shape 1 cube", "unique 2")
BLUE = ("scene", "filter_color 4 blue", "unique 5")


@pytest.mark.parametrize(
    ("calls", "answer"),
    [
        (("scene", "count 0"), "3"),
        (("scene", "filter_size 0 small", "exist 1"), "yes"),
        (("scene", "filter_material 0 rubber", "filter_shape 1 cube", "exist 2"), "no"),
        ((*RED_CUBE, "query_size 3"), "large"),
        ((*RED_CUBE, "query_material 3"), "metal"),
        ((*RED_CUBE, "relate 3 right", "count 4"), "2"),
        ((*RED_CUBE, "relate 3 left", "count 4"), "0"),
        ((*RED_CUBE, "relate 3 behind", "filter_shape 4 cube", "exist 5"), "no"),
        ((*RED_CUBE, "same_color 3", "unique 4", "query_shape 5"), "sphere"),
        ((*RED_CUBE, "same_size 3", "unique 4", "query_color 5"), "blue"),
        ((*RED_CUBE, "same_material 3", "count 4"), "1"),
        ((*RED_CUBE, "same_shape 3", "count 4"), "0"),
        ((*RED_CUBE, *BLUE, "query_color 3", "query_color 6", "equal_color 7 8"), "no"),
        ((*RED_CUBE, *BLUE, "query_size 3", "query_size 6", "equal_size 7 8"), "yes"),
        ((*RED_CUBE, *BLUE, "query_material 3", "query_material 6", "equal_material 7 8"), "yes"),
        ((*RED_CUBE, *BLUE, "query_shape 3", "query_shape 6", "equal_shape 7 8"), "no"),
        ((*RED_CUBE, *BLUE, "equal_object 3 6"), "no"),
        ((*RED_CUBE, *BLUE, "relate 3 right", "relate 6 left", "intersect 7 8", "count 9"), "1"),
        (("scene", "filter_color 0 red", "scene", "filter_shape 2 sphere", "union 1 3",
          "count 4"), "3"),
        (("scene", "filter_color 0 red", "count 1", "scene", "filter_color 3 blue", "count 4",
          "greater_than 2 5"), "yes"),
        (("scene", "filter_color 0 red", "count 1", "scene", "filter_color 3 blue", "count 4",
          "less_than 2 5"), "no"),
        (("scene", "filter_color 0 red", "count 1", "scene", "filter_shape 3 sphere", "count 4",
          "equal_integer 2 5"), "yes"),
    ],
)  # fmt: skip
def test_each_function_answers_in_clevrs_words(
    scene: dict[str, Any], calls: tuple[str, ...], answer: str
) -> None:
    assert execute(program(*calls), scene) == answer


def test_every_function_of_the_released_questions_is_there() -> None:
    attributes = ("size", "color", "material", "shape")
    families = ("filter", "same", "query", "equal")
    expected = {f"{family}_{attribute}" for family in families for attribute in attributes}
    expected |= {
        "scene", "unique", "relate", "union", "intersect", "count", "exist",
        "equal_integer", "less_than", "greater_than",
    }  # fmt: skip
    assert expected <= set(FUNCTIONS)


@pytest.mark.parametrize(("name", "words"), [("function", "value_inputs"), ("type", "side_inputs")])
def test_both_spellings_of_a_record_are_the_same_program(
    scene: dict[str, Any], name: str, words: str
) -> None:
    steps = program("scene", "filter_color 0 red", "count 1")
    records = [{name: s.function, "inputs": list(s.inputs), words: list(s.values)} for s in steps]
    assert as_program(records) == steps
    assert as_program(as_records(steps)) == steps
    assert execute(records, scene) == "2"


def test_a_trace_shows_every_step(scene: dict[str, Any]) -> None:
    found = trace(program(*RED_CUBE, "query_color 3"), SceneGraph.of(scene))
    assert found == [{0, 1, 2}, {0, 1}, {0}, 0, "red"]


@pytest.mark.parametrize(
    ("calls", "message"),
    [
        ((), "no steps"),
        (("scene", "filter_colour 0 red"), "Step 1: Unknown function.*mean 'filter_color'"),
        (("scene", "count 0 red"), r"Step 1 \(count\).*takes no word"),
        (("scene", "filter_color 0"), r"Step 1 \(filter_color\).*takes one color"),
        (("scene", "count 1"), r"Step 1 \(count\).*earlier steps"),
        (("scene", "query_color 0"), r"Step 1 \(query_color\).*takes \(object\), got \(objects\)"),
        (("scene", "unique 0", "relate 1 lefft", "count 2"), "Step 2.*mean 'left'"),
        (("scene", "filter_color 0 red"), r"Step 1 \(filter_color\).*no answer"),
        ((*RED_CUBE, "query_color 3", "query_size 3", "equal_color 4 5"), "got.*color, size"),
    ],
)
def test_ill_typed_programs_are_refused_without_a_scene(
    calls: tuple[str, ...], message: str
) -> None:
    with pytest.raises(ProgramError, match=message) as caught:
        check_program(program(*calls))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("calls", "message"),
    [
        (("scene", "filter_color 0 red", "unique 1", "query_shape 2"),
         r"Step 2 \(unique\).*fails on three.png.*there are 2"),
        (("scene", "filter_color 0 green", "unique 1", "query_shape 2"), "there are 0"),
        (("scene", "filter_color 0 purpel", "count 1"), "Step 1.*Did you mean 'purple'"),
    ],
)  # fmt: skip
def test_programs_that_fail_on_a_scene_name_the_step(
    scene: dict[str, Any], calls: tuple[str, ...], message: str
) -> None:
    with pytest.raises(ProgramError, match=message) as caught:
        execute(program(*calls), scene)
    assert "\n" not in str(caught.value)


def test_records_that_are_no_steps_are_refused(scene: dict[str, Any]) -> None:
    for record in ({"inputs": []}, {"function": "count", "inputs": "0"}, 3):
        with pytest.raises(ProgramError, match="Step 0"):
            execute([record], scene)  # type: ignore[list-item]


def test_programs_run_on_the_embedded_world() -> None:
    scene = generate_scene(0, "test")
    assert execute(program("scene", "count 0"), scene) == str(len(scene["objects"]))
