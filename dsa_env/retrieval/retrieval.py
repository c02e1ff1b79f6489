"""One split's queries, what an agent sees of them, and their exact outcome curves."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dsa_env.bank.format import release
from dsa_env.bank.store import Store
from dsa_env.blend import blended_cosine
from dsa_env.curves.breakpoints import Curves, curves, protect
from dsa_env.curves.lookup import pack
from dsa_env.outcome import Outcome
from dsa_env.progress import bar
from dsa_env.retrieval.severity import pair_severity, pair_unsupported

if TYPE_CHECKING:
    from dsa_env.bank import FeatureBank

K_MAX = 10
"""The largest k of Recall@k for which a shortlist is made."""


@dataclass(frozen=True, eq=False)
class OutcomeCurves(Curves):
    """Curves that also say what the item on top is and how much of the assertion fails on it.

    Attributes:
        item: [S] int32, bank id of the item on top.
        severity: [S] float32 in [0, 1], as the reward charges it.
        unsupported: [S] float32 in [0, 1], the true share of asserted facts that do not hold;
            NaN where there are none.
        records: [S], the same once more as `dsa_env.curves.lookup.look_up` reads it; made from
            the others where it is not given, as `first` is.
        first: [Q, bins], see there.
    """

    item: NDArray[np.int32]
    severity: NDArray[np.float32]
    unsupported: NDArray[np.float32]
    records: Any = None
    first: Any = None

    def __post_init__(self) -> None:
        """Pack, and make the arrays read-only."""
        if self.records is None or self.first is None:
            records, first = pack(self.indptr, self.start, self.rank, self.severity, self.item)
            object.__setattr__(self, "records", records)
            object.__setattr__(self, "first", first)
        super().__post_init__()


@dataclass(frozen=True)
class Ranked:
    """An item on a query's list.

    Attributes:
        item: its bank id.
        score: its cosine with what was asked.
        positive: whether it is a right answer.
    """

    item: int
    score: float
    positive: bool


@dataclass(frozen=True, eq=False)
class Retrieval(ABC):
    """Q queries of a split and what each g leads to: all that an environment asks of its data.

    Attributes:
        direction: the name that the environment was asked for; see `dsa_env.directions`.
        split: whose queries these are.
        k_max: up to which k Recall@k is exact.
        query_ids: [Q] int32 bank ids, of texts or of images.
        cluster: [Q] int32, the image a query belongs to (resample these in a bootstrap).
        kind: [Q] int8, the kind of the query (codes into `kinds`); None where there is none.
        observation: [Q, Dt + Di] float32 in [-1, 1], of texts and of images side by side, so that
            what is seen of a query lies in one place.
        text_width: Dt.
        curves: the outcome of every query as a function of g; None where it is found on demand.
    """

    direction: str
    split: str
    k_max: int
    query_ids: NDArray[np.int32]
    cluster: NDArray[np.int32]
    kind: NDArray[np.int8] | None
    observation: NDArray[np.float32]
    text_width: int
    curves: OutcomeCurves | None

    def __post_init__(self) -> None:
        protect(self)

    def observed(self, rows: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        """Rows [B, Dt + Di] of `observation` by name, as views: ``text`` [B, Dt], ``image``."""
        return {"text": rows[:, : self.text_width], "image": rows[:, self.text_width :]}

    def __len__(self) -> int:
        return len(self.query_ids)

    def outcomes(self, query: ArrayLike, g: ArrayLike, k: int) -> Outcome:
        """What granularities g [B] in [0, 1] lead to for the queries [B] (positions, not ids)."""
        assert self.curves is not None
        asked = np.asarray(query)
        segment = self.curves.segment(asked, g)
        return Outcome.from_rank(
            query=asked,
            granularity=g,
            rank=self.curves.rank[segment],
            severity=self.curves.severity[segment],
            retrieved=self.curves.item[segment],
            k=k,
        )

    @property
    @abstractmethod
    def asks_pictures(self) -> bool:
        """Whether the queries are pictures, else texts."""

    @property
    @abstractmethod
    def finds_pictures(self) -> bool:
        """Whether what they retrieve is pictures, else texts."""

    @abstractmethod
    def question(self, bank: FeatureBank, query: int) -> str:
        """A query in words."""

    def kinds(self, bank: FeatureBank) -> tuple[str, ...]:
        """The names that `kind` holds codes into."""
        return bank.kinds

    @abstractmethod
    def best(self, bank: FeatureBank, query: int, g: float, most: int) -> list[Ranked]:
        """The first `most` items for a query at g."""

    def told(self, bank: FeatureBank, query: int, g: float | None) -> tuple[str, ...]:
        """Lines to show below a query: what belongs to it, or what g (None: not yet) made of it."""
        return ()

    def null(self, bank: FeatureBank, seed: int) -> Retrieval | None:
        """A twin in which nothing about a query predicts which view serves it.

        None where fine and coarse cannot be taken apart, so that there is no such world.
        """
        return None


@dataclass(frozen=True, eq=False)
class ShortlistRetrieval(Retrieval):
    """Queries that are compared with K candidates each.

    Attributes:
        candidates: [Q, K] int32 bank ids, -1 where there are fewer; by their best rank over g,
            except that positives which did not make the shortlist stand in for the last ones.
        positive: [Q, K] bool, which candidates are relevant.
        fine: [Q, K] float32, similarity of query and fine view.
        coarse: [Q, K] float32, similarity of query and coarse view.
        cross: [Q, K] float32, similarity of the fine and the coarse view.
    """

    curves: OutcomeCurves
    candidates: NDArray[np.int32]
    positive: NDArray[np.bool_]
    fine: NDArray[np.float32]
    coarse: NDArray[np.float32]
    cross: NDArray[np.float32]

    @property
    def asks_pictures(self) -> bool:
        """Whether the queries are pictures."""
        return self.direction == "image_to_text"

    @property
    def finds_pictures(self) -> bool:
        """Whether pictures are retrieved."""
        return self.direction == "text_to_image"

    def question(self, bank: FeatureBank, query: int) -> str:
        """The text, or the picture's number."""
        asked = int(self.query_ids[query])
        if self.asks_pictures:
            return f"picture {asked}"
        return f"text {asked}" if bank.texts is None else bank.texts[asked]

    def best(self, bank: FeatureBank, query: int, g: float, most: int) -> list[Ranked]:
        """The first candidates at g, ranked on the fly."""
        valid = np.flatnonzero(self.candidates[query] >= 0)
        fine, coarse, cross = (part[query, valid] for part in (self.fine, self.coarse, self.cross))
        score = blended_cosine(fine, coarse, cross, g)
        return [
            Ranked(
                int(self.candidates[query, valid[i]]),
                float(score[i]),
                bool(self.positive[query, valid[i]]),
            )
            for i in np.argsort(-score, kind="stable")[:most]
        ]

    def told(self, bank: FeatureBank, query: int, g: float | None) -> tuple[str, ...]:
        """The first two texts that belong to a picture."""
        if not self.asks_pictures:
            return ()
        ids = bank.captions_of.row(int(self.query_ids[query]))[:2]
        texts = bank.texts
        return tuple(f"text {i}" if texts is None else texts[i] for i in ids)

    def null(self, bank: FeatureBank, seed: int) -> ShortlistRetrieval:
        """`null_retrieval`."""
        return null_retrieval(self, bank, seed)


CHUNK = 1 << 20
"""Pairs of query and candidate whose curves are made at once; bounds the memory of large banks."""


def outcome_curves(
    bank: FeatureBank,
    direction: str,
    query_ids: NDArray[np.int32],
    candidates: NDArray[np.int32],
    positive: NDArray[np.bool_],
    fine: NDArray[np.float32],
    coarse: NDArray[np.float32],
    cross: NDArray[np.float32],
    store: Store | None = None,
) -> OutcomeCurves:
    """Exact curves of [Q, K] components, with the severity of each item that is ever on top.

    Args:
        bank: the bank.
        direction: "text_to_image" or "image_to_text".
        query_ids: see `ShortlistRetrieval`, as the five following.
        candidates: see there.
        positive: see there.
        fine: see there.
        coarse: see there.
        cross: see there.
        store: where the curves' arrays are kept, by the names ``curves.NAME``; by default in
            memory.
    """
    kept = Store() if store is None else store
    queries, size = candidates.shape
    step = max(1, CHUNK // size)
    counts = np.empty(queries, dtype=np.int64)
    with bar(f"Curves {direction.replace('_', ' ')}", queries) as shown:
        for begin in range(0, queries, step):
            part = slice(begin, begin + step)
            asked, items = query_ids[part], candidates[part]
            bare = curves(fine[part], coarse[part], cross[part], positive[part], items >= 0)
            counts[part] = np.diff(bare.indptr)
            item = items[bare.query, bare.top]
            columns: dict[str, NDArray[Any]] = {
                "start": bare.start, "rank": bare.rank, "top": bare.top, "item": item,
                **_judged(bank, direction, asked[bare.query], item),
            }  # fmt: skip
            for name, column in columns.items():
                kept.append(f"curves.{name}", column)
            for array in (candidates, positive, fine, coarse, cross):
                release(array)
            shown.advance(len(asked))
    indptr = np.append(0, np.cumsum(counts))
    names = ("start", "rank", "top", "item", "severity", "unsupported")
    found = {name: np.asarray(kept.joined(f"curves.{name}")) for name in names}
    records, first = pack(
        indptr, found["start"], found["rank"], found["severity"], found["item"],
        lambda name, *form: np.asarray(kept.allocate(f"curves.{name}", *form)),
    )  # fmt: skip
    return OutcomeCurves(indptr, **found, records=records, first=first)


def _judged(
    bank: FeatureBank, direction: str, query: NDArray[np.int32], item: NDArray[np.int32]
) -> dict[str, NDArray[np.float32]]:
    """Severity and unsupported share of each pair of query and item, bank ids [S]."""
    text, image = (query, item) if direction == "text_to_image" else (item, query)
    pair, where = np.unique(text.astype(np.int64) * bank.n_images + image, return_inverse=True)
    texts, images = np.divmod(pair, bank.n_images)
    return {
        "severity": pair_severity(bank, texts, images)[where],
        "unsupported": pair_unsupported(bank, texts, images)[where],
    }


def null_retrieval(
    retrieval: ShortlistRetrieval, bank: FeatureBank, seed: int
) -> ShortlistRetrieval:
    """The same retrieval with each query's fine components taken from another query.

    Positives get the other query's positives' components and negatives its negatives', in their
    order (repeated where it has fewer). Nothing about a query then predicts which view serves it,
    so what an oracle still gains over the best fixed g is luck.

    Args:
        retrieval: what to start from; stays as it is.
        bank: its bank.
        seed: of the pairing, which gives no query its own components where there are two or more.
    """
    n = len(retrieval)
    ring = np.random.default_rng(seed).permutation(n)
    donor = np.empty(n, dtype=np.int64)
    donor[ring] = np.roll(ring, 1)
    source = _aligned(retrieval.positive, retrieval.candidates >= 0, donor)
    fine = np.take_along_axis(retrieval.fine[donor], source, axis=1)
    cross = np.take_along_axis(retrieval.cross[donor], source, axis=1)
    changed = outcome_curves(
        bank,
        retrieval.direction,
        retrieval.query_ids,
        retrieval.candidates,
        retrieval.positive,
        fine,
        retrieval.coarse,
        cross,
    )
    return replace(retrieval, fine=fine, cross=cross, curves=changed)


def _aligned(
    positive: NDArray[np.bool_], valid: NDArray[np.bool_], donor: NDArray[np.int64]
) -> NDArray[Any]:
    """For each place of a query the place of its donor that plays the same part, [Q, K].

    The i-th positive goes with the donor's i-th positive and the j-th negative with the donor's
    j-th, around again where the donor has fewer (a donor without negatives gives its positives').
    """
    role = np.where(valid, np.where(positive, 0, 1), 2)
    order = np.argsort(role, axis=1, kind="stable")  # positives, negatives, padding
    number = np.empty_like(order)
    np.put_along_axis(number, order, np.arange(role.shape[1])[None], axis=1)
    positives, filled = positive.sum(axis=1), valid.sum(axis=1)
    negatives = filled - positives
    number = number - np.where(role == 0, 0, positives[:, None])  # i or j of each place
    has = np.where(role == 0, positives[donor][:, None], negatives[donor][:, None])
    begin = np.where((role == 0) | (has == 0), 0, positives[donor][:, None])
    has = np.where(has == 0, positives[donor][:, None], has)
    return np.take_along_axis(order[donor], begin + number % has, axis=1)
