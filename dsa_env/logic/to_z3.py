"""Formulas and scene graphs as z3's terms, and what z3 decides about them.

The scene becomes axioms about uninterpreted functions: the objects are distinct constants, every
attribute is a function from objects to words (numbered), every relation a predicate of two
objects. Quantifiers are unrolled over the objects, and counted in integers. z3 proves a sentence by
refuting its negation from the axioms, and refutes it by refuting the sentence itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dsa_env.errors import DSAError
from dsa_env.logic.evaluate import check_scene
from dsa_env.logic.formulas import (
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
    Related,
    SceneIs,
    Sentence,
    walk,
)
from dsa_env.logic.scene_graph import SceneGraph

TIMEOUT_MS = 20_000
"""Of one query; a four-object scene takes some milliseconds."""
Term = Any
"""A z3 term; z3 has no types of its own to be checked."""


class Prover:
    """One scene's axioms in a solver that is asked about many sentences.

    Args:
        graph: the scene.

    Raises:
        ModuleNotFoundError: without the extra ``logic``.
    """

    def __init__(self, graph: SceneGraph) -> None:
        import z3

        self._z3 = z3
        self._graph = graph
        self._codes: dict[str, int] = {}
        self._built: dict[tuple[Property, int], Term] = {}
        thing, word = z3.DeclareSort("Thing"), z3.IntSort()
        self._things = [z3.Const(f"object{i}", thing) for i in range(len(graph))]
        self._attributes = {name: z3.Function(name, thing, word) for name in graph.attributes}
        self._relations = {
            name: z3.Function(f"{name}_of", thing, thing, z3.BoolSort()) for name in graph.relations
        }
        self._properties = {name: z3.Int(f"scene_{name}") for name in graph.properties}
        self._solver = z3.Solver()
        self._solver.set("timeout", TIMEOUT_MS)
        if len(self._things) > 1:
            self._solver.add(z3.Distinct(*self._things))
        self._told: set[tuple[str, str]] = set()

    def decide(self, sentence: Sentence) -> bool:
        """Whether the scene's axioms prove a sentence (True) or refute it (False).

        Raises:
            DSAError: the scene lacks what the sentence needs, or z3 gives up.
        """
        z3 = self._z3
        check_scene(sentence, self._graph)
        self._tell(sentence)
        claim = self._sentence(sentence)
        consistent = {
            answer: self._check(term) for answer, term in ((True, claim), (False, z3.Not(claim)))
        }
        if consistent[False] == z3.unsat and consistent[True] == z3.sat:
            return True
        if consistent[True] == z3.unsat and consistent[False] == z3.sat:
            return False
        raise DSAError(
            f"z3 did not decide a sentence on {self._graph.name} "
            f"({consistent[True]} with it, {consistent[False]} with its negation); shorten it."
        )

    def _check(self, term: Term) -> Any:
        self._solver.push()
        self._solver.add(term)
        result = self._solver.check()
        self._solver.pop()
        return result

    def _tell(self, sentence: Sentence) -> None:
        """Give the solver the axioms about all that a sentence mentions, each once."""
        for node in walk(sentence):
            about = ("", "")
            if isinstance(node, Related):
                about = ("relation", node.relation)
            elif isinstance(node, Has | Alike):
                about = ("attribute", node.attribute)
            elif isinstance(node, Mostly):
                about = ("attribute", "color")
            elif isinstance(node, SceneIs):
                about = ("property", node.name)
            if about not in self._told:
                self._told.add(about)
                self._solver.add(*self._axioms(*about))

    def _axioms(self, kind: str, name: str) -> list[Term]:
        graph, things = self._graph, self._things
        if kind == "relation":
            is_so, rows = self._relations[name], graph.relations[name]
            return [
                is_so(x, y) if i in row else self._z3.Not(is_so(x, y))
                for y, row in zip(things, rows, strict=True)
                for i, x in enumerate(things)
            ]
        if kind == "attribute":
            value = self._attributes[name]
            values = graph.attributes[name]
            return [value(x) == self._code(word) for x, word in zip(things, values, strict=True)]
        word = graph.properties.get(name) if kind == "property" else None
        return [] if word is None else [self._properties[name] == self._code(word)]

    def _code(self, word: str) -> int:
        return self._codes.setdefault(word, len(self._codes))

    def _is(self, formula: Property, x: Term) -> Term:
        """The term that says that a property is true of an object; each is built once."""
        key = (formula, x.get_id())
        if key not in self._built:
            self._built[key] = self._property(formula, x)
        return self._built[key]

    def _property(self, formula: Property, x: Term) -> Term:
        z3 = self._z3
        if isinstance(formula, And):
            return z3.And(*[self._is(part, x) for part in formula.parts])
        if isinstance(formula, Or):
            return z3.Or(*[self._is(part, x) for part in formula.parts])
        if isinstance(formula, Not):
            return z3.Not(self._is(formula.part, x))
        if isinstance(formula, Has):
            return self._attributes[formula.attribute](x) == self._code(formula.value)
        restriction = formula.property
        if isinstance(formula, Alike):
            value = self._attributes[formula.attribute]
            return self._quantify(
                formula.quantifier,
                lambda y: self._is(restriction, y),
                lambda y: z3.And(x != y, value(x) == value(y)),
            )
        relation, inverse = self._relations[formula.relation], formula.inverse
        return self._quantify(
            formula.quantifier,
            lambda y: self._is(restriction, y),
            lambda y: relation(y, x) if inverse else relation(x, y),
        )

    def _sentence(self, sentence: Sentence) -> Term:
        z3 = self._z3
        if isinstance(sentence, And):
            return z3.And(*[self._sentence(part) for part in sentence.parts])
        if isinstance(sentence, Or):
            return z3.Or(*[self._sentence(part) for part in sentence.parts])
        if isinstance(sentence, Not):
            return z3.Not(self._sentence(sentence.part))
        if isinstance(sentence, SceneIs):
            return self._properties[sentence.name] == self._code(sentence.value)
        if isinstance(sentence, Crowded):
            least, most = sentence.bounds
            return z3.BoolVal(least <= len(self._things) <= most)
        if isinstance(sentence, Mostly):
            return self._mostly(sentence.color)
        if isinstance(sentence, Compare):
            first = self._sum([self._is(sentence.first, x) for x in self._things])
            second = self._sum([self._is(sentence.second, x) for x in self._things])
            return {"=": first == second, "<": first < second, ">": first > second}[
                sentence.comparison
            ]
        restriction, body = sentence.property, sentence.body
        return self._quantify(
            sentence.quantifier, lambda x: self._is(restriction, x), lambda x: self._is(body, x)
        )

    def _quantify(
        self, quantifier: Quantifier, first: Callable[[Term], Term], second: Callable[[Term], Term]
    ) -> Term:
        z3, kind = self._z3, quantifier.kind
        firsts, seconds = ([part(x) for x in self._things] for part in (first, second))
        both = [z3.And(one, other) for one, other in zip(firsts, seconds, strict=True)]
        if kind == "some":
            return z3.Or(*both)
        if kind == "no":
            return z3.Not(z3.Or(*both))
        if kind == "every":
            pairs = zip(firsts, seconds, strict=True)
            return z3.And(*[z3.Implies(one, other) for one, other in pairs])
        if kind == "the":  # one of them is it, and nothing else is
            nothing_but = [
                [z3.Not(other) for j, other in enumerate(firsts) if j != i]
                for i in range(len(firsts))
            ]
            return z3.Or(*[z3.And(it, *rest) for it, rest in zip(both, nothing_but, strict=True)])
        number = self._sum(both)
        return {
            "exactly": number == quantifier.number,
            "at least": number >= quantifier.number,
            "at most": number <= quantifier.number,
        }[kind]

    def _count(self, predicate: Callable[[Term], Term]) -> Term:
        return self._sum([predicate(x) for x in self._things])

    def _sum(self, truths: list[Term]) -> Term:
        one, zero = self._z3.IntVal(1), self._z3.IntVal(0)
        return self._z3.Sum(zero, *[self._z3.If(truth, one, zero) for truth in truths])

    def _mostly(self, color: str) -> Term:
        z3, n = self._z3, len(self._things)
        if n < 3:
            return z3.BoolVal(False)
        value, code = self._attributes["color"], self._code(color)
        count = self._count(lambda x: value(x) == code)
        first = value(self._things[0])
        tied = z3.And(first != code, 2 * self._count(lambda x: value(x) == first) == n)
        return z3.Or(2 * count > n, z3.And(2 * count == n, z3.Not(tied)))
