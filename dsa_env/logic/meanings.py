"""How the meanings of a text's parts combine: bracketings, shared words, scope."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from dsa_env.logic.formulas import (
    COUNTED,
    And,
    Has,
    Not,
    Property,
    Quantified,
    Quantifier,
    Related,
    Sentence,
    conjoin,
    disjoin,
    walk,
)


@dataclass(frozen=True)
class Phrase:
    """A noun phrase.

    Attributes:
        quantifier: of the phrase.
        property: what it ranges over.
        lead: its adjectives, which later nouns may share.
        bare: whether it has no determiner of its own.
    """

    quantifier: Quantifier
    property: Property
    lead: tuple[Property, ...] = ()
    bare: bool = False


@dataclass(frozen=True)
class Joined:
    """Meanings joined by "and" or "or"."""

    word: str
    parts: tuple[Any, ...]


def bracketings(parts: Sequence[Any], joints: Sequence[str]) -> list[Any]:
    """Every way to bracket parts that are joined by words; "a and b and c" has one.

    A comma stands for the next word that is none, and for "and" before the end.
    """
    if len(parts) == 1:
        return list(parts)
    words: list[str] = []
    for joint in reversed(joints):
        words.insert(0, (words[0] if words else "and") if joint == "," else joint)

    @cache
    def trees(start: int, end: int) -> tuple[Any, ...]:
        if start == end:
            return (parts[start],)
        if len(set(words[start:end])) == 1:
            return (join(words[start], tuple(parts[start : end + 1])),)
        found = [
            join(words[cut], (left, right))
            for cut in range(start, end)
            for left in trees(start, cut)
            for right in trees(cut + 1, end)
        ]
        return tuple(dict.fromkeys(found))

    return list(trees(0, len(parts) - 1))


def join(word: str, parts: tuple[Any, ...]) -> Joined:
    """Parts joined by a word, without nesting of the same word."""
    flat: list[Any] = []
    for part in parts:
        same = isinstance(part, Joined) and part.word == word
        flat.extend(part.parts if same else [part])
    return Joined(word, tuple(flat))


def shared(parts: tuple[Any, ...]) -> list[tuple[Any, ...]]:
    """What a noun without a determiner may share with the one before: all of its choices.

    It takes the determiner, and any number of the adjectives from the first on: "the small red
    cube and ball" is about a ball, a small ball or a small red ball.
    """
    if not any(isinstance(part, Phrase) and part.bare for part in parts[1:]):
        return [parts]
    variants: list[tuple[Any, ...]] = [parts[:1]]
    for part in parts[1:]:
        grown: list[tuple[Any, ...]] = []
        for before in variants:
            last = before[-1]
            if not isinstance(part, Phrase) or not isinstance(last, Phrase) or not part.bare:
                grown.append((*before, part))
                continue
            for n in range(len(last.lead) + 1):
                own = conjoin(*last.lead[:n], part.property)
                lead = tuple(dict.fromkeys((*last.lead[:n], *part.lead)))
                grown.append((*before, Phrase(last.quantifier, own, lead, bare=True)))
        variants = grown
    return list(dict.fromkeys(variants))


def attach(tree: Any, place: Property) -> Any:
    """A place behind joined noun phrases, attached to each of them."""
    if isinstance(tree, Joined):
        return Joined(tree.word, tuple(attach(part, place) for part in tree.parts))
    return replace(tree, property=conjoin(tree.property, place))


def fold(tree: Any) -> Any:
    """Joined properties or sentences as a formula."""
    if not isinstance(tree, Joined):
        return tree
    return (conjoin if tree.word == "and" else disjoin)(*map(fold, tree.parts))


def related(relation: str, anchor: Any) -> Property:
    """A relation to one or several joined noun phrases: "left of the ball and the cone"."""
    if isinstance(anchor, Phrase):
        return Related(relation, anchor.quantifier, anchor.property)
    parts = (related(relation, part) for part in anchor.parts)
    meaning: Property = (conjoin if anchor.word == "and" else disjoin)(*parts)
    return meaning


def assertions(tree: Any) -> list[Sentence]:
    """What mentioning something asserts: that it is there; with every scope of "every"."""
    if isinstance(tree, Joined):
        join_all = conjoin if tree.word == "and" else disjoin
        return [join_all(*parts) for parts in itertools.product(*map(assertions, tree.parts))]
    if not isinstance(tree, Phrase):
        return [tree]
    found: list[Sentence] = [Quantified(tree.quantifier, tree.property)]
    parts = tree.property.parts if isinstance(tree.property, And) else (tree.property,)
    for part in parts:
        if isinstance(part, Related) and part.quantifier.kind == "every":
            rest = conjoin(*(p for p in parts if p != part))
            found += _inverse(replace(tree, property=rest), part)
    return found


def predications(subject: Any, body: Property) -> list[Sentence]:
    """What a clause "subject is body" asserts; with every scope of quantifiers and "not"."""
    if isinstance(subject, Joined):
        join_all = conjoin if subject.word == "and" else disjoin
        alternatives = [predications(part, body) for part in subject.parts]
        return [join_all(*parts) for parts in itertools.product(*alternatives)]
    found: list[Sentence] = [Quantified(subject.quantifier, subject.property, body)]
    if isinstance(body, Not) and subject.quantifier.kind == "every":
        found.append(Not(Quantified(subject.quantifier, subject.property, body.part)))
    if isinstance(body, Related):
        found += _inverse(subject, body)
    return found


def _inverse(subject: Phrase, body: Related) -> Iterator[Sentence]:
    """The reading in which the second noun phrase has the wider scope, where that matters."""
    kinds = {subject.quantifier.kind, body.quantifier.kind}
    if "the" not in kinds and (len(kinds) > 1 or kinds <= set(COUNTED)):
        turned = Related(body.relation, subject.quantifier, subject.property, inverse=True)
        yield Quantified(body.quantifier, body.property, turned)


def contradicts(sentence: Sentence) -> bool:
    """Whether an object is asked to have two values of one attribute."""
    for node in walk(sentence):
        if isinstance(node, And):
            values = {(p.attribute, p.value) for p in node.parts if isinstance(p, Has)}
            if len({attribute for attribute, _ in values}) < len(values):
                return True
    return False
