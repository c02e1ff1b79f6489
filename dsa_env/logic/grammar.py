"""The grammar of captions and queries, as rules from a place in a text to all parses from there."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from dsa_env.datasets.scenes import CROWDEDNESS, FLOORS, LIGHTS
from dsa_env.errors import DSAError
from dsa_env.logic.formulas import (
    COUNTED,
    EVERY,
    NO,
    SOME,
    THE,
    THING,
    And,
    Compare,
    Crowded,
    Has,
    Mostly,
    Not,
    Property,
    Quantified,
    Quantifier,
    SceneIs,
    conjoin,
    disjoin,
)
from dsa_env.logic.meanings import (
    Joined,
    Phrase,
    assertions,
    attach,
    bracketings,
    fold,
    predications,
    related,
    shared,
)
from dsa_env.logic.words import LAYOUT_PHRASES, NUMBERS, RELATION_PHRASES, Vocabulary

MOST = 256
"""A text of more readings than this is refused: their number grows like the Catalan numbers."""
_WORK = 16 * MOST
"""Partial parses of one sequence after which a text counts as one of too many readings."""
Parses = list[tuple[Any, int]]


class TooManyReadingsError(DSAError):
    """A text has more than `MOST` readings."""

    def __init__(self) -> None:
        super().__init__(f"The text has more than {MOST} readings; make it shorter.")


_DETERMINERS = {
    "the": THE, "a": SOME, "an": SOME, "some": SOME, "every": EVERY, "each": EVERY, "all": EVERY,
    "no": NO,
}  # fmt: skip
_COMPARED = ((("more",), "than", ">"), (("fewer",), "than", "<"), (("as", "many"), "as", "="))


class Chart:
    """The parses of one text. A rule returns (meaning, the place behind it) for every parse.

    Attributes:
        furthest: the place behind the last word that a rule could use.
    """

    def __init__(self, tokens: tuple[str, ...], words: Vocabulary) -> None:
        self.tokens = tokens
        self.words = words
        self.furthest = 0
        self._known: dict[tuple[str, int], Parses] = {}

    # --- whole texts

    def text(self) -> Parses:
        """Clauses, or noun phrases and words about the scene; then places in the scene."""
        clauses = self._sequence(0, lambda i: self._memo("clause", i, self._clause))
        heads = [(fold(tree), j) for tree, j in clauses] + self._mentions(0)
        return list(self._with_places(heads))

    def _with_places(self, heads: Iterable[tuple[Any, int]]) -> Iterator[tuple[Any, int]]:
        agenda = list(heads)
        while agenda:
            meaning, i = agenda.pop(0)
            yield meaning, i
            if self._word(i) in {"on", "in", "under"}:
                agenda += [(conjoin(meaning, place), j) for place, j in self._scene(i + 1)]
            elif self._word(i) == "with":
                agenda += [(conjoin(meaning, told), j) for told, j in self._mentions(i + 1)]

    def _mentions(self, i: int) -> Parses:
        """Noun phrases and words about the scene, joined: each is asserted."""

        def item(start: int) -> Parses:
            return self._scene(start) or self._memo("phrase", start, self._phrase)

        trees = self._placed(self._sequence(i, item, commas=True))
        return [(meaning, j) for tree, j in trees for meaning in assertions(tree)]

    def _clause(self, i: int) -> Parses:
        found: Parses = []
        if {self._word(i), self._word(i + 1)} in ({"there", "is"}, {"there", "are"}):
            found += self._mentions(i + 2) + self._comparison(i + 2)
        for subject, j in self._phrases(i):
            if self._word(j) in {"is", "are"}:
                for body, k in self._predicate(j + 1):
                    found += [(meaning, k) for meaning in predications(subject, body)]
        return found

    def _comparison(self, i: int) -> Parses:
        """More, fewer or as many of one than of another."""
        return [
            (Compare(first.property, sign, second.property), k)
            for lead, middle, sign in _COMPARED
            if self._at(i, lead)
            for first, j in self._nominal(i + len(lead))
            if self._word(j) == middle
            for second, k in self._nominal(j + 1)
        ]

    def _scene(self, i: int) -> Parses:
        """Words about the scene as a whole: its floor, light, layout, crowdedness, colour."""
        found: Parses = []
        j = i + 1 if self._word(i) in {"a", "the"} else i
        for name, values in (("floor", FLOORS), ("light", LIGHTS)):
            if self._word(j) in values and self._word(j + 1) == name:
                found.append((SceneIs(name, self.tokens[j]), j + 2))
        for name in ("", *CROWDEDNESS):
            words = (*name.split(), "scene")
            if self._at(j, words):
                found.append((Crowded(name) if name else And(), j + len(words)))
        for phrase, layout in LAYOUT_PHRASES:
            if self._at(i, phrase):
                three = Quantified(Quantifier("at least", 3), THING)
                found.append((conjoin(SceneIs("layout", layout), three), i + len(phrase)))
        if self._word(i) == "mostly" and self._word(i + 2) in {"objects", "things"}:
            attribute, value = self.words.adjectives.get(self.tokens[i + 1], ("", ""))
            if attribute == "color":
                found.append((Mostly(value), i + 3))
        return self._reached(found)

    # --- noun phrases

    def _phrases(self, i: int) -> Parses:
        """Noun phrases joined by "and" or "or", and what is attached to all of them."""

        def rule(start: int) -> Parses:
            item = self._memo
            return self._placed(self._sequence(start, lambda j: item("phrase", j, self._phrase)))

        return self._memo("phrases", i, rule)

    def _placed(self, trees: Parses) -> Parses:
        """Joined phrases, and the same with what follows attached to each of them."""
        attached = [
            (attach(tree, place), k)
            for tree, j in trees
            if _all_phrases(tree)
            for place, k in self._posts(j)
        ]
        return list(dict.fromkeys([*trees, *attached]))

    def _phrase(self, i: int) -> Parses:
        """A determiner, or none, and a noun with all that may belong to it."""
        return [
            (Phrase(quantifier, noun.property, noun.lead, bare=i == j), k)
            for quantifier, j in self._determiner(i)
            for noun, k in self._nominal(j)
        ]

    def _determiner(self, i: int) -> Parses:
        word, pair = self._word(i), f"{self._word(i)} {self._word(i + 1)}"
        found: Parses = []
        if word in _DETERMINERS:
            found.append((_DETERMINERS[word], i + (2 if pair == "all the" else 1)))
        elif word == "exactly" or pair in COUNTED:
            start = i + (1 if word == "exactly" else 2)
            number = _number(self._word(start))
            if number is not None:
                kind = word if word == "exactly" else pair
                found.append((Quantifier(kind, number), start + 1))
        elif (number := _number(word)) is not None:
            found.append((Quantifier("at least", number), i + 1))
        else:
            found.append((SOME, i))
        return self._reached(found)

    def _nominal(self, i: int) -> Parses:
        """Adjectives, a noun, and what is attached behind it; as phrases without a determiner."""

        def rule(start: int) -> Parses:
            lead, j = self._adjectives(start)
            return [
                (Phrase(SOME, conjoin(*lead, noun, *after), lead), end)
                for noun, k in self._noun(j)
                for after, end in [((), k), *(((place,), m) for place, m in self._posts(k))]
            ]

        return self._memo("nominal", i, rule)

    def _adjectives(self, i: int) -> tuple[tuple[Property, ...], int]:
        """Adjectives in a row; "and" or a comma between those of different attributes, or "or"."""
        parts: list[Property] = []
        attributes: set[str] = set()
        while (word := self._word(i)) in self.words.adjectives:
            values = [self.words.adjectives[word]]
            i += 1
            while self._word(i) == "or" and self._word(i + 1) in self.words.adjectives:
                values.append(self.words.adjectives[self.tokens[i + 1]])
                i += 2
            parts.append(disjoin(*(Has(*value) for value in values)))
            attributes |= {attribute for attribute, _ in values}
            following = self.words.adjectives.get(self._word(i + 1), ("", ""))[0]
            if self._word(i) in {",", "and"} and following and following not in attributes:
                i += 1
        self._reached([((), i)])
        return tuple(parts), i

    def _noun(self, i: int) -> Parses:
        if self._word(i) not in self.words.nouns:
            return []
        shape = self.words.nouns[self.tokens[i]]
        return self._reached([(THING if shape is None else Has("shape", shape), i + 1)])

    # --- what is attached to a noun

    def _posts(self, i: int) -> Parses:
        """One or more places or relative clauses, next to each other or joined."""

        def rule(start: int) -> Parses:
            trees = self._sequence(start, self._post, side_by_side=True)
            return [(fold(tree), j) for tree, j in trees]

        return self._memo("posts", i, rule)

    def _post(self, i: int) -> Parses:
        if self._word(i) in {"that", "which"} and self._word(i + 1) in {"is", "are"}:
            return self._predicate(i + 2)
        return self._place(i)

    def _place(self, i: int) -> Parses:
        """A relation and the noun phrases that it relates to."""

        def rule(start: int) -> Parses:
            found: Parses = []
            for phrase, relation in RELATION_PHRASES:
                if self._at(start, phrase):
                    end = start + len(phrase)
                    self._reached([((), end)])
                    found += [(related(relation, tree), k) for tree, k in self._phrases(end)]
            return found

        return self._memo("place", i, rule)

    def _predicate(self, i: int) -> Parses:
        """Adjectives, places or "a cube", joined, with every reach of "not"."""

        def item(start: int) -> Parses:
            found = list(self._place(start))
            word = self._word(start)
            if word == "not":
                found += [(Not(part), j) for part, j in self._predicate(start + 1)]
            if word in self.words.adjectives:
                found.append((Has(*self.words.adjectives[word]), start + 1))
            if word in {"a", "an"}:
                lead, j = self._adjectives(start + 1)
                found += [(conjoin(*lead, noun), k) for noun, k in self._noun(j)]
            return self._reached(found)

        def rule(start: int) -> Parses:
            trees = self._sequence(start, lambda j: self._memo("item", j, item))
            return [(fold(tree), j) for tree, j in trees]

        return self._memo("predicate", i, rule)

    # --- machinery

    def _sequence(
        self,
        i: int,
        item: Callable[[int], Parses],
        *,
        side_by_side: bool = False,
        commas: bool = False,
    ) -> Parses:
        """Items joined by commas, "and" or "or", in every bracketing.

        `side_by_side` allows no joint at all, `commas` a comma before the last item.
        """
        found: dict[tuple[Any, int], None] = {}
        agenda: list[tuple[tuple[Any, ...], tuple[str, ...], int]] = [
            ((part,), (), j) for part, j in item(i)
        ]
        while agenda:
            parts, joints, j = agenda.pop()
            if commas or joints[-1:] != (",",):
                for variant in shared(parts):
                    for tree in bracketings(variant, joints):
                        found[tree, j] = None
            starts = [("and", j)] if side_by_side else []
            word, after = self._word(j), self._word(j + 1)
            if word == "," and after in {"and", "or"}:
                starts.append((after, j + 2))
            elif word in {"and", "or", ","}:
                starts.append((word, j + 1))
            for joint, start in starts:
                agenda += [((*parts, part), (*joints, joint), k) for part, k in item(start)]
            if len(agenda) + len(found) > _WORK:
                raise TooManyReadingsError
        return list(found)

    def _memo(self, rule: str, i: int, compute: Callable[[int], Parses]) -> Parses:
        if (rule, i) not in self._known:
            self._known[rule, i] = list(dict.fromkeys(compute(i)))
        return self._known[rule, i]

    def _word(self, i: int) -> str:
        return self.tokens[i] if i < len(self.tokens) else ""

    def _at(self, i: int, words: tuple[str, ...]) -> bool:
        return self.tokens[i : i + len(words)] == words

    def _reached(self, found: Parses) -> Parses:
        self.furthest = max([self.furthest, *(end for _, end in found)])
        return found


def _all_phrases(tree: Any) -> bool:
    """Whether a tree joins two or more noun phrases and nothing else."""
    return isinstance(tree, Joined) and all(
        isinstance(part, Phrase) or _all_phrases(part) for part in tree.parts
    )


def _number(word: str) -> int | None:
    return int(word) if word.isdecimal() else NUMBERS.get(word)
