"""CLEVR's functional programs as formulas: what has to be true for a program to have an answer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from dsa_env.datasets.clevr_questions import Step
from dsa_env.errors import DSAError
from dsa_env.logic.formulas import (
    NO,
    SOME,
    THE,
    THING,
    Alike,
    Compare,
    Has,
    Not,
    Property,
    Quantified,
    Quantifier,
    Related,
    Sentence,
    conjoin,
    descriptions,
    disjoin,
)
from dsa_env.logic.parser import Reading
from dsa_env.logic.phrases import say
from dsa_env.logic.programs import as_program, check_program

_COMPARISONS = {"equal_integer": "=", "less_than": "<", "greater_than": ">"}


def read_program(program: Iterable[Step | Mapping[str, Any]], answer: str) -> tuple[Reading, ...]:
    """The readings of "the program's answer is `answer`": always one, programs being unambiguous.

    It is true of a scene exactly when the program runs on it (every `unique` finds one object) and
    gives the answer.

    Args:
        program: steps, or CLEVR's records of them.
        answer: "yes", "no", a number or a word, as CLEVR writes it.

    Raises:
        DSAError: for an ill-formed program, or an answer of another type than it gives.
    """
    steps = as_program(program)
    kind = check_program(steps)
    if kind == "truth" and answer not in ("yes", "no"):
        raise DSAError(f"The program answers yes or no, not {answer!r}.")
    if kind == "number" and not answer.isdecimal():
        raise DSAError(f"The program answers a number, not {answer!r}.")
    properties, unique = _properties(steps)
    sentence = _answer(steps, properties, answer)
    sentence = conjoin(sentence, *(Quantified(THE, found) for found in unique))
    return (Reading(sentence, descriptions(sentence), say(sentence)),)


def _properties(steps: tuple[Step, ...]) -> tuple[dict[int, Property], list[Property]]:
    """The property of each step that gives objects or one object, and those of `unique` steps."""
    found: dict[int, Property] = {}
    unique: list[Property] = []
    for place, step in enumerate(steps):
        inputs = [found[n] for n in step.inputs if n in found]
        name, _, attribute = step.function.partition("_")
        if step.function == "scene":
            found[place] = THING
        elif step.function == "unique":
            found[place] = inputs[0]
            unique.append(inputs[0])
        elif name == "filter":
            found[place] = conjoin(inputs[0], Has(attribute, step.values[0]))
        elif step.function == "relate":
            found[place] = Related(step.values[0], THE, inputs[0])
        elif name == "same":
            found[place] = Alike(attribute, THE, inputs[0])
        elif step.function == "union":
            found[place] = disjoin(*inputs)
        elif step.function == "intersect":
            found[place] = conjoin(*inputs)
        elif name in ("query", "count"):
            found[place] = inputs[0]  # what is asked about, for the step that compares
    return found, unique


def _answer(steps: tuple[Step, ...], properties: dict[int, Property], answer: str) -> Sentence:
    last = steps[-1]
    asked = [properties[n] for n in last.inputs]
    name, _, attribute = last.function.partition("_")
    if last.function == "count":
        return Quantified(Quantifier("exactly", int(answer)), asked[0])
    if last.function == "exist":
        return Quantified(SOME if answer == "yes" else NO, asked[0])
    if name == "query":
        return Quantified(THE, asked[0], Has(attribute, answer))
    claim: Sentence
    if last.function in _COMPARISONS:
        claim = Compare(asked[0], _COMPARISONS[last.function], asked[1])
    elif last.function == "equal_object":
        claim = Quantified(THE, asked[0], asked[1])
    else:  # the same object, or another with the same value
        claim = Quantified(THE, asked[0], disjoin(asked[1], Alike(attribute, THE, asked[1])))
    return claim if answer == "yes" else Not(claim)
