"""Formulas about a scene graph: properties of objects, and sentences that are true or false.

A property denotes a set of objects, a sentence a truth value; neither has variables. What relates
or counts objects is a generalised quantifier Q(P, B) over two sets (Barwise and Cooper 1981,
"Generalized Quantifiers and Natural Language"):

    some: |P ∩ B| >= 1        every: P ⊆ B              no: |P ∩ B| = 0
    the: |P| = 1 and P ⊆ B    (Russell's definite description: false where P is not one object)
    exactly, at least, at most n: |P ∩ B| = n, >= n, <= n
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any, Generic, TypeAlias, TypeVar

from dsa_env.datasets.scenes import CROWDEDNESS
from dsa_env.errors import DSAError, unknown

T = TypeVar("T")
QUANTIFIERS = ("some", "every", "no", "the", "exactly", "at least", "at most")
COUNTED = ("exactly", "at least", "at most")
COMPARISONS = ("=", "<", ">")


@dataclass(frozen=True)
class Quantifier:
    """A quantifier; `number` counts for "exactly", "at least" and "at most" alone."""

    kind: str
    number: int = 0

    def __post_init__(self) -> None:
        if self.kind not in QUANTIFIERS:
            raise unknown("quantifier", self.kind, QUANTIFIERS)
        if self.number < 0 or (self.number and self.kind not in COUNTED):
            raise DSAError(f"{self.kind!r} takes no number {self.number}; count from 0.")


SOME, EVERY, NO, THE = (Quantifier(kind) for kind in ("some", "every", "no", "the"))


@dataclass(frozen=True)
class And(Generic[T]):
    """All of the parts; with no parts, true of everything."""

    parts: tuple[T, ...] = ()


@dataclass(frozen=True)
class Or(Generic[T]):
    """At least one of the parts; with no parts, true of nothing."""

    parts: tuple[T, ...] = ()


@dataclass(frozen=True)
class Not(Generic[T]):
    """Not the part."""

    part: T


@dataclass(frozen=True)
class Has:
    """The objects with a value of an attribute, such as ``Has("color", "red")``."""

    attribute: str
    value: str


@dataclass(frozen=True)
class Related:
    """The objects x for which quantifier(property, the objects y such that x is `relation` of y).

    With `inverse`, y is `relation` of x instead. ``Related("left", THE, ball)``: left of the ball.
    """

    relation: str
    quantifier: Quantifier
    property: Property
    inverse: bool = False


@dataclass(frozen=True)
class Alike:
    """The objects x with quantifier(property, the other objects with x's value of `attribute`)."""

    attribute: str
    quantifier: Quantifier
    property: Property


@dataclass(frozen=True)
class Quantified:
    """The sentence quantifier(property, body)."""

    quantifier: Quantifier
    property: Property
    body: Property = And()


@dataclass(frozen=True)
class SceneIs:
    """The whole scene has a value of a property that its file states: floor, light or layout."""

    name: str
    value: str


@dataclass(frozen=True)
class Crowded:
    """How full the scene is: as many objects as `dsa_env.datasets.scenes.CROWDEDNESS` says."""

    name: str

    @property
    def bounds(self) -> tuple[int, int]:
        """The least and the most objects."""
        most = CROWDEDNESS[self.name]
        return 1 + max((n for n in CROWDEDNESS.values() if n < most), default=-1), most


@dataclass(frozen=True)
class Mostly:
    """Three or more objects, of which at least half have a colour.

    Where two colours have exactly half each, it is the first object's: `dominant_color` in
    `dsa_env.datasets.scenes`.
    """

    color: str


@dataclass(frozen=True)
class Compare:
    """How many objects two properties denote: |first| =, < or > |second|."""

    first: Property
    comparison: str
    second: Property

    def __post_init__(self) -> None:
        if self.comparison not in COMPARISONS:
            raise unknown("comparison", self.comparison, COMPARISONS)


Property: TypeAlias = "Has | Related | Alike | And[Property] | Or[Property] | Not[Property]"
"""Denotes a set of objects."""
Sentence: TypeAlias = (
    "Quantified | SceneIs | Crowded | Mostly | Compare | "
    "And[Sentence] | Or[Sentence] | Not[Sentence]"
)
"""True or false of a scene."""
Formula: TypeAlias = "Property | Sentence"

THING: Property = And()
"""Denotes every object."""


def conjoin(*parts: Any) -> Any:
    """The conjunction without nesting, repetition or a single part's brackets."""
    return _joined(And, parts)


def disjoin(*parts: Any) -> Any:
    """The disjunction without nesting, repetition or a single part's brackets."""
    return _joined(Or, parts)


def _joined(kind: Any, parts: tuple[Any, ...]) -> Any:
    flat: list[Any] = []
    for part in parts:
        flat.extend(part.parts if isinstance(part, kind) else [part])
    distinct = tuple(dict.fromkeys(flat))
    return distinct[0] if len(distinct) == 1 else kind(distinct)


def walk(formula: Any) -> Iterator[Any]:
    """A formula and everything inside it, outermost first."""
    yield formula
    for field in fields(formula):
        value = getattr(formula, field.name)
        for part in value if isinstance(value, tuple) else (value,):
            if isinstance(part, _FORMULAS):
                yield from walk(part)


def descriptions(sentence: Formula) -> tuple[Property, ...]:
    """The properties of the definite descriptions ("the ...") in a formula, outermost first."""
    found = (
        node.property
        for node in walk(sentence)
        if isinstance(node, Quantified | Related | Alike) and node.quantifier.kind == "the"
    )
    return tuple(dict.fromkeys(found))


def is_property(formula: Formula) -> bool:
    """Whether a formula is of the type of properties; ``And()`` is of both types.

    Raises:
        DSAError: for a mixture of the two types.
    """
    if isinstance(formula, And | Or | Not):
        parts = (formula.part,) if isinstance(formula, Not) else formula.parts
        kinds = {is_property(part) for part in parts}
        if len(kinds) > 1:
            raise DSAError("A formula joins a property and a sentence; quantify the property.")
        return kinds != {False}
    return isinstance(formula, Has | Related | Alike)


_FORMULAS = (And, Or, Not, Has, Related, Alike, Quantified, SceneIs, Crowded, Mostly, Compare)
