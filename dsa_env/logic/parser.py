"""Captions and queries to all of their candidate readings.

Where the grammar leaves a choice, every choice becomes a reading:

    attachment   "the cube left of the ball behind the cylinder": who is behind the cylinder
    coordination "the cube left of the ball and the cone": left of both, or a cube and a cone
    adjectives   "the small cube and ball": is the ball small
    negation     "a cube that is not red and metal": not (red and metal), or (not red) and metal
    quantifiers  "every cube is left of a ball": the same ball for all, or one for each

Readings with the same formula count once, and those that ask one object for two colours do not
count where there are others. What stands for the scene as a whole ("on a wooden floor") is the
scene's, wherever it is attached.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from dsa_env.errors import DSAError
from dsa_env.logic.formulas import Property, Sentence, descriptions
from dsa_env.logic.grammar import MOST, Chart, TooManyReadingsError
from dsa_env.logic.meanings import contradicts
from dsa_env.logic.phrases import say
from dsa_env.logic.words import Vocabulary, tokenize, vocabulary


@dataclass(frozen=True)
class Reading:
    """One thing that a text can mean.

    Attributes:
        sentence: what has to be true of a scene.
        descriptions: the definite descriptions ("the ...") in it, outermost first.
        text: the sentence in words, with brackets.
    """

    sentence: Sentence
    descriptions: tuple[Property, ...]
    text: str


def parse(text: str, words: Vocabulary | None = None) -> tuple[Reading, ...]:
    """All readings of a text, in an order that depends on the text alone.

    Args:
        text: a description, a caption, or a sentence such as "there are two red cubes".
        words: the vocabulary; None for CLEVR's (`dsa_env.logic.words.vocabulary`).

    Raises:
        DSAError: for a word that is not in the vocabulary (with the nearest that is), a text that
            the grammar cannot read (with the place), or one of more than `MOST` readings.
    """
    return tuple(Reading(s, descriptions(s), say(s)) for s in sentences(text, words))


def sentences(text: str, words: Vocabulary | None = None) -> list[Sentence]:
    """The formulas of a text's readings; `parse` says the rest."""
    words = words or _plain()
    tokens = tokenize(text)
    words.check(tokens)
    chart = Chart(tokens, words)
    found = list(dict.fromkeys(meaning for meaning, end in chart.text() if end == len(tokens)))
    if not found:
        raise _unread(text, tokens, chart.furthest)
    if len(found) == 1:
        return found
    possible = [sentence for sentence in found if not contradicts(sentence)] or found
    if len(possible) > MOST:
        raise TooManyReadingsError
    return possible


def count_readings(text: str) -> int:
    """How many readings a text has; looks at no scene.

    0 where the grammar cannot read it, `MOST` where there are more than that.
    """
    try:
        return len(sentences(text))
    except TooManyReadingsError:
        return MOST
    except DSAError:
        return 0


@lru_cache(maxsize=1)
def _plain() -> Vocabulary:
    return vocabulary()


def _unread(text: str, tokens: tuple[str, ...], furthest: int) -> DSAError:
    example = 'say for example "the red cube left of the sphere and the cone"'
    if furthest >= len(tokens):
        return DSAError(f"{text!r} stops too early; {example}.")
    before = " ".join(tokens[:furthest])
    place = f"after {before!r} comes" if before else "it begins with"
    return DSAError(f"{text!r} cannot be read: {place} {tokens[furthest]!r}; {example}.")
