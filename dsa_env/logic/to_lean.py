"""Formulas and scene graphs as a Lean 4 file in which every claim is one theorem.

A scene is an inductive list of things, a property a function from things to Bool, and a claim is
proved by `rfl` alone: Lean's kernel computes both sides and compares. The file imports nothing but
Init.Prelude, so that checking starts fast, and holds no axiom, no `sorry` and no `native_decide`.
(`a = b` is notation for `Eq a b` that only a larger import would bring.)

Every file ends with a control, a theorem that is false: an output in which it was not rejected
comes from something that did not check the file to its end.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from dsa_env.datasets.scenes import FLOORS, LIGHTS
from dsa_env.errors import DSAError
from dsa_env.logic.evaluate import check_scene
from dsa_env.logic.formulas import (
    COUNTED,
    Alike,
    And,
    Compare,
    Crowded,
    Has,
    Mostly,
    Not,
    Or,
    Property,
    Quantifier,
    SceneIs,
    Sentence,
    is_property,
    walk,
)
from dsa_env.logic.scene_graph import ATTRIBUTES, RELATIONS, VOCABULARY, SceneGraph

_PLAIN = {
    *ATTRIBUTES,
    *RELATIONS,
    *(word for words in VOCABULARY.values() for word in words),
    *FLOORS,
    *LIGHTS,
    *("floor", "light", "layout", "crowdedness", "dominant_color"),
}
"""Names that Lean reads as they are."""
CONTROL = "control_that_must_be_rejected"

_HEADER = """\
-- Certificates about scene graphs. Each theorem claims one thing of one scene; its proof is `rfl`:
-- the kernel computes both sides. No axiom, no `sorry`, no `native_decide`; only Init.Prelude.
-- Outside the proof: from the words of a text to its formula, and from a picture to its scene.
prelude
import Init.Prelude
set_option maxRecDepth 100000
set_option maxHeartbeats 0
set_option linter.all false
"""

_LOGIC = """\
inductive Scene where
  | empty : Scene
  | add (first : Thing) (rest : Scene) : Scene

def Scene.filter (p : Thing → Bool) : Scene → Scene
  | .empty => .empty
  | .add x rest => match p x with
    | true => .add x (rest.filter p)
    | false => rest.filter p

def Scene.length : Scene → Nat
  | .empty => 0
  | .add _ rest => Nat.succ rest.length

def among (n : Nat) : List Nat → Bool
  | .nil => false
  | .cons m rest => or (Nat.beq n m) (among n rest)

def Scene.both (s : Scene) (p q : Thing → Bool) : Nat := ((s.filter p).filter q).length
def Scene.some (s : Scene) (p q : Thing → Bool) : Bool := Nat.ble 1 (s.both p q)
def Scene.no (s : Scene) (p q : Thing → Bool) : Bool := Nat.beq (s.both p q) 0
def Scene.every (s : Scene) (p q : Thing → Bool) : Bool :=
  Nat.beq (s.both p q) (s.filter p).length
def Scene.the (s : Scene) (p q : Thing → Bool) : Bool :=
  and (Nat.beq (s.filter p).length 1) (Nat.beq (s.both p q) 1)
def Scene.exactly (s : Scene) (n : Nat) (p q : Thing → Bool) : Bool := Nat.beq (s.both p q) n
def Scene.atLeast (s : Scene) (n : Nat) (p q : Thing → Bool) : Bool := Nat.ble n (s.both p q)
def Scene.atMost (s : Scene) (n : Nat) (p q : Thing → Bool) : Bool := Nat.ble (s.both p q) n

def Scene.firstIs (s : Scene) (p : Thing → Bool) : Bool :=
  match s with
  | .empty => false
  | .add x _ => p x
def Scene.firstColor (s : Scene) (y : Thing) : Bool :=
  s.firstIs (fun x => x.color.is y.color)
def Scene.mostly (s : Scene) (p : Thing → Bool) : Bool :=
  and (Nat.ble 3 s.length) (or
    (Nat.ble (Nat.succ s.length) (Nat.mul 2 (s.filter p).length))
    (and (Nat.beq (Nat.mul 2 (s.filter p).length) s.length)
      (or (s.firstIs p) (not (Nat.beq (Nat.mul 2 (s.filter s.firstColor).length) s.length)))))
"""


@dataclass(frozen=True)
class Claim:
    """One claim about one scene.

    Attributes:
        name: of its theorem; letters, digits and "_", not twice in a file.
        graph: the scene.
        formula: a sentence, or a property.
        value: whether the sentence is true, or how many objects the property denotes.
    """

    name: str
    graph: SceneGraph
    formula: Any
    value: bool | int


@dataclass(frozen=True)
class LeanFile:
    """A file of certificates.

    Attributes:
        text: the file.
        lines: number of the line (from 1) of every theorem, by its name; the control included.
    """

    text: str
    lines: dict[str, int]


def certificates(claims: Sequence[Claim]) -> LeanFile:
    """One Lean file for many claims about any number of scenes.

    Raises:
        DSAError: a claim's name is no Lean name or is used twice, its value does not fit its
            formula, or its scene lacks what the formula needs.
    """
    for claim in claims:
        check_scene(claim.formula, claim.graph)
        if not re.fullmatch(r"[A-Za-z]\w*", claim.name, re.ASCII) or claim.name == CONTROL:
            raise DSAError(f"{claim.name!r} cannot name a theorem; use letters, digits and '_'.")
        if isinstance(claim.value, bool) == _denotes(claim):
            raise DSAError(f"{claim.name} claims {claim.value!r}; a property denotes a number.")
    if len({claim.name for claim in claims}) < len(claims):
        raise DSAError("Two claims have the same name; number them.")
    graphs = list({id(claim.graph): claim.graph for claim in claims}.values())
    lines = [*_HEADER.splitlines(), *_vocabulary(graphs, claims), *_LOGIC.splitlines(), ""]
    scenes = {}
    for number, graph in enumerate(graphs, 1):
        scenes[id(graph)] = f"scene{number}"
        lines += [f"-- {_comment(graph.name)}", *_scene(f"scene{number}", graph)]
    places = {}
    for claim in claims:
        scene = scenes[id(claim.graph)]
        if _denotes(claim):
            lines.append(
                f"def {claim.name}_reading : Thing → Bool := {_lambda(claim.formula, scene)}"
            )
            told = f"({scene}.filter {claim.name}_reading).length {int(claim.value)}"
        else:
            told = f"{_sentence(claim.formula, claim.graph, scene)} {str(claim.value).lower()}"
        lines.append(f"theorem {claim.name} : Eq {told} := rfl")
        places[claim.name] = len(lines)
    lines.append(f"theorem {CONTROL} : Eq Scene.empty.length 1 := rfl")
    places[CONTROL] = len(lines)
    return LeanFile("\n".join(lines) + "\n", places)


def _denotes(claim: Claim) -> bool:
    """Whether a claim is about a property; the empty conjunction is what its value says."""
    if claim.formula == And():
        return not isinstance(claim.value, bool)
    return is_property(claim.formula)


def _vocabulary(graphs: Sequence[SceneGraph], claims: Sequence[Claim]) -> list[str]:
    words: dict[str, None] = {}
    relations: dict[str, None] = {}
    for graph in graphs:
        for values in graph.attributes.values():
            words.update(dict.fromkeys(values))
        words.update(dict.fromkeys(v for v in graph.properties.values() if isinstance(v, str)))
        relations.update(dict.fromkeys(graph.relations))
    for claim in claims:
        for node in walk(claim.formula):
            if isinstance(node, Has | SceneIs):
                words[node.value] = None
            elif isinstance(node, Mostly):
                words[node.color] = None
    return [
        "inductive Word where",
        *(f"  | {_name(word)}" for word in words),
        "",
        "def Word.code : Word → Nat",
        *(f"  | .{_name(word)} => {code}" for code, word in enumerate(words)),
        "",
        "def Word.is (a b : Word) : Bool := Nat.beq a.code b.code",
        "",
        "-- As in CLEVR's files, `left` lists the numbers of the things that are left of this one.",
        "structure Thing where",
        "  number : Nat",
        *(f"  {_name(attribute)} : Word" for attribute in ATTRIBUTES),
        *(f"  {_name(relation)} : List Nat" for relation in relations),
        "",
    ]


def _scene(scene: str, graph: SceneGraph) -> list[str]:
    term = "Scene.empty"
    for i in reversed(range(len(graph))):
        fields = [f"number := {i}"]
        fields += [
            f"{_name(name)} := .{_name(graph.attributes[name][i])}" for name in graph.attributes
        ]
        fields += [
            f"{_name(name)} := {_numbers(sorted(rows[i]))}"
            for name, rows in graph.relations.items()
        ]
        term = f"Scene.add {{ {', '.join(fields)} }} ({term})"
    lines = [f"def {scene} : Scene := {term}"]
    for name, value in graph.properties.items():
        if isinstance(value, str):
            lines.append(f"def {scene}.{_name(name)} : Word := .{_name(value)}")
    return lines


def _numbers(numbers: Sequence[int]) -> str:
    term = ".nil"
    for number in reversed(numbers):
        term = f".cons {number} {term if term == '.nil' else f'({term})'}"
    return term if term == ".nil" else f"({term})"


def _lambda(formula: Property, scene: str, depth: int = 0) -> str:
    return f"(fun x{depth} => {_is(formula, scene, depth)})"


def _is(formula: Property, scene: str, depth: int) -> str:
    """The Bool that says whether a property is true of the variable x{depth}."""
    x, y = f"x{depth}", f"x{depth + 1}"
    if isinstance(formula, And | Or):
        parts = [_is(part, scene, depth) for part in formula.parts]
        return _join(isinstance(formula, And), parts)
    if isinstance(formula, Not):
        return f"(not {_is(formula.part, scene, depth)})"
    if isinstance(formula, Has):
        return f"({x}.{_name(formula.attribute)}.is .{_name(formula.value)})"
    restriction = _lambda(formula.property, scene, depth + 1)
    if isinstance(formula, Alike):
        attribute = _name(formula.attribute)
        other = f"(not (Nat.beq {x}.number {y}.number))"
        body = f"(and {other} ({x}.{attribute}.is {y}.{attribute}))"
    else:
        first, second = (y, x) if formula.inverse else (x, y)
        body = f"(among {first}.number {second}.{_name(formula.relation)})"
    return f"({scene}.{_quantifier(formula.quantifier)} {restriction} (fun {y} => {body}))"


def _sentence(sentence: Sentence, graph: SceneGraph, scene: str) -> str:
    if isinstance(sentence, And | Or):
        parts = [_sentence(part, graph, scene) for part in sentence.parts]
        return _join(isinstance(sentence, And), parts)
    if isinstance(sentence, Not):
        return f"(not {_sentence(sentence.part, graph, scene)})"
    if isinstance(sentence, SceneIs):
        return f"({scene}.{_name(sentence.name)}.is .{_name(sentence.value)})"
    if isinstance(sentence, Crowded):
        least, most = sentence.bounds
        return f"(and (Nat.ble {least} {scene}.length) (Nat.ble {scene}.length {most}))"
    if isinstance(sentence, Mostly):
        return f"({scene}.mostly {_lambda(Has('color', sentence.color), scene)})"
    if isinstance(sentence, Compare):
        first, second = (
            f"({scene}.filter {_lambda(formula, scene)}).length"
            for formula in (sentence.first, sentence.second)
        )
        if sentence.comparison == "=":
            return f"(Nat.beq {first} {second})"
        less, more = (first, second) if sentence.comparison == "<" else (second, first)
        return f"(Nat.ble (Nat.succ {less}) {more})"
    quantifier = _quantifier(sentence.quantifier)
    property_, body = _lambda(sentence.property, scene), _lambda(sentence.body, scene)
    return f"({scene}.{quantifier} {property_} {body})"


def _quantifier(quantifier: Quantifier) -> str:
    names = {"at least": "atLeast", "at most": "atMost"}
    name = names.get(quantifier.kind, quantifier.kind)
    return f"{name} {quantifier.number}" if quantifier.kind in COUNTED else name


def _join(conjunction: bool, parts: Sequence[str]) -> str:
    if not parts:
        return "true" if conjunction else "false"
    *before, term = parts
    for part in reversed(before):
        term = f"({'and' if conjunction else 'or'} {part} {term})"
    return term


def _name(word: str) -> str:
    """A word as a Lean identifier; one that this package does not know in guillemets.

    Raises:
        DSAError: for a word that cannot stand in guillemets.
    """
    if re.search(r"[«»\x00-\x1f]", word) or not word:
        raise DSAError(f"{word!r} cannot be written in Lean; name things with letters.")
    return word if word in _PLAIN else f"«{word}»"


def _comment(text: str) -> str:
    return re.sub(r"[\x00-\x1f]", " ", text)
