"""Formulas in words: what a reading says, with brackets where words alone would be ambiguous."""

from __future__ import annotations

from typing import Any

from dsa_env.logic.formulas import (
    COUNTED,
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
)

RELATION_WORDS = {
    "left": "left of",
    "right": "right of",
    "front": "in front of",
    "behind": "behind",
}
_ORDER = {"size": 0, "color": 1, "material": 2}
_LAYOUTS = {"scattered": "objects scattered", "two groups": "objects in two groups"}
_COMPARED = {"=": ("as many", "as"), "<": ("fewer", "than"), ">": ("more", "than")}


def say(sentence: Sentence) -> str:
    """A sentence in words, such as "(the cube left of the sphere) and the cone"."""
    if isinstance(sentence, Quantified):
        words = noun_phrase(sentence.quantifier, sentence.property)
        if sentence.body == And():
            return words
        body = sentence.body
        if isinstance(body, Related) and body.inverse:
            other = _bracketed(noun_phrase(body.quantifier, body.property), body.property)
            return f"{_bracketed(words, sentence.property)} has {other} {_relation(body)} it"
        return f"{_bracketed(words, sentence.property)} is {_predicate(body)}"
    if isinstance(sentence, SceneIs):
        if sentence.name == "layout":
            return _LAYOUTS.get(sentence.value, f"objects in a {sentence.value}")
        article = "a " if sentence.name == "floor" else ""
        return f"{article}{sentence.value} {sentence.name}"
    if isinstance(sentence, Crowded):
        return f"a {sentence.name} scene"
    if isinstance(sentence, Mostly):
        return f"mostly {sentence.color} objects"
    if isinstance(sentence, Compare):
        start, middle = _COMPARED[sentence.comparison]
        first, second = (_noun("", p, plural="s") for p in (sentence.first, sentence.second))
        return f"{start} {first} {middle} {second}"
    if isinstance(sentence, Not):
        return f"it is not so that ({say(sentence.part)})"
    word = " and " if isinstance(sentence, And) else " or "
    parts = [_part(part, say(part)) for part in sentence.parts]
    return word.join(parts) if parts else "a scene" if isinstance(sentence, And) else "nothing"


def noun_phrase(quantifier: Quantifier, formula: Property) -> str:
    """A quantified property in words, such as "the small red cube left of a sphere"."""
    kind = quantifier.kind
    start = f"{kind} {quantifier.number}" if kind in COUNTED else kind
    plural = "s" if kind in COUNTED and quantifier.number != 1 else ""
    words = _noun("" if kind == "some" else start, formula, plural)
    if kind == "some":
        return ("an " if words[0] in "aeiou" else "a ") + words
    return words


def _noun(start: str, formula: Property, plural: str = "") -> str:
    parts = formula.parts if isinstance(formula, And) else (formula,)
    nouns = [p.value for p in parts if isinstance(p, Has) and p.attribute == "shape"]
    plain = [p for p in parts if isinstance(p, Has) and p.attribute != "shape"]
    plain.sort(key=lambda p: _ORDER.get(p.attribute, 9))
    after = [p for p in parts if not isinstance(p, Has)]
    places = [_predicate(p) for p in after if isinstance(p, Related)]
    rest = [_predicate(p) for p in after if not isinstance(p, Related)]
    rest += [f"a {noun}" for noun in nouns[1:]]
    words = [start, *(p.value for p in plain), (nouns[0] if nouns else "object") + plural]
    if places:
        words.append(" and ".join(places))
    if rest:
        words.append(("and " if places else "") + "that is " + " and ".join(rest))
    return " ".join(word for word in words if word)


def _predicate(formula: Property) -> str:
    if isinstance(formula, Has):
        return f"a {formula.value}" if formula.attribute == "shape" else formula.value
    if isinstance(formula, Related):
        other = _bracketed(noun_phrase(formula.quantifier, formula.property), formula.property)
        if formula.inverse:
            return f"such that {other} is {_relation(formula)} it"
        return f"{_relation(formula)} {other}"
    if isinstance(formula, Alike):
        other = noun_phrase(formula.quantifier, formula.property)
        return f"of the same {formula.attribute} as ({other})"
    if isinstance(formula, Not):
        inner = _predicate(formula.part)
        return f"not ({inner})" if isinstance(formula.part, And | Or) else f"not {inner}"
    if not formula.parts:
        return "an object" if isinstance(formula, And) else "nothing"
    word = " and " if isinstance(formula, And) else " or "
    return word.join(_part(part, _predicate(part)) for part in formula.parts)


def _relation(formula: Related) -> str:
    return RELATION_WORDS.get(formula.relation, formula.relation)


def _bracketed(words: str, formula: Property) -> str:
    """In brackets where the phrase has something attached behind its noun."""
    parts = formula.parts if isinstance(formula, And) else (formula,)
    return words if all(isinstance(part, Has) for part in parts) else f"({words})"


def _part(part: Formula, words: str) -> str:
    """A part of a conjunction or disjunction, in brackets unless it is one simple phrase."""
    simple: Any = part.property if isinstance(part, Quantified) and part.body == And() else None
    if simple is not None:
        return _bracketed(words, simple)
    return f"({words})" if isinstance(part, And | Or | Quantified) else words
