"""What is asked about a scene: templates that write a question and the program that answers it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from dsa_env.datasets.clevr_questions import Step
from dsa_env.logic.operations import everything, filter_by
from dsa_env.logic.scene_graph import ATTRIBUTES, RELATIONS, VOCABULARY, Objects, SceneGraph

FAMILIES = ("exist", "count", "query", "compare", "relate")
Description = Mapping[str, str]
"""Attribute -> word; {} describes anything."""

PLACES = {"left": "left of", "right": "right of", "behind": "behind", "front": "in front of"}
_PRESENT = 0.62  # share of descriptions that are taken from an object of the scene


@dataclass(frozen=True)
class Draft:
    """A question before it is answered.

    Attributes:
        text: the question.
        program: the steps that answer it.
    """

    text: str
    program: tuple[Step, ...]


Writer = Callable[[SceneGraph, np.random.Generator], Draft | None]


@dataclass(frozen=True)
class Template:
    """One way of asking; its number in `TEMPLATES` is CLEVR's `question_family_index`."""

    family: str
    write: Writer


class _Program:
    """Steps that are added one after the other; each call gives the step's number."""

    def __init__(self) -> None:
        self.steps: list[Step] = []

    def add(self, function: str, *inputs: int, word: str | None = None) -> int:
        self.steps.append(Step(function, inputs, () if word is None else (word,)))
        return len(self.steps) - 1

    def narrow(self, at: int, description: Description) -> int:
        """Filters, in CLEVR's order of attributes."""
        for attribute in ATTRIBUTES:
            if attribute in description:
                at = self.add(f"filter_{attribute}", at, word=description[attribute])
        return at

    def some(self, description: Description) -> int:
        return self.narrow(self.add("scene"), description)

    def one(self, description: Description) -> int:
        return self.add("unique", self.some(description))

    def draft(self, text: str) -> Draft:
        return Draft(text, tuple(self.steps))


def noun(description: Description, *, plural: bool = False) -> str:
    """A description in words: "small red cube", "metal things"."""
    words = [description[name] for name in ATTRIBUTES if name in description and name != "shape"]
    return " ".join([*words, description.get("shape", "thing") + ("s" if plural else "")])


def extent(graph: SceneGraph, description: Description) -> Objects:
    """The objects of a scene that a description fits."""
    found = everything(graph)
    for attribute, word in description.items():
        found = filter_by(graph, found, attribute, word)
    return found


def implies(first: Description, second: Description) -> bool:
    """Whether whatever fits the first description fits the second."""
    return second.items() <= first.items()


def describe_one(
    graph: SceneGraph,
    index: int,
    rng: np.random.Generator,
    *,
    without: Sequence[str] = (),
    among: Objects | None = None,
) -> Description | None:
    """A shortest-in-its-way description that fits object `index` alone, or None.

    Args:
        graph: the scene.
        index: the object.
        rng: chooses which attributes are named.
        without: attributes that are not named.
        among: the objects to tell it from; all by default.
    """
    others = (everything(graph) if among is None else among) - {index}
    chosen: dict[str, str] = {}
    for attribute in rng.permutation([name for name in ATTRIBUTES if name not in without]):
        if not others:
            break
        word = graph.value(attribute, index)
        left = filter_by(graph, others, attribute, word)
        if len(left) < len(others):  # a word that tells it from nothing is left out
            chosen[str(attribute)] = word
            others = left
    return chosen if not others and chosen else None


def describe_some(graph: SceneGraph, rng: np.random.Generator, most: int) -> Description:
    """A description of up to `most` attributes, often of something that is there."""
    size = int(rng.integers(1, most + 1))
    names = [str(name) for name in rng.permutation(ATTRIBUTES)[:size]]
    if rng.random() < _PRESENT:
        index = int(rng.integers(len(graph)))
        return {name: graph.value(name, index) for name in names}
    return {name: str(rng.choice(VOCABULARY[name])) for name in names}


def _pick(options: Sequence[str], rng: np.random.Generator) -> str:
    return options[int(rng.integers(len(options)))]


def _exist(graph: SceneGraph, rng: np.random.Generator) -> Draft | None:
    what = describe_some(graph, rng, 3)
    program = _Program()
    program.add("exist", program.some(what))
    if rng.random() < 0.5:
        return program.draft(f"Is there a {noun(what)}?")
    return program.draft(f"Are there any {noun(what, plural=True)}?")


def _exist_same(graph: SceneGraph, rng: np.random.Generator) -> Draft | None:
    return _same(graph, rng, "exist", "Is there anything else of the same {a} as the {x}?")


def _count(graph: SceneGraph, rng: np.random.Generator) -> Draft | None:
    what = describe_some(graph, rng, 2) if rng.random() < 0.9 else {}
    program = _Program()
    program.add("count", program.some(what))
    things = noun(what, plural=True)
    ask = _pick(("How many {} are there?", "What number of {} are there?"), rng)
    return program.draft(ask.format(things))


def _count_either(graph: SceneGraph, rng: np.random.Generator) -> Draft | None:
    first, second = (describe_some(graph, rng, 2) for _ in range(2))
    if implies(first, second) or implies(second, first):
        return None
    program = _Program()
    both = program.add("union", program.some(first), program.some(second))
    program.add("count", both)
    one, other = noun(first, plural=True), noun(second, plural=True)
    return program.draft(f"How many things are either {one} or {other}?")


def _count_same(graph: SceneGraph, rng: np.random.Generator) -> Draft | None:
    return _same(graph, rng, "count", "How many other things have the same {a} as the {x}?")


def _same(graph: SceneGraph, rng: np.random.Generator, last: str, ask: str) -> Draft | None:
    attribute = _pick(ATTRIBUTES, rng)
    what = describe_one(graph, int(rng.integers(len(graph))), rng, without=(attribute,))
    if what is None:
        return None
    program = _Program()
    program.add(last, program.add(f"same_{attribute}", program.one(what)))
    return program.draft(ask.format(a=attribute, x=noun(what)))


def _query(attribute: str, graph: SceneGraph, rng: np.random.Generator) -> Draft | None:
    what = describe_one(graph, int(rng.integers(len(graph))), rng, without=(attribute,))
    if what is None:
        return None
    program = _Program()
    program.add(f"query_{attribute}", program.one(what))
    ask = _pick(("What {} is the {}?", "What is the {} of the {}?"), rng)
    return program.draft(ask.format(attribute, noun(what)))


def _compare_counts(
    function: str, ask: str, graph: SceneGraph, rng: np.random.Generator
) -> Draft | None:
    first, second = (describe_some(graph, rng, 2) for _ in range(2))
    if implies(first, second) or implies(second, first):
        return None
    if not extent(graph, first) and not extent(graph, second):
        return None
    program = _Program()
    counts = [program.add("count", program.some(what)) for what in (first, second)]
    program.add(function, *counts)
    return program.draft(ask.format(noun(first, plural=True), noun(second, plural=True)))


def _compare_values(attribute: str, graph: SceneGraph, rng: np.random.Generator) -> Draft | None:
    if len(graph) < 2:
        return None
    pair = rng.permutation(len(graph))[:2].tolist()
    first, second = (describe_one(graph, i, rng, without=(attribute,)) for i in pair)
    if first is None or second is None:
        return None
    program = _Program()
    values = [program.add(f"query_{attribute}", program.one(what)) for what in (first, second)]
    program.add(f"equal_{attribute}", *values)
    asked = (attribute, noun(first), noun(second))
    ask = _pick(
        ("Do the {1} and the {2} have the same {0}?", "Is the {1} the same {0} as the {2}?"), rng
    )
    return program.draft(ask.format(*asked))


def _related(
    graph: SceneGraph, rng: np.random.Generator, program: _Program
) -> tuple[Objects, int, int, str] | None:
    """Objects beside a reference, the reference, the step that finds them, and where in words."""
    index, relation = int(rng.integers(len(graph))), _pick(RELATIONS, rng)
    found, what = graph.related(relation, index), describe_one(graph, index, rng)
    if what is None or not found or len(found) == len(graph) - 1:
        return None  # a place that all others or none are at says nothing
    at = program.add("relate", program.one(what), word=relation)
    return found, index, at, f"{PLACES[relation]} the {noun(what)}"


def _relate_some(last: str, graph: SceneGraph, rng: np.random.Generator) -> Draft | None:
    program = _Program()
    if (related := _related(graph, rng, program)) is None:
        return None
    found, index, at, where = related
    what = describe_some(graph, rng, 2)
    fitting = extent(graph, what) - {index}
    if not fitting or fitting <= found:
        return None  # without the place the answer would be the same
    program.add(last, program.narrow(at, what))
    if last == "exist":
        return program.draft(f"Is there a {noun(what)} {where}?")
    return program.draft(f"How many {noun(what, plural=True)} are {where}?")


def _relate_query(attribute: str, graph: SceneGraph, rng: np.random.Generator) -> Draft | None:
    program = _Program()
    if (related := _related(graph, rng, program)) is None:
        return None
    found, _, at, where = related
    target = sorted(found)[int(rng.integers(len(found)))]
    what = describe_one(graph, target, rng, without=(attribute,), among=found)
    if what is None or len(extent(graph, what)) < 2:
        return None  # the place must be needed to know which one is meant
    program.add(f"query_{attribute}", program.add("unique", program.narrow(at, what)))
    return program.draft(f"What {attribute} is the {noun(what)} {where}?")


def _relate_both(graph: SceneGraph, rng: np.random.Generator) -> Draft | None:
    program = _Program()
    first, second = _related(graph, rng, program), _related(graph, rng, program)
    if first is None or second is None or first[1] == second[1]:
        return None
    if first[0] <= second[0] or second[0] <= first[0]:
        return None
    program.add("count", program.add("intersect", first[2], second[2]))
    return program.draft(f"How many things are both {first[3]} and {second[3]}?")


TEMPLATES: tuple[Template, ...] = (
    Template("exist", _exist),
    Template("exist", _exist_same),
    Template("count", _count),
    Template("count", _count_either),
    Template("count", _count_same),
    *(Template("query", partial(_query, attribute)) for attribute in ATTRIBUTES),
    Template("compare", partial(_compare_counts, "greater_than", "Are there more {} than {}?")),
    Template("compare", partial(_compare_counts, "less_than", "Are there fewer {} than {}?")),
    Template("compare", partial(_compare_counts, "equal_integer", "Are there as many {} as {}?")),
    *(Template("compare", partial(_compare_values, attribute)) for attribute in ATTRIBUTES),
    Template("relate", partial(_relate_some, "exist")),
    Template("relate", partial(_relate_some, "count")),
    *(Template("relate", partial(_relate_query, attribute)) for attribute in ATTRIBUTES),
    Template("relate", _relate_both),
)
"""All templates; a question's `question_family_index` is its template's place here."""


def family_of(program: Sequence[Step]) -> str | None:
    """The family of a program: "relate" where it looks beside an object, else by its last step.

    Holds for the questions written here and for those of CLEVR v1.0.

    Returns:
        One of `FAMILIES`; None for a program without steps.
    """
    if not program:
        return None
    if any(step.function == "relate" for step in program):
        return "relate"
    first = program[-1].function.split("_")[0]
    return first if first in FAMILIES else "compare"
