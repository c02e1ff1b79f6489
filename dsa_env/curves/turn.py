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
SOON = 32
"""How many queries before its use a read of a query's reward is asked for."""
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
def remainder(number: np.uint64, n: np.uint64, inverse: np.uint64) -> np.int64:
    """``number % n`` for n in [1, 2**32), by multiplication: `inverse` is ``(2**64 - 1) // n``.

    The upper half of ``number * inverse`` is less than one below ``number / n``, and what the sum
    of its parts leaves out is less than three, so the rest is below 4 n. Two subtractions end it,
    each kept where it leads to the smaller number: below zero is far above. Processors multiply
    vectors of numbers; they divide them one by one.
    """
    low = np.uint64(0xFFFFFFFF)
    above, below = number >> np.uint64(32), number & low
    upper, lower = inverse >> np.uint64(32), inverse & low
    quotient = above * upper + (above * lower >> np.uint64(32)) + (below * upper >> np.uint64(32))
    rest = number - quotient * n
    rest = min(rest, rest - (n + n))
    return np.int64(min(rest, rest - n))


@compiled
def draw(key: NDArray[np.uint64], t: int, n: int) -> Ints:
    """The t-th queries [B] of the streams with these keys: ``scatter(key + t * GAMMA) % n``."""
    drawn = np.empty(len(key), dtype=np.int64)
    step, choices = np.uint64(t) * GAMMA, np.uint64(n)
    inverse = np.uint64(0xFFFFFFFFFFFFFFFF) // choices
    for b in range(len(key)):
        drawn[b] = remainder(scatter(key[b] + step), choices, inverse)
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
def all_earned(
    pieces: Floats, base: Ints, first: NDArray[np.unsignedinteger], query: Ints, g: Floats
) -> NDArray[np.float64]:
    """`earned` by each of B queries at its g: [B].

    A query's bin is asked of memory `SOON` queries before its piece is, and that as many before
    it is looked at, so that nothing waits.
    """
    size, bins = len(query), first.shape[1]
    value = np.empty(size, dtype=np.float64)
    at = np.empty(SOON, dtype=np.int64)
    for b in range(size + 2 * SOON):
        if b < size:
            prefetch(base, query[b])
            prefetch(first, query[b] * bins + bin_of(g[b], bins))
        now, soon = b - 2 * SOON, b - SOON
        if now >= 0:
            value[now] = worth(pieces, at[b % SOON], g[now])
        if 0 <= soon < size:
            at[b % SOON] = piece_of(base, first, query[soon], g[soon])
            prefetch(pieces, 2 * at[b % SOON])
    return value


@compiled
def gather(table: Floats, row: Ints) -> Floats:
    """The rows [B] of a table, ``table[row]``; each is asked for `AHEAD` rows before its copy."""
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
) -> tuple[bool, Floats, NDArray[np.float64], Ints, Any]:
    """Act on B queries, be rewarded, and gather what is seen of the next B queries.

    The same as `clip_actions`, the reward of the outcome, `draw` and ``table[drawn]``.

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
    g, wrong = clip_actions(action)
    if pieces is None:
        value = np.empty(len(query), dtype=np.float64)
    else:
        value = all_earned(pieces, base, first, query, g)
    following = draw(key, t, n)
    if table is None:
        rows = np.empty((len(query), 0), dtype=np.float32)
    else:
        rows = gather(table, following)
    return wrong, g, value, following, rows
