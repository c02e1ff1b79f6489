"""Set operations on a scene's objects, the words that programs and formulas are made of."""

from __future__ import annotations

from collections.abc import Set as AbstractSet

from dsa_env.errors import DSAError, unknown
from dsa_env.logic.scene_graph import VOCABULARY, Objects, SceneGraph


class NotUniqueError(DSAError):
    """Exactly one object was asked for, and there are none or several."""


def everything(graph: SceneGraph) -> Objects:
    """All objects of a scene; the neutral element of `intersect`."""
    return frozenset(range(len(graph)))


def filter_by(graph: SceneGraph, objects: AbstractSet[int], attribute: str, value: str) -> Objects:
    """The objects among `objects` that have a value.

    Args:
        graph: the scene.
        objects: numbers of some of its objects.
        attribute: "size", "color", "material" or "shape".
        value: one of CLEVR's words for it, or one that an object of the scene has.

    Raises:
        DSAError: for an unknown attribute or value, naming the nearest.
    """
    column = graph.column(attribute)
    known = VOCABULARY.get(attribute, ())
    if value not in known and value not in column:
        raise unknown(attribute, value, sorted({*known, *column}))
    return frozenset(index for index in objects if column[index] == value)


def relate(graph: SceneGraph, index: int, relation: str) -> Objects:
    """The objects left of, right of, behind or in front of an object.

    left and right are converses, and so are behind and front: j is in relate(i, "left") exactly
    when i is in relate(j, "right").
    """
    return graph.related(relation, index)


def same(graph: SceneGraph, index: int, attribute: str) -> Objects:
    """The *other* objects that share an object's value of an attribute."""
    value = graph.value(attribute, index)
    alike = filter_by(graph, everything(graph), attribute, value)
    return alike - {index}


def union(first: AbstractSet[int], second: AbstractSet[int]) -> Objects:
    """Objects that are in either set."""
    return frozenset(first | second)


def intersect(first: AbstractSet[int], second: AbstractSet[int]) -> Objects:
    """Objects that are in both sets."""
    return frozenset(first & second)


def complement(graph: SceneGraph, objects: AbstractSet[int]) -> Objects:
    """The scene's other objects."""
    return everything(graph) - objects


def unique(objects: AbstractSet[int]) -> int:
    """The one object of a set.

    Raises:
        NotUniqueError: when there is none, or more than one.
    """
    if len(objects) != 1:
        raise NotUniqueError(
            f"Exactly one object is asked for, and there are {len(objects)}; describe one object."
        )
    return next(iter(objects))


def count(objects: AbstractSet[int]) -> int:
    """How many objects a set has."""
    return len(objects)


def exist(objects: AbstractSet[int]) -> bool:
    """Whether a set has objects: count > 0."""
    return count(objects) > 0


def query(graph: SceneGraph, index: int, attribute: str) -> str:
    """An object's value of an attribute."""
    return graph.value(attribute, index)
