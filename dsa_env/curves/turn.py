"""A whole step of B one-step episodes in one compiled pass: act, be rewarded, see what is next."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dsa_env.curves.jit import compiled, prefetch

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]

GAMMA = np.uint64(0x9E3779B97F4A7C15)
"""The step of SplitMix64's state."""
AHEAD = 16
"""How many rows before its lookup a segment is asked for; memory has answered by then."""


@compiled
def scatter(state: np.uint64) -> np.uint64:
    """The SplitMix64 output function: a bijection that scatters nearby states.

    Steele, Lea & Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014; the
    constants are those of Vigna's reference implementation (splitmix64.c). With
    ``state = key + t * GAMMA`` it yields the t-th number of the stream of a key, so the numbers of
    many streams come without a generator for each.
    """
    mixed = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


@compiled
def remainder(number: np.uint64, n: np.uint64, share: float) -> np.int64:
    """``number % n`` for n in [2, 2**32), by multiplication: `share` is 1 / n.

    The quotient in floating point is off by no more than what 53 bits leave of 64, so that what
    remains is small, and off by at most one after a second time; vectors of numbers can do it.
    """
    rest = np.int64(number - np.uint64(np.float64(number) * share) * n)
    rest -= np.int64(np.floor(np.float64(rest) * share)) * np.int64(n)
    rest += np.int64(n) if rest < 0 else np.int64(0)
    return rest - (np.int64(n) if rest >= np.int64(n) else np.int64(0))


@compiled
def draw(key: NDArray[np.uint64], t: int, n: int) -> Ints:
    """The t-th queries [B] of the streams with these keys: ``scatter(key + t * GAMMA) % n``."""
    drawn = np.zeros(len(key), dtype=np.int64)
    if n > 1:
        share, step = 1.0 / n, np.uint64(t) * GAMMA
        for b in range(len(key)):
            drawn[b] = remainder(scatter(key[b] + step), np.uint64(n), share)
    return drawn


@compiled
def clipped(rank: np.float32, severity: np.float32, k: int, weights: Floats) -> float:
    """`dsa_env.rewards.ClippedReward` of one outcome, to the bit, or `ReciprocalRankReward`."""
    gain = np.float32(1) / rank if weights[4] else np.float32(rank <= k)
    value = weights[0] * gain + weights[1] * -severity
    return float(min(max(value, weights[2]), weights[3]))


@compiled
def settle(
    records: NDArray[np.void],
    first: NDArray[np.unsignedinteger],
    query: int,
    g: float,
    k: int,
    weights: Floats,
) -> tuple[float, np.int64]:
    """The reward and the segment of one query at g, a float32 number in [0, 1]; see `turn`."""
    bins = first.shape[1]
    at = np.int64(first[query, min(int(g * bins), bins - 1)])
    while records[at].end <= g:
        at += 1
    return clipped(records[at].rank, records[at].severity, k, weights), at


@compiled
def turn(
    records: NDArray[np.void],
    first: NDArray[np.unsignedinteger],
    text: Any,
    image: Any,
    query: Ints,
    action: Floats,
    key: NDArray[np.uint64],
    t: int,
    k: int,
    weights: Floats,
) -> tuple[int, Floats, Ints, NDArray[np.float64], Ints, Any, Any]:
    """Act on B queries, look up what that leads to, and gather what is seen of the next B queries.

    The same as `clip_actions`, ``curves.segment``, the reward, `draw` and two gathers; in one pass
    because the copying keeps the memory bus busy while the lookups wait for their segments, which
    were asked for `AHEAD` rows before.

    Args:
        records: the segments of the outcome curves [S], of `dsa_env.curves.lookup.pack`.
        first: where the bins' segments begin [Q, bins], see there.
        text: features that are gathered [Q, Dt] float32, contiguous; None gathers none.
        image: the same [Q, Di]; None where `text` is.
        query: [B] in [0, Q); not checked.
        action: [B], drawn into [0, 1].
        key: of the environments' streams of queries, [B].
        t: how many queries the streams have given with this one.
        k: the cut-off of the recall.
        weights: [5] alpha, beta, low and high of the clipped reward, and 1 where its gain is the
            reciprocal rank, 0 where it is the recall; [0] for another reward.

    Returns:
        The first action that is no number, where it stopped (else -1); of each of the B: the g
        that was used, the segment that it lies in, the reward (another one: not filled), the query
        drawn next and its features.
    """
    size, bins = len(query), first.shape[1]
    g = np.empty(size, dtype=np.float32)
    segment = np.empty(size, dtype=np.int64)
    value = np.empty(size, dtype=np.float64)
    following = draw(key, t, len(first))
    texts: Any = None if text is None else np.empty((size, text.shape[1]), dtype=np.float32)
    images: Any = None if image is None else np.empty((size, image.shape[1]), dtype=np.float32)
    for b in range(size):
        if np.isnan(action[b]):
            return b, g, segment, value, following, texts, images
        g[b] = min(max(action[b], np.float32(0)), np.float32(1))
        segment[b] = query[b] * bins + min(int(g[b] * bins), bins - 1)
        prefetch(first, segment[b])
    flat = first.ravel()
    for early in range(size + AHEAD):
        if early < size:
            segment[early] = np.int64(flat[segment[early]])
            prefetch(records, segment[early])
        b = early - AHEAD
        if b < 0:
            continue
        if text is not None:
            row = following[b]
            for j in range(text.shape[1]):
                texts[b, j] = text[row, j]
            for j in range(image.shape[1]):
                images[b, j] = image[row, j]
        at = segment[b]
        while records[at].end <= g[b]:
            at += 1
        segment[b] = at
        if len(weights):
            value[b] = clipped(records[at].rank, records[at].severity, k, weights)
    return -1, g, segment, value, following, texts, images
