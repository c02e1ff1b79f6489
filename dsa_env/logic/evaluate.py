"""Formulas on a scene graph, through the set operations that programs use too."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from functools import reduce

from dsa_env.errors import DSAError
from dsa_env.logic import operations
from dsa_env.logic.formulas import (
    Alike,
    And,
    Compare,
    Crowded,
    Formula,
    Has,
    Mostly,
    Not,
    Or,
    Property,
    Quantified,
    Quantifier,
    Related,
    SceneIs,
    Sentence,
    walk,
)
from dsa_env.logic.scene_graph import Objects, SceneGraph


def check_scene(formula: Formula, graph: SceneGraph) -> None:
    """Hold what a formula asks about against what a scene tells.

    Raises:
        DSAError: naming the first relation, attribute or property of the scene that is missing.
    """
    for node in walk(formula):
        if isinstance(node, Related) and node.relation not in graph.relations:
            raise _missing(graph, "relation", node.relation, graph.relations)
        if isinstance(node, Has | Alike) and node.attribute not in graph.attributes:
            raise _missing(graph, "attribute", node.attribute, graph.attributes)
        if isinstance(node, SceneIs) and graph.properties.get(node.name) is None:
            raise _missing(graph, "property", node.name, graph.properties)


def denotation(formula: Property, graph: SceneGraph) -> Objects:
    """The objects that a property denotes.

    Raises:
        DSAError: as `check_scene` says.
    """
    check_scene(formula, graph)
    return _denotes(formula, graph)


def holds(sentence: Sentence, graph: SceneGraph) -> bool:
    """Whether a sentence is true of a scene.

    Raises:
        DSAError: as `check_scene` says.
    """
    check_scene(sentence, graph)
    return _holds(sentence, graph)


def _denotes(formula: Property, graph: SceneGraph) -> Objects:
    everything = operations.everything(graph)
    if isinstance(formula, And):
        return reduce(operations.intersect, (_denotes(p, graph) for p in formula.parts), everything)
    if isinstance(formula, Or):
        empty: Objects = frozenset()
        return reduce(operations.union, (_denotes(p, graph) for p in formula.parts), empty)
    if isinstance(formula, Not):
        return operations.complement(graph, _denotes(formula.part, graph))
    if isinstance(formula, Has):
        if formula.value not in graph.column(formula.attribute):
            return frozenset()  # a word that the language has and this scene has not
        return operations.filter_by(graph, everything, formula.attribute, formula.value)
    restriction = _denotes(formula.property, graph)
    if isinstance(formula, Alike):
        return frozenset(
            x
            for x in everything
            if quantify(
                formula.quantifier, restriction, operations.same(graph, x, formula.attribute)
            )
        )
    after = {y: operations.relate(graph, y, formula.relation) for y in everything}
    if formula.inverse:
        return frozenset(
            x for x in everything if quantify(formula.quantifier, restriction, after[x])
        )
    return frozenset(
        x
        for x in everything
        if quantify(formula.quantifier, restriction, {y for y in everything if x in after[y]})
    )


def _holds(sentence: Sentence, graph: SceneGraph) -> bool:
    if isinstance(sentence, And):
        return all(_holds(part, graph) for part in sentence.parts)
    if isinstance(sentence, Or):
        return any(_holds(part, graph) for part in sentence.parts)
    if isinstance(sentence, Not):
        return not _holds(sentence.part, graph)
    if isinstance(sentence, SceneIs):
        return graph.properties[sentence.name] == sentence.value
    if isinstance(sentence, Crowded):
        least, most = sentence.bounds
        return least <= operations.count(operations.everything(graph)) <= most
    if isinstance(sentence, Mostly):
        return _mostly(sentence.color, graph)
    if isinstance(sentence, Compare):
        first = operations.count(_denotes(sentence.first, graph))
        second = operations.count(_denotes(sentence.second, graph))
        return {"=": first == second, "<": first < second, ">": first > second}[sentence.comparison]
    assert isinstance(sentence, Quantified)
    return quantify(
        sentence.quantifier, _denotes(sentence.property, graph), _denotes(sentence.body, graph)
    )


def quantify(quantifier: Quantifier, first: AbstractSet[int], second: AbstractSet[int]) -> bool:
    """Q(first, second) as `dsa_env.logic.formulas` defines it."""
    both = operations.count(operations.intersect(first, second))
    return {
        "some": both >= 1,
        "no": both == 0,
        "every": both == len(first),
        "the": len(first) == 1 and both == 1,
        "exactly": both == quantifier.number,
        "at least": both >= quantifier.number,
        "at most": both <= quantifier.number,
    }[quantifier.kind]


def _mostly(color: str, graph: SceneGraph) -> bool:
    colors = graph.column("color")
    count, n = colors.count(color), len(colors)
    tied = n > 0 and 2 * colors.count(colors[0]) == n and colors[0] != color
    return n >= 3 and (2 * count > n or (2 * count == n and not tied))


def _missing(graph: SceneGraph, kind: str, name: str, there: Iterable[str]) -> DSAError:
    listed = ", ".join(there)
    return DSAError(
        f"{graph.name} states no {kind} {name!r}, which the formula needs; it states "
        f"{listed or 'none'}."
    )
