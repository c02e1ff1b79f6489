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
BLOCK = 16
"""Episodes handled at once: what they will need of memory is asked for while others are copied."""
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
def piece_of(base: Ints, first: NDArray[np.unsignedinteger], query: int, g: float) -> np.int64:
    """The piece of a query where the bin of g in [0, 1] begins."""
    return np.int64(base[query]) + np.int64(first[query, bin_of(g, first.shape[1])])


@compiled
def worth(pieces: Floats, at: np.int64, g: float) -> float:
    """What g earns: its piece is `at`, where its bin begins, or one of the next."""
    at += np.int64(pieces[at, 0] <= g)  # mostly enough, and no branch that would be guessed wrong
    while pieces[at, 0] <= g:
        at += 1
    return float(pieces[at, 1])


@compiled
def earned(
    pieces: Floats, base: Ints, first: NDArray[np.unsignedinteger], query: int, g: float
) -> float:
    """What one query earns at g in [0, 1], a float32 number; see `dsa_env.reward_curves`."""
    return worth(pieces, piece_of(base, first, query, g), g)


@compiled
def copy_rows(table: Floats, row: Ints, begin: int, stop: int, rows: Floats) -> None:
    """Put the table's rows ``row[begin:stop]`` into the same places of `rows`.

    Each is asked for `AHEAD` rows before it is copied, the next block's first ones too.
    """
    width = table.shape[1]
    for b in range(begin, stop):
        if b + AHEAD < len(row):
            ahead = row[b + AHEAD] * width
            for j in range(0, width, LINE):
                prefetch(table, ahead + j)
        here = row[b]
        for j in range(width):
            rows[b, j] = table[here, j]


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
) -> tuple[bool, Floats, NDArray[np.float64], Ints, Any]:
    """Act on B queries, be rewarded, and gather what is seen of the next B queries.

    The same as `clip_actions`, the reward of the outcome, `draw` and ``table[drawn]``, a `BLOCK`
    at a time, so that the reads of one do not wait for those of the others.

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
        Whether an action is no number, which makes the turn void; of each of the B: the g that was
        used, the reward (undefined without `pieces`), the query drawn next and its features.
    """
    size = len(query)
    g, wrong = clip_actions(action)
    following = draw(key, t, n)
    value = np.empty(size, dtype=np.float64)
    rows = np.empty((size, 0 if table is None else table.shape[1]), dtype=np.float32)
    at = np.empty(BLOCK, dtype=np.int64)
    for begin in range(0, size, BLOCK):
        stop = min(begin + BLOCK, size)
        if pieces is not None:
            for b in range(begin, stop):
                at[b - begin] = piece_of(base, first, query[b], g[b])
                prefetch(pieces, 2 * at[b - begin])
            for b in range(stop, min(stop + BLOCK, size)):
                prefetch(base, query[b])
                prefetch(first, query[b] * first.shape[1] + bin_of(g[b], first.shape[1]))
        if table is not None:
            copy_rows(table, following, begin, stop, rows)
        if pieces is not None:
            for b in range(begin, stop):
                value[b] = worth(pieces, at[b - begin], g[b])
    return wrong, g, value, following, rows
