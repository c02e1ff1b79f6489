"""The directions by name: the one place that knows how each one's queries are made."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import TYPE_CHECKING

from dsa_env.errors import DSAError, unknown
from dsa_env.retrieval.shortlist import load_retrieval

if TYPE_CHECKING:
    from dsa_env.bank import FeatureBank
    from dsa_env.retrieval.retrieval import Retrieval


@dataclass(frozen=True)
class Options:
    """What queries depend on beside bank, direction and split; each direction reads its own.

    Attributes:
        shortlist: candidates per query; None: the whole gallery up to 512, else 256.
        faiss: find candidates through a FAISS index.
        model: the captioning model: ``"embedded"``, a local folder or a hub name.
        prompts: what it is asked; None for the model's own list.
        grid: how many granularities, equally far apart from 0 to 1, captions are written for.
        live: write captions when they are asked for, for the exact g.
    """

    shortlist: int | None = None
    faiss: bool = False
    model: str = "embedded"
    prompts: Sequence[str] | None = None
    grid: int = 11
    live: bool = False

    def __post_init__(self) -> None:
        """Refuse prompts that are no list; keep them as a tuple, so that options can be compared.

        Raises:
            DSAError: they are a single text, or none.
        """
        if self.prompts is None:
            return
        if isinstance(self.prompts, str) or not len(self.prompts):
            raise DSAError(f"prompts must be a list of at least one prompt, got {self.prompts!r}.")
        object.__setattr__(self, "prompts", tuple(map(str, self.prompts)))


@dataclass(frozen=True)
class Direction:
    """What is asked for what.

    Attributes:
        load: makes the queries of a split.
        options: the names of the `Options` that it reads.
    """

    load: Callable[[FeatureBank, str, Options], Retrieval]
    options: tuple[str, ...]


def _shortlists(direction: str, bank: FeatureBank, split: str, options: Options) -> Retrieval:
    return load_retrieval(bank, direction, split, shortlist=options.shortlist, faiss=options.faiss)


def _captions(bank: FeatureBank, split: str, options: Options) -> Retrieval:
    from dsa_env.captioning.retrieval import live_captions, load_captions

    if options.live:
        return live_captions(bank, split, model=options.model, prompts=options.prompts)
    return load_captions(
        bank, split, model=options.model, prompts=options.prompts, grid=options.grid
    )


DIRECTIONS: dict[str, Direction] = {
    "text_to_image": Direction(partial(_shortlists, "text_to_image"), ("shortlist", "faiss")),
    "image_to_text": Direction(partial(_shortlists, "image_to_text"), ("shortlist", "faiss")),
    "captioning": Direction(_captions, ("model", "prompts", "grid", "live")),
}
"""Text to image, image to text, and a model's own captions back to their pictures."""


def load_queries(bank: FeatureBank, direction: str, split: str, options: Options) -> Retrieval:
    """The queries of a split, from a cache where they were made before.

    Raises:
        DSAError: unknown direction, an option that the direction does not read, or one that is
            out of its range.
        BankError: the bank lacks what the direction needs.
    """
    if direction not in DIRECTIONS:
        raise unknown("direction", direction, DIRECTIONS)
    chosen = DIRECTIONS[direction]
    known = {name: getattr(options, name) for name in chosen.options}
    if replace(Options(), **known) != options:
        default = Options()
        name = next(
            field.name
            for field in fields(Options)
            if field.name not in known
            and getattr(options, field.name) != getattr(default, field.name)
        )
        others = ", ".join(other for other, one in DIRECTIONS.items() if name in one.options)
        raise DSAError(f"{name} is for {others}; leave it out with direction {direction!r}.")
    return chosen.load(bank, split, options)
