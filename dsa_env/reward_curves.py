"""What each query earns as a function of g, where the reward is one that does not look at g."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dsa_env.curves.breakpoints import protect, spans
from dsa_env.curves.lookup import first_segments
from dsa_env.outcome import Outcome
from dsa_env.rewards import ClippedReward, ReciprocalRankReward, Reward, evaluate

if TYPE_CHECKING:
    from dsa_env.retrieval.retrieval import OutcomeCurves

Floats = NDArray[np.float32]

BINS, MANY_BINS, MANY = 16, 64, 10
"""Equal parts of [0, 1] for each of which it is kept where a query's pieces begin; more of them
where a query has more than so many pieces on average."""
MOST = 1 << 23
"""Segments up to which rewards are joined; the pieces live in memory, outcomes on disk."""


@dataclass(frozen=True, eq=False)
class RewardCurves:
    """The rewards of Q queries, each constant on a few pieces of [0, 1], P pieces in all.

    Neighbouring segments of an outcome curve that earn the same are one piece: a hit stays a hit
    at every rank up to k. A query has some five pieces where it has a hundred segments, so that
    all of them lie in the processor's cache and a lookup hardly waits for memory.

    Attributes:
        pieces: [P, 2] float32: where each piece ends (infinity for a query's last) and what it
            earns.
        base: [Q] int32, the first piece of each query.
        first: [Q, bins] which of its pieces holds the left edge of each bin; bytes, if they do.
    """

    pieces: Floats
    base: NDArray[np.int32]
    first: NDArray[np.unsignedinteger]

    def __post_init__(self) -> None:
        protect(self)


def reward_curves(curves: OutcomeCurves, reward: Reward, k: int) -> RewardCurves | None:
    """The rewards of all queries as functions of g.

    Args:
        curves: the outcome curves of Q queries, S segments in all.
        reward: any reward.
        k: the cut-off of the recall.

    Returns:
        None where the reward may look at g itself or is a vector, and above `MOST` segments.
    """
    if type(reward) not in (ClippedReward, ReciprocalRankReward) or len(curves.records) > MOST:
        return None
    counts: list[NDArray[np.int64]] = []
    parts: list[Floats] = []
    for begin, end in spans(curves.indptr):
        indptr = curves.indptr[begin : end + 1]
        records = curves.records[indptr[0] : indptr[-1]]
        query, nowhere = np.repeat(np.arange(begin, end), np.diff(indptr)), np.zeros(len(records))
        outcome = Outcome.from_rank(
            query, nowhere, records["rank"], records["severity"], records["item"], k
        )
        values, _ = evaluate(reward, outcome)
        last = np.append(values[1:] != values[:-1], True) | np.isinf(records["end"])
        counts.append(np.diff(np.append(0, np.cumsum(last))[indptr - indptr[0]]))
        parts.append(np.stack([records["end"], values], axis=1)[last])
    pieces, indptr = np.concatenate(parts), np.append(0, np.cumsum(np.concatenate(counts)))
    bins = MANY_BINS if len(pieces) > MANY * len(indptr) else BINS
    first = np.empty((len(indptr) - 1, bins), dtype=np.uint32)
    first_segments(indptr, pieces[:, 0].copy(), first)
    first -= indptr[:-1, None].astype(np.uint32)
    base = indptr[:-1].astype(np.int32)
    return RewardCurves(pieces, base, first.astype(np.min_scalar_type(first.max())))
