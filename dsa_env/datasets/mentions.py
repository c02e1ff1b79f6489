"""Which things of a vocabulary a caption mentions: plurals, several words, longest name first."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)?")
_IRREGULAR = {
    "men": "man",
    "women": "woman",
    "children": "child",
    "people": "person",
    "mice": "mouse",
    "geese": "goose",
    "oxen": "ox",
    "feet": "foot",
    "teeth": "tooth",
}


def words(text: str) -> list[str]:
    """The words of a text in lower case, without punctuation and possessive endings."""
    found = (match.group().replace("’", "'") for match in _WORD.finditer(text.lower()))
    return [word.removesuffix("'s") for word in found]


def singulars(word: str) -> list[str]:
    """The word itself, and what it may be the plural of; a vocabulary says which of them exist."""
    forms = [word]
    for plural, single in _IRREGULAR.items():
        if word.endswith(plural) and word.removesuffix(plural) in ("", "police", "fire", "snow"):
            forms.append(word.removesuffix(plural) + single)
    if word.endswith("s") and len(word) > 2:
        forms.append(word[:-1])
        if word.endswith("es"):
            forms.append(word[:-2])
        if word.endswith("ies"):
            forms.append(word[:-3] + "y")
        if word.endswith("ves"):
            forms += [word[:-3] + "f", word[:-3] + "fe"]
    return forms


class Mention(NamedTuple):
    """A name found in a text.

    Attributes:
        meaning: what the name stands for.
        name: the words that the text uses.
        start: the number of its first word, among the text's `words`.
    """

    meaning: str
    name: str
    start: int


class Mentions:
    """Finds the names of a vocabulary in captions.

    Names are looked for from left to right, the longest first, so that "hot dog" is no dog. The
    last word of a name may stand in the plural.

    Args:
        names: name in lower case, singular, its words parted by spaces -> what it stands for; ""
            for a name that must not be taken for the shorter ones inside it ("train station").
    """

    def __init__(self, names: Mapping[str, str]) -> None:
        self._names = {tuple(words(name)): meant for name, meant in names.items()}
        self._names.pop((), None)
        self._longest: dict[str, int] = {}  # first word of a name of several -> most words
        for name in self._names:
            if len(name) > 1:
                self._longest[name[0]] = max(len(name), self._longest.get(name[0], 0))
        self._alone: dict[str, str | None] = {}  # words met so far -> what they mean alone

    def find(self, text: str) -> list[Mention]:
        """Each mention in order, those of the same thing included."""
        return self.find_in(words(text))

    def find_in(self, told: list[str]) -> list[Mention]:
        """Each mention in a text's `words`."""
        found = []
        start = 0
        while start < len(told):
            meant, length = self._at(told, start)
            if meant:
                found.append(Mention(meant, " ".join(told[start : start + length]), start))
            start += length
        return found

    def __call__(self, text: str) -> tuple[str, ...]:
        """The things that a text mentions, each once, in the order of their first mention."""
        return tuple(dict.fromkeys(mention.meaning for mention in self.find(text)))

    def _at(self, told: list[str], start: int) -> tuple[str | None, int]:
        """What the longest name that begins at a word means, and how many words it has."""
        word = told[start]
        for length in range(min(self._longest.get(word, 1), len(told) - start), 1, -1):
            meant = self._meaning(tuple(told[start : start + length]))
            if meant is not None:
                return meant, length
        if word not in self._alone:
            self._alone[word] = self._meaning((word,))
        return self._alone[word], 1

    def _meaning(self, part: tuple[str, ...]) -> str | None:
        names = ((*part[:-1], last) for last in singulars(part[-1]))
        return next((self._names[name] for name in names if name in self._names), None)


def merge_plurals(names: Iterable[str]) -> dict[str, str]:
    """Each name of a list to its singular where the list has that too, else to itself.

    Spectacles and trousers stay what they are: "glasses" are not several of a "glass".
    """
    known = set(names)
    merged = {}
    for name in known:
        head, _, last = name.rpartition(" ")
        if last in ("glasses", "pants", "shorts", "blinds", "greens", "goods"):
            merged[name] = name
            continue
        forms = (f"{head} {form}".strip() for form in singulars(last)[1:])
        merged[name] = next((form for form in forms if form in known), name)
    return merged
