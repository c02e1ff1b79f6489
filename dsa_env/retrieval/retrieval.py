"""One split's queries with their candidates, observations and exact outcome curves."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dsa_env.curves.breakpoints import Curves, curves, protect
from dsa_env.curves.lookup import pack
from dsa_env.outcome import Outcome
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


@dataclass(frozen=True, eq=False)
class Retrieval:
    """Q queries with K candidates each; all arrays are read-only.

    Attributes:
        direction: "text_to_image" or "image_to_text".
        split: whose queries these are.
        k_max: up to which k Recall@k is exact.
        query_ids: [Q] int32 bank ids, of texts or of images.
        cluster: [Q] int32, the image a query belongs to (resample these in a bootstrap).
        kind: [Q] int8, the kind of the query (codes into ``bank.kinds``); None where there is none.
        candidates: [Q, K] int32 bank ids, -1 where there are fewer; by their best rank over g,
            except that positives which did not make the shortlist stand in for the last ones.
        positive: [Q, K] bool, which candidates are relevant.
        fine: [Q, K] float32, similarity of query and fine view.
        coarse: [Q, K] float32, similarity of query and coarse view.
        cross: [Q, K] float32, similarity of the fine and the coarse view.
        text_observation: [Q, Dt] float32 in [-1, 1].
        image_observation: [Q, Di] float32 in [-1, 1].
        curves: the outcome of every query as a function of g.
    """

    direction: str
    split: str
    k_max: int
    query_ids: NDArray[np.int32]
    cluster: NDArray[np.int32]
    kind: NDArray[np.int8] | None
    candidates: NDArray[np.int32]
    positive: NDArray[np.bool_]
    fine: NDArray[np.float32]
    coarse: NDArray[np.float32]
    cross: NDArray[np.float32]
    text_observation: NDArray[np.float32]
    image_observation: NDArray[np.float32]
    curves: OutcomeCurves

    def __post_init__(self) -> None:
        protect(self)

    def __len__(self) -> int:
        return len(self.query_ids)

    def outcomes(self, query: ArrayLike, g: ArrayLike, k: int) -> Outcome:
        """What granularities g [B] in [0, 1] lead to for the queries [B] (positions, not ids)."""
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


def outcome_curves(
    bank: FeatureBank,
    direction: str,
    query_ids: NDArray[np.int32],
    candidates: NDArray[np.int32],
    positive: NDArray[np.bool_],
    fine: NDArray[np.float32],
    coarse: NDArray[np.float32],
    cross: NDArray[np.float32],
) -> OutcomeCurves:
    """Exact curves of [Q, K] components, with the severity of each item that is ever on top."""
    bare = curves(fine, coarse, cross, positive, candidates >= 0)
    item = candidates[bare.query, bare.top]
    query = query_ids[bare.query]
    text, image = (query, item) if direction == "text_to_image" else (item, query)
    pair, where = np.unique(text.astype(np.int64) * bank.n_images + image, return_inverse=True)
    texts, images = np.divmod(pair, bank.n_images)
    return OutcomeCurves(
        bare.indptr,
        bare.start,
        bare.rank,
        bare.top,
        item=item,
        severity=pair_severity(bank, texts, images)[where],
        unsupported=pair_unsupported(bank, texts, images)[where],
    )


def null_retrieval(retrieval: Retrieval, bank: FeatureBank, seed: int) -> Retrieval:
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
