"""A split's pictures and prompts with what captions of each granularity lead to."""

from __future__ import annotations

from abc import abstractmethod
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dsa_env.captioning.families import model_identity, own_prompts
from dsa_env.captioning.judge import Judge, Judged
from dsa_env.captioning.written import (
    COARSE,
    Written,
    load_captioner,
    picture_files,
    read_picture,
    write_captions,
)
from dsa_env.errors import DSAError
from dsa_env.outcome import Outcome
from dsa_env.retrieval import cache as retrieval_cache
from dsa_env.retrieval.retrieval import K_MAX, OutcomeCurves, Ranked, Retrieval

if TYPE_CHECKING:
    from dsa_env.bank import FeatureBank

DIRECTION = "captioning"
SOURCES = (*retrieval_cache.SOURCES, "captioning", "mllm", "datasets/caption_facts.py")
"""The modules and packages whose code such a retrieval depends on."""
MOST_PROMPTS = 127
KEPT = 8
"""How many of them a process keeps."""

_loaded: OrderedDict[str, Retrieval] = OrderedDict()


@dataclass(frozen=True, eq=False)
class Asked(Retrieval):
    """Pictures that a model is asked about: query i asks prompt i % P of picture i // P.

    Attributes:
        prompts: P prompts.
    """

    prompts: tuple[str, ...]

    @property
    def asks_pictures(self) -> bool:
        """A query is a picture, with a prompt."""
        return True

    @property
    def finds_pictures(self) -> bool:
        """A caption finds pictures."""
        return True

    def prompt(self, query: int) -> str:
        """What is asked."""
        return self.prompts[query % len(self.prompts)]

    def kinds(self, bank: FeatureBank) -> tuple[str, ...]:
        """The prompts."""
        return self.prompts

    def question(self, bank: FeatureBank, query: int) -> str:
        """The picture's number; the prompt is the query's kind."""
        return f"picture {int(self.query_ids[query])}"

    @abstractmethod
    def caption(self, query: int, g: float) -> str:
        """What the model writes for a query with granularity g."""

    def told(self, bank: FeatureBank, query: int, g: float | None) -> tuple[str, ...]:
        """The caption."""
        return () if g is None else (self.caption(query, g),)


@dataclass(frozen=True, eq=False)
class CaptionRetrieval(Asked):
    """Queries whose captions were written for a grid of granularities; g means the nearest one.

    Attributes:
        grid: [G] float64, the granularities, equally far apart from 0 to 1.
        written: the different captions.
        caption_of: [Q, G] int32 into `written`.
        facts: [Q, G] int32, how many facts each caption asserts.
        top: [Q, G, 5] int32 bank ids of the pictures that a caption finds, best first, -1 beyond.
        score: [Q, G, 5] float32, their cosines.
    """

    curves: OutcomeCurves
    grid: NDArray[np.float64]
    written: tuple[str, ...]
    caption_of: NDArray[np.int32]
    facts: NDArray[np.int32]
    top: NDArray[np.int32]
    score: NDArray[np.float32]

    def nearest(self, g: ArrayLike) -> NDArray[np.int64]:
        """The places in the grid [B] of granularities [B]; of two as near, the upper."""
        return np.searchsorted(_starts(self.grid), np.asarray(g, np.float64), side="right") - 1

    def caption(self, query: int, g: float) -> str:
        """What was written for a query with the granularity of the grid that is nearest to g."""
        return self.written[int(self.caption_of[query, self.nearest(g)])]

    def best(self, bank: FeatureBank, query: int, g: float, most: int) -> list[Ranked]:
        """The pictures that the caption finds, at most 5 of them."""
        place = self.nearest(g)
        return _ranked(
            self.top[query, place], self.score[query, place], int(self.query_ids[query]), most
        )


@dataclass(frozen=True, eq=False)
class LiveCaptions(Asked):
    """Queries whose captions are written and judged when an outcome is asked for.

    Attributes:
        model: the captioning model.
        judge: what captions are held against.
    """

    model: str
    judge: Judge

    def captions(self, query: ArrayLike, g: ArrayLike) -> list[str]:
        """What the model writes for queries [B] with granularities [B]."""
        bank, asked = self.judge.bank, np.asarray(query)
        ids = self.query_ids[asked]
        pictures = [read_picture(file) for file in picture_files(bank, ids)]
        prompts = [self.prompt(int(one)) for one in asked]
        return load_captioner(self.model).captions(pictures, prompts, np.asarray(g))

    def caption(self, query: int, g: float) -> str:
        """What the model writes for one query."""
        return self.captions([query], [g])[0]

    def judged(self, query: ArrayLike, g: ArrayLike) -> Judged:
        """What the captions of queries [B] at granularities [B] are worth."""
        return self.judge(self.captions(query, g), self.query_ids[np.asarray(query)])

    def outcomes(self, query: ArrayLike, g: ArrayLike, k: int) -> Outcome:
        """Write and judge a caption for each of the queries [B]."""
        found = self.judged(query, g)
        return Outcome.from_rank(query, g, found.rank, found.severity, found.top[:, 0], k)

    def best(self, bank: FeatureBank, query: int, g: float, most: int) -> list[Ranked]:
        """The pictures that a caption finds, at most 5 of them."""
        found = self.judged([query], [g])
        return _ranked(found.top[0], found.score[0], int(self.query_ids[query]), most)


def load_captions(
    bank: FeatureBank,
    split: str,
    *,
    model: str = "embedded",
    prompts: Sequence[str] | None = None,
    grid: int = 11,
) -> CaptionRetrieval:
    """A split's pictures and prompts with the captions of a grid of granularities, judged.

    Made once: kept in the process, and in the bank's cache folder.

    Args:
        bank: a bank with picture files that says which encoder it was made with.
        split: whose pictures.
        model: ``"embedded"``, a local folder or a hub name.
        prompts: what is asked; None for the model's own list.
        grid: G, at least 2.

    Raises:
        DSAError: the grid is too small, prompts are too many or occur twice, the model cannot be
            loaded.
        BankError: the bank lacks the split, its pictures or its encoder.
    """
    if isinstance(grid, bool) or not isinstance(grid, int) or grid < 2:
        raise DSAError(f"grid must be a whole number of at least 2, got {grid!r}.")
    asked = _asked(model, prompts)
    key = retrieval_cache.key(
        bank, DIRECTION, split, model_identity(model), COARSE, asked, grid, sources=SOURCES
    )
    if key in _loaded:
        _loaded.move_to_end(key)
        return _loaded[key]  # type: ignore[return-value]
    found = retrieval_cache.load(
        bank, key, CaptionRetrieval, lambda _: build_captions(bank, split, model, asked, grid)
    )
    _remember(key, found)
    return found


def build_captions(
    bank: FeatureBank, split: str, model: str, prompts: tuple[str, ...], grid: int
) -> CaptionRetrieval:
    """`load_captions` without the cache of its result; captions are kept all the same."""
    points = np.linspace(0.0, 1.0, grid)
    pictures = np.concatenate(bank.galleries(split))
    judge = Judge(bank, split)
    told = write_captions(bank, pictures, prompts, points.tolist(), model=model)
    texts = [caption for one in told.captions for row in one for caption in row]
    number: dict[str, int] = {}
    caption_of = np.array([number.setdefault(text, len(number)) for text in texts], np.int32)
    found = judge(texts, np.repeat(pictures, len(prompts) * grid), progress=True)
    shape = (len(pictures) * len(prompts), grid)
    return CaptionRetrieval(
        **_queries(split, pictures, prompts, told),
        curves=OutcomeCurves(
            indptr=np.arange(shape[0] + 1, dtype=np.int64) * grid,
            start=np.tile(_starts(points), shape[0]),
            rank=found.rank,
            top=np.zeros(len(texts), dtype=np.int32),
            item=found.top[:, 0],
            severity=found.severity,
            unsupported=found.unsupported,
        ),
        grid=points,
        written=tuple(number),
        caption_of=caption_of.reshape(shape),
        facts=found.facts.reshape(shape),
        top=found.top.reshape(*shape, -1),
        score=found.score.reshape(*shape, -1),
    )


def live_captions(
    bank: FeatureBank,
    split: str,
    *,
    model: str = "embedded",
    prompts: Sequence[str] | None = None,
) -> LiveCaptions:
    """A split's pictures and prompts, captions to be written on demand; else as `load_captions`."""
    asked = _asked(model, prompts)
    key = f"live {id(bank)} {split} {model_identity(model)} {asked}"
    if key not in _loaded:
        pictures = np.concatenate(bank.galleries(split))
        known = write_captions(bank, pictures, asked, (), model=model)
        _remember(
            key,
            LiveCaptions(
                **_queries(split, pictures, asked, known),
                curves=None,
                model=model,
                judge=Judge(bank, split),
            ),
        )
    return _loaded[key]  # type: ignore[return-value]


def _remember(key: str, retrieval: Retrieval) -> None:
    _loaded[key] = retrieval
    while len(_loaded) > KEPT:
        _loaded.popitem(last=False)


def _asked(model: str, prompts: Sequence[str] | None) -> tuple[str, ...]:
    """The prompts, checked."""
    asked = own_prompts(model) if prompts is None else tuple(prompts)
    if not asked or len(asked) > MOST_PROMPTS or len(set(asked)) < len(asked):
        raise DSAError(
            f"prompts must be 1 to {MOST_PROMPTS} different texts, got {list(asked)[:8]}."
        )
    return asked


def _queries(
    split: str, pictures: NDArray[np.int64], prompts: tuple[str, ...], told: Written
) -> dict[str, Any]:
    """What queries have whether their captions are written already or not."""
    ids = np.repeat(pictures, len(prompts)).astype(np.int32)
    return {
        "direction": DIRECTION,
        "split": split,
        "k_max": K_MAX,
        "query_ids": ids,
        "cluster": ids,
        "kind": np.tile(np.arange(len(prompts), dtype=np.int8), len(pictures)),
        "observation": np.concatenate(
            [np.tile(told.text, (len(pictures), 1)), np.repeat(told.image, len(prompts), axis=0)],
            axis=1,
        ),
        "text_width": told.text.shape[1],
        "prompts": prompts,
    }


def _starts(grid: NDArray[np.float64]) -> NDArray[np.float64]:
    """Where the part of [0, 1] begins that is nearest to each point of the grid."""
    return np.concatenate([[0.0], (grid[1:] + grid[:-1]) / 2])


def _ranked(
    top: NDArray[np.int32], score: NDArray[np.float32], own: int, most: int
) -> list[Ranked]:
    found = zip(top.tolist(), score.tolist(), strict=True)
    return [Ranked(item, cosine, item == own) for item, cosine in found if item >= 0][:most]
