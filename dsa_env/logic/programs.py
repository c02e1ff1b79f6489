"""CLEVR's functional programs: checked, executed on a scene graph, answered in CLEVR's words.

The functions are those of Johnson et al. 2017, "CLEVR: A Diagnostic Dataset for Compositional
Language and Elementary Visual Reasoning", as the released questions use them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from dsa_env.datasets.clevr_questions import Step
from dsa_env.errors import DSAError, unknown
from dsa_env.logic import operations
from dsa_env.logic.scene_graph import ATTRIBUTES, RELATIONS, Objects, SceneGraph

Value = Objects | int | bool | str
"""What a step gives: a set of objects, one object or a number, a truth, a word."""


class ProgramError(DSAError):
    """A program is ill-formed, or has no answer on a scene; the message names the step."""


@dataclass(frozen=True)
class Function:
    """One function that programs may call.

    Attributes:
        takes: the types of its inputs: "objects", "object", "number", "truth", or an attribute's
            name for one of its words.
        gives: the type of its result.
        words: what it takes beside its inputs, or None: an attribute's name or "relation".
        run: (graph, word or "", *inputs) -> result.
    """

    takes: tuple[str, ...]
    gives: str
    words: str | None
    run: Callable[..., Value]


def _functions() -> dict[str, Function]:
    sets = ("objects", "objects")
    numbers = ("number", "number")
    table = {
        "scene": Function((), "objects", None, lambda g, _: operations.everything(g)),
        "unique": Function(("objects",), "object", None, lambda g, _, s: operations.unique(s)),
        "relate": Function(
            ("object",), "objects", "relation", lambda g, w, i: operations.relate(g, i, w)
        ),
        "union": Function(sets, "objects", None, lambda g, _, a, b: operations.union(a, b)),
        "intersect": Function(sets, "objects", None, lambda g, _, a, b: operations.intersect(a, b)),
        "count": Function(("objects",), "number", None, lambda g, _, s: operations.count(s)),
        "exist": Function(("objects",), "truth", None, lambda g, _, s: operations.exist(s)),
        "equal_integer": Function(numbers, "truth", None, lambda g, _, a, b: a == b),
        "less_than": Function(numbers, "truth", None, lambda g, _, a, b: a < b),
        "greater_than": Function(numbers, "truth", None, lambda g, _, a, b: a > b),
        "equal_object": Function(
            ("object", "object"), "truth", None, lambda g, _, a, b: bool(a == b)
        ),
    }
    for attribute in ATTRIBUTES:
        table[f"filter_{attribute}"] = Function(
            ("objects",), "objects", attribute, partial(_filter, attribute)
        )
        table[f"same_{attribute}"] = Function(
            ("object",), "objects", None, partial(_same, attribute)
        )
        table[f"query_{attribute}"] = Function(
            ("object",), attribute, None, partial(_query, attribute)
        )
        table[f"equal_{attribute}"] = Function(
            (attribute, attribute), "truth", None, lambda g, _, a, b: a == b
        )
    return table


def _filter(attribute: str, graph: SceneGraph, word: str, objects: Objects) -> Value:
    return operations.filter_by(graph, objects, attribute, word)


def _same(attribute: str, graph: SceneGraph, _: str, index: int) -> Value:
    return operations.same(graph, index, attribute)


def _query(attribute: str, graph: SceneGraph, _: str, index: int) -> Value:
    return operations.query(graph, index, attribute)


FUNCTIONS: Mapping[str, Function] = _functions()
"""Every function of CLEVR v1.0 by name."""
ANSWERS = ("truth", "number", *ATTRIBUTES)
"""The types that an answer can have."""


def as_program(steps: Iterable[Step | Mapping[str, Any]]) -> tuple[Step, ...]:
    """A program as steps; CLEVR's records are read in both spellings.

    Args:
        steps: `Step`s, or records with `function` or `type`, `inputs`, and `value_inputs` or
            `side_inputs`.

    Raises:
        ProgramError: for a record without a function, or with inputs or words that are no lists.
    """
    program = []
    for place, step in enumerate(steps):
        if isinstance(step, Step):
            program.append(step)
            continue
        about: Mapping[str, Any] = step if isinstance(step, Mapping) else {}
        function = about.get("function", about.get("type"))
        inputs = about.get("inputs") or []
        words = about.get("value_inputs") or about.get("side_inputs") or []
        lists = isinstance(inputs, list | tuple) and isinstance(words, list | tuple)
        if not isinstance(function, str) or not lists or not all(type(n) is int for n in inputs):
            raise ProgramError(
                f"Step {place} of the program has no 'function', or 'inputs' that are no step "
                "numbers; write it as CLEVR v1.0 does."
            )
        program.append(Step(function, tuple(inputs), tuple(map(str, words))))
    return tuple(program)


def as_records(program: Iterable[Step]) -> list[dict[str, Any]]:
    """A program as CLEVR v1.0 writes it, for JSON."""
    return [
        {"function": s.function, "inputs": list(s.inputs), "value_inputs": list(s.values)}
        for s in program
    ]


def check_program(program: Sequence[Step]) -> str:
    """Check that a program is well-formed and well-typed; needs no scene.

    Returns:
        The type of its answer, one of `ANSWERS`.

    Raises:
        ProgramError: naming the first step that is wrong, in one line.
    """
    gives: list[str] = []
    for place, step in enumerate(program):
        if step.function not in FUNCTIONS:
            raise ProgramError(f"Step {place}: {unknown('function', step.function, FUNCTIONS)}")
        function = FUNCTIONS[step.function]
        if any(not 0 <= n < place for n in step.inputs):
            raise _wrong(place, step, f"takes step {max(step.inputs)}; inputs are earlier steps")
        found = tuple(gives[n] for n in step.inputs)
        if found != function.takes:
            raise _wrong(
                place,
                step,
                f"takes ({', '.join(function.takes)}), got ({', '.join(found)}); mend its inputs",
            )
        if len(step.values) != (function.words is not None):
            wanted = f"one {function.words}" if function.words else "no word"
            raise _wrong(place, step, f"takes {wanted}, got {list(step.values)}")
        if function.words == "relation" and step.values[0] not in RELATIONS:
            raise _wrong(place, step, f"is wrong: {unknown('relation', step.values[0], RELATIONS)}")
        gives.append(function.gives)
    if not gives:
        raise ProgramError("The program has no steps; CLEVR's test questions come without one.")
    if gives[-1] not in ANSWERS:
        raise _wrong(
            len(gives) - 1, program[-1], f"is last and gives {gives[-1]}, no answer; end in a query"
        )
    return gives[-1]


def trace(program: Sequence[Step], graph: SceneGraph) -> list[Value]:
    """What every step of a program gives on a scene, in order.

    Raises:
        ProgramError: when the program is ill-formed, or a step fails on this scene (`unique` of
            none or several objects, a word that does not exist): in one line, with the step.
    """
    check_program(program)
    values: list[Value] = []
    for place, step in enumerate(program):
        word = step.values[0] if step.values else ""
        try:
            value = FUNCTIONS[step.function].run(graph, word, *(values[n] for n in step.inputs))
        except DSAError as error:
            raise _wrong(place, step, f"fails on {graph.name}: {error}") from None
        values.append(value)
    return values


def execute(
    program: Sequence[Step | Mapping[str, Any]], scene: SceneGraph | Mapping[str, Any]
) -> str:
    """The answer of a program on a scene as CLEVR writes it: "yes", "3", "cyan".

    Args:
        program: steps, or CLEVR's records of them.
        scene: a scene graph, or CLEVR's record of one.

    Raises:
        ProgramError: as `trace` says.
        SceneError: when the record is no CLEVR v1.0 scene.
    """
    graph = scene if isinstance(scene, SceneGraph) else SceneGraph.of(scene)
    return as_answer(trace(as_program(program), graph)[-1])


def as_answer(value: Value) -> str:
    """A truth, a number or a word as CLEVR writes it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)


def _wrong(place: int, step: Step, what: str) -> ProgramError:
    return ProgramError(f"Step {place} ({step.function}) of the program {what.rstrip('.')}.")
