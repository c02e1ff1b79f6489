"""The words of captions and queries: what stands for which value, relation or quantifier."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from dsa_env.datasets.scenes import CROWDEDNESS, FLOORS, LIGHTS
from dsa_env.errors import DSAError, unknown
from dsa_env.logic.scene_graph import VOCABULARY, SceneGraph

SYNONYMS = {
    "big": "large",
    "tiny": "small",
    "metallic": "metal",
    "shiny": "metal",
    "matte": "rubber",
    "block": "cube",
    "ball": "sphere",
    "grey": "gray",
}
"""CLEVR's own synonyms, and a spelling."""
MORE_SHAPES = ("cone",)
"""Shapes that CLEVR has not, but a scene file of one's own may have."""
RELATION_PHRASES: tuple[tuple[tuple[str, ...], str], ...] = tuple(
    (tuple(phrase.split()), relation)
    for phrase, relation in (
        *((f"{lead}{side}{end} of", side) for side in ("left", "right")
          for lead in ("", "to the ", "on the ") for end in ("", " side")),
        ("in front of", "front"),
        ("behind", "behind"),
    )
)  # fmt: skip
NUMBERS = {
    word: number
    for number, word in enumerate(
        ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
    )
}  # fmt: skip
THINGS = ("object", "thing")
LAYOUT_PHRASES: tuple[tuple[tuple[str, ...], str], ...] = (
    (("objects", "scattered"), "scattered"),
    (("objects", "in", "a", "row"), "row"),
    (("objects", "in", "a", "circle"), "circle"),
    (("objects", "in", "a", "cluster"), "cluster"),
    (("objects", "in", "two", "groups"), "two groups"),
)
_FUNCTION_WORDS = """
    a an the some every each all no exactly at least most than more fewer as many and or not is are
    there that which scene floor light with on in under mostly
"""
FUNCTION_WORDS = frozenset(_FUNCTION_WORDS.split()) | {
    word for phrase, _ in (*RELATION_PHRASES, *LAYOUT_PHRASES) for word in phrase
}


@dataclass(frozen=True)
class Vocabulary:
    """The words that a sentence may use for objects.

    Attributes:
        adjectives: word -> (attribute, value), for sizes, colours and materials.
        nouns: word -> shape, or None for any object; plurals included.
    """

    adjectives: Mapping[str, tuple[str, str]]
    nouns: Mapping[str, str | None]
    known: frozenset[str] = field(repr=False)

    def check(self, tokens: tuple[str, ...]) -> None:
        """Raise `DSAError` for the first token that is no word of the language."""
        for token in tokens:
            if token not in self.known and not token.isdigit():
                raise unknown("word", token, sorted(self.known - {","}))


def vocabulary(graph: SceneGraph | None = None) -> Vocabulary:
    """CLEVR's words and their synonyms, and the values that a scene's own objects have."""
    values = {attribute: list(words) for attribute, words in VOCABULARY.items()}
    values["shape"].extend(MORE_SHAPES)
    for attribute, words in values.items():
        if graph is not None:
            words.extend(word for word in graph.column(attribute) if word.isalpha())
    nouns: dict[str, str | None] = {}
    for noun in (*values["shape"], *THINGS):
        nouns[noun] = nouns[noun + "s"] = None if noun in THINGS else noun
    adjectives = {
        word: (attribute, word)
        for attribute, words in values.items()
        if attribute != "shape"
        for word in words
    }
    for word, meant in SYNONYMS.items():
        if meant in nouns:
            nouns[word] = nouns[word + "s"] = meant
        else:
            adjectives[word] = adjectives[meant]
    scene = {*FLOORS, *LIGHTS, *(word for name in CROWDEDNESS for word in name.split())}
    known = frozenset({",", *adjectives, *nouns, *scene, *FUNCTION_WORDS, *NUMBERS})
    return Vocabulary(adjectives, nouns, known)


def tokenize(text: str) -> tuple[str, ...]:
    """A sentence's words and commas in lower case; the mark at its end is dropped.

    Raises:
        DSAError: for an empty text.
    """
    cleaned = re.sub(r"[.?!]+\s*$", "", text.strip().lower())
    tokens = tuple(re.findall(r"[^\s,]+|,", cleaned))
    if not tokens:
        raise DSAError('The text is empty; say for example "the red cube left of the sphere".')
    return tokens
