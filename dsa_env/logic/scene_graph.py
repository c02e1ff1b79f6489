"""A scene graph to reason about: each object's attributes, and who stands where."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Self

from dsa_env.datasets.scenes import COLORS, MATERIALS, SHAPES, SIZES
from dsa_env.errors import DSAError, unknown

Objects = frozenset[int]
"""A set of objects, each the number it has in its scene."""

VOCABULARY: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"size": tuple(SIZES), "color": COLORS, "material": MATERIALS, "shape": SHAPES}
)
"""Attribute -> CLEVR's values of it."""
ATTRIBUTES = tuple(VOCABULARY)
RELATIONS = ("left", "right", "behind", "front")


class SceneError(DSAError):
    """A scene is not what CLEVR v1.0 calls one."""


@dataclass(frozen=True)
class SceneGraph:
    """What programs and formulas read of one scene.

    Attributes:
        name: the picture's file name, for errors.
        attributes: attribute -> the value of every object, [n].
        relations: relation -> for every object i, the objects that are left of (right of, behind,
            in front of) object i, [n].
        properties: whole-scene properties such as the floor; empty for the original CLEVR.
    """

    name: str
    attributes: Mapping[str, tuple[str, ...]]
    relations: Mapping[str, tuple[Objects, ...]]
    properties: Mapping[str, str | None]

    @classmethod
    def of(cls, scene: Mapping[str, Any]) -> Self:
        """Take a CLEVR v1.0 scene (`dsa_env.datasets.clevr.read_scenes`).

        Raises:
            SceneError: naming the scene and the field that is missing or wrong.
        """
        name = str(scene.get("image_filename", "a scene"))
        things = scene.get("objects")
        if not isinstance(things, list) or not all(isinstance(o, dict) for o in things):
            raise SceneError(f"{name} has no list of 'objects'; it is not a CLEVR v1.0 scene.")
        attributes = {
            attribute: tuple(
                _word(thing, attribute, name, place) for place, thing in enumerate(things)
            )
            for attribute in ATTRIBUTES
        }
        return cls(name, attributes, _relations(scene, len(things), name), _properties(scene))

    def __len__(self) -> int:
        return len(self.attributes[ATTRIBUTES[0]])

    def value(self, attribute: str, index: int) -> str:
        """The value of one object's attribute.

        Raises:
            DSAError: for an unknown attribute (naming the nearest) or an object that is not there.
        """
        column = self.column(attribute)
        if not 0 <= index < len(column):
            raise DSAError(
                f"{self.name} has {len(column)} objects and no number {index}; count from 0."
            )
        return column[index]

    def column(self, attribute: str) -> tuple[str, ...]:
        """The values of an attribute, one for every object.

        Raises:
            DSAError: for an unknown attribute, naming the nearest.
        """
        if attribute not in self.attributes:
            raise unknown("attribute", attribute, self.attributes)
        return self.attributes[attribute]

    def related(self, relation: str, index: int) -> Objects:
        """The objects that stand in a relation to object `index`: those left of it, and so on.

        Raises:
            DSAError: for an unknown relation (naming the nearest) or an object that is not there.
        """
        if relation not in self.relations:
            raise unknown("relation", relation, self.relations)
        rows = self.relations[relation]
        if not 0 <= index < len(rows):
            raise DSAError(
                f"{self.name} has {len(rows)} objects and no number {index}; count from 0."
            )
        return rows[index]


def _word(thing: Mapping[str, Any], attribute: str, name: str, place: int) -> str:
    value = thing.get(attribute)
    if not isinstance(value, str):
        raise SceneError(
            f"{name}: object {place} has no {attribute!r} in words; it is not CLEVR v1.0."
        )
    return value


def _relations(
    scene: Mapping[str, Any], count: int, name: str
) -> Mapping[str, tuple[Objects, ...]]:
    given = scene.get("relationships")
    if not isinstance(given, dict):
        raise SceneError(f"{name} has no 'relationships'; it is not a CLEVR v1.0 scene.")
    relations = {}
    for relation, rows in given.items():
        fits = (
            isinstance(rows, list)
            and len(rows) == count
            and all(isinstance(row, list) for row in rows)
            and all(type(i) is int and 0 <= i < count for row in rows for i in row)
        )
        if not fits:
            raise SceneError(
                f"{name}: 'relationships' {relation!r} must list, for each of {count} objects, "
                "numbers of other objects; it is not CLEVR v1.0."
            )
        relations[relation] = tuple(map(frozenset, rows))
    return MappingProxyType(relations)


def _properties(scene: Mapping[str, Any]) -> Mapping[str, str | None]:
    found = scene.get("properties")
    return MappingProxyType(dict(found)) if isinstance(found, dict) else MappingProxyType({})
