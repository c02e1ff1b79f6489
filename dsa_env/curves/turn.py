"""A whole step of B one-step episodes in one compiled pass: act, be rewarded, see what is next."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dsa_env.curves.jit import compiled, prefetch
from dsa_env.curves.lookup import bin_of, clip_actions

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]

GAMMA = np.uint64(0x9E3779B97F4A7C15)
"""The step of SplitMix64's state."""
AHEAD = 4
"""How many rows before its copy a row is asked for; memory has answered by then."""
LINE = 16
"""Floats in a line of the processor's cache."""


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
def holding(pieces: Floats, at: np.int64, g: float) -> np.int64:
    """The piece that holds g: `at`, where its bin begins, or one of the next."""
    at += np.int64(pieces[at, 0] <= g)  # mostly enough, and no branch that would be guessed wrong
    while pieces[at, 0] <= g:
        at += 1
    return at


@compiled
def earned(
    pieces: Floats, base: Ints, first: NDArray[np.unsignedinteger], query: int, g: float
) -> float:
    """What one query earns at g in [0, 1], a float32 number; see `dsa_env.reward_curves`."""
    at = np.int64(base[query]) + np.int64(first[query, bin_of(g, first.shape[1])])
    return float(pieces[holding(pieces, at, g), 1])


@compiled
def earnings(
    pieces: Floats, base: Ints, first: NDArray[np.unsignedinteger], query: Ints, g: Floats
) -> NDArray[np.float64]:
    """`earned` of queries [B] at g [B], in two passes whose reads do not wait for one another."""
    bins = first.shape[1]
    at = np.empty(len(query), dtype=np.int64)
    value = np.empty(len(query), dtype=np.float64)
    for b in range(len(query)):
        at[b] = np.int64(base[query[b]]) + np.int64(first[query[b], bin_of(g[b], bins)])
        prefetch(pieces, 2 * at[b])
    for b in range(len(query)):
        value[b] = pieces[holding(pieces, at[b], g[b]), 1]
    return value


@compiled
def gather(table: Floats, row: Ints) -> Floats:
    """Rows [B] of a contiguous table [Q, D], each asked for `AHEAD` rows before it is copied."""
    width = table.shape[1]
    rows = np.empty((len(row), width), dtype=np.float32)
    for b in range(len(row)):
        if b + AHEAD < len(row):
            ahead = row[b + AHEAD] * width
            for j in range(0, width, LINE):
                prefetch(table, ahead + j)
        here = row[b]
        for j in range(width):
            rows[b, j] = table[here, j]
    return rows


@compiled
def turn(
    pieces: Any,
    base: Any,
    first: Any,
    table: Any,
    query: Ints,
    action: Floats,
    key: NDArray[np.uint64],
    t: int,
    n: int,
) -> tuple[int, Floats, NDArray[np.float64], Ints, Any]:
    """Act on B queries, be rewarded, and gather what is seen of the next B queries.

    The same as `clip_actions`, the reward of the outcome, `draw` and `gather`.

    Args:
        pieces: the reward curves' [P, 2] float32, of `dsa_env.reward_curves`; None rewards nothing.
        base: the same [Q]; None where `pieces` is.
        first: the same [Q, bins]; None where `pieces` is.
        table: features that are gathered [Q, D] float32, contiguous; None gathers none.
        query: [B] in [0, Q); not checked.
        action: [B], drawn into [0, 1].
        key: of the environments' streams of queries, [B].
        t: how many queries the streams have given with this one.
        n: the number of queries Q.

    Returns:
        The first action that is no number, whose turn is void (else -1); of each of the B: the g
        that was used, the reward (none without `pieces`), the query drawn next and its
        features.
    """
    g, wrong = clip_actions(action)
    value = np.empty(0, dtype=np.float64)
    if pieces is not None and wrong < 0:
        value = earnings(pieces, base, first, query, g)
    following = draw(key, t, n)
    if table is None:
        return wrong, g, value, following, None
    return wrong, g, value, following, gather(table, following)
