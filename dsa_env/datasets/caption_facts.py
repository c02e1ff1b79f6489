"""The facts that a caption in the embedded world's words asserts, read from its text alone."""

from __future__ import annotations

import re
from functools import cache

from dsa_env.datasets.captions import RELATION_WORDS, SCENE_FACTS, describe
from dsa_env.datasets.scenes import COLORS, MATERIALS, SHAPES, SIZES


def read_facts(text: str) -> tuple[str, ...]:
    """Canonical facts of a text, in its order and each once; those that `Caption.facts` holds.

    Whatever is no phrase of the embedded world is passed over, so a garbled sentence asserts what
    can be made out of it, perhaps nothing.

    Args:
        text: a caption, perhaps a generated one.
    """
    facts: dict[str, None] = {}
    before: re.Match[str] | None = None  # the last object's phrase
    for found in _phrases().finditer(text.lower()):
        if found["shape"] is None:
            facts[found[0]] = None
            continue
        facts[_described(found)] = None
        if before is not None:
            between = text.lower()[before.end() : found.start()].strip()
            if between in RELATION_WORDS.values() and before["color"] and found["color"]:
                names = [
                    describe(_words(phrase), size=False, color=True, material=False)
                    for phrase in (before, found)
                ]
                facts[f"{names[0]} {between} {names[1]}"] = None
        before = found
    return tuple(facts)


@cache
def _phrases() -> re.Pattern[str]:
    """An object's noun phrase, with a group for each word, or a fact of the scene as a whole."""
    attributes = "".join(
        rf"(?:(?P<{name}>{'|'.join(words)}) )?"
        for name, words in (("size", SIZES), ("color", COLORS), ("material", MATERIALS))
    )
    scene = "|".join(re.escape(fact) for fact in sorted(SCENE_FACTS, key=len, reverse=True))
    return re.compile(rf"\b(?:a {attributes}(?P<shape>{'|'.join(SHAPES)})|{scene})\b")


def _words(phrase: re.Match[str]) -> dict[str, str]:
    return {name: word or "" for name, word in phrase.groupdict().items()}


def _described(phrase: re.Match[str]) -> str:
    return describe(_words(phrase), size=True, color=True, material=True)
