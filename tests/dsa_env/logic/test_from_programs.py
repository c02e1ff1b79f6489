"""A program's answer is right exactly when its formula is true."""

from __future__ import annotations

from typing import Any

import pytest

from dsa_env.datasets.scenes import generate_scene
from dsa_env.errors import DSAError
from dsa_env.logic.evaluate import holds
from dsa_env.logic.from_programs import read_program
from dsa_env.logic.programs import ProgramError, execute
from dsa_env.logic.scene_graph import SceneGraph


def step(function: str, *inputs: int, word: str | None = None) -> dict[str, Any]:
    return {"function": function, "inputs": list(inputs), "value_inputs": [word] if word else []}


CUBE = [step("scene"), step("filter_shape", 0, word="cube")]
TWO = [*CUBE, step("unique", 1), step("filter_color", 0, word="red"), step("unique", 3)]
NUMBERS = [*CUBE, step("count", 1), step("filter_size", 0, word="small"), step("count", 3)]
PROGRAMS = {
    "count": [*CUBE, step("count", 1)],
    "exist": [*CUBE, step("filter_color", 1, word="red"), step("exist", 2)],
    "query": [*CUBE, step("unique", 1), step("query_color", 2)],
    "relate": [*CUBE, step("unique", 1), step("relate", 2, word="left"), step("count", 3)],
    "same": [*CUBE, step("unique", 1), step("same_material", 2), step("count", 3)],
    "union": [*CUBE, step("filter_size", 0, word="small"), step("union", 1, 2), step("count", 3)],
    "intersect": [*CUBE, step("filter_size", 0, word="small"), step("intersect", 1, 2),
                  step("exist", 3)],
    "equal": [*TWO, step("query_size", 2), step("query_size", 4), step("equal_size", 5, 6)],
    "one": [*TWO, step("equal_object", 2, 4)],
    "as many": [*NUMBERS, step("equal_integer", 2, 4)],
    "fewer": [*NUMBERS, step("less_than", 2, 4)],
    "more": [*NUMBERS, step("greater_than", 2, 4)],
}  # fmt: skip
ANSWERS = {
    "query": ("red", "blue", "gray", "green", "brown", "purple", "cyan", "yellow"),
    "count": tuple(map(str, range(11))),
    "relate": tuple(map(str, range(11))),
    "same": tuple(map(str, range(11))),
    "union": tuple(map(str, range(11))),
}


@pytest.mark.parametrize("name", list(PROGRAMS))
def test_the_formula_of_an_answer_is_true_exactly_for_the_executors_answer(name: str) -> None:
    program = PROGRAMS[name]
    answered = 0
    for index in range(60):
        scene = generate_scene(index, "test")
        graph = SceneGraph.of(scene)
        try:
            answer: str | None = execute(program, graph)
        except ProgramError:
            answer = None  # `unique` of none or several: no answer is right
        answered += answer is not None
        for possible in ANSWERS.get(name, ("yes", "no")):
            (reading,) = read_program(program, possible)
            assert holds(reading.sentence, graph) == (possible == answer)
    assert answered


@pytest.mark.parametrize(
    ("name", "answer", "said"),
    [("exist", "3", "yes or no"), ("count", "many", "a number")],
)
def test_an_answer_of_another_type_is_refused(name: str, answer: str, said: str) -> None:
    with pytest.raises(DSAError, match=said):
        read_program(PROGRAMS[name], answer)
