"""Where blended cosines cross, exactly, and the steps in rank and top item that follow.

Numba's cache of a compiled caller does not notice changes in the files it calls into: after
editing `dsa_env.curves.quartic` or `dsa_env.curves.jit`, remove ``dsa_env/__pycache__``.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dsa_env.curves.jit import compiled, grow, insert, sort_pairs
from dsa_env.curves.quartic import EDGE, LIMIT, STACK, isolate, sign_changes, single_root

TIE = 1e-14
"""Squared cosines relatively nearer than this are tied: what rounding leaves of equal ones."""
OPPOSITE = -1 + 1e-6
"""A cross below this: the blend (nearly) vanishes at g = 0.5, where the cosine jumps."""
PIECES = 16
"""How many equal parts [0, 1] is cut into to tell early who cannot be the best anywhere."""
SAME_PLACE = 1e-12
"""Crossings nearer than this are taken for one."""
FOUND = LIMIT + 2
"""Room for the roots of the quartic and two places where the order changes without one."""

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@compiled
def better_at(f1: float, c1: float, x1: float, f2: float, c2: float, x2: float, g: float) -> float:
    """1 when the first candidate's cosine is strictly larger at g, 0.5 on a tie, else 0.

    Compares N1 |N1| D2 with N2 |N2| D1: the order of N / sqrt(D) without roots and divisions.
    """
    h = 1.0 - g
    n1, n2 = g * f1 + h * c1, g * f2 + h * c2
    square, twice = g * g + h * h, 2.0 * g * h
    first = n1 * abs(n1) * (square + twice * x2)
    second = n2 * abs(n2) * (square + twice * x1)
    if abs(first - second) <= TIE * (abs(first) + abs(second)):
        return 0.5
    return 1.0 if first > second else 0.0


@compiled
def difference_of_squares(
    f1: float, c1: float, x1: float, f2: float, c2: float, x2: float
) -> tuple[float, float, float, float, float]:
    """Bernstein coefficients on [0, 1] of N1^2 D2 - N2^2 D1.

    With s = N / sqrt(D), N = g f + (1-g) c and D = g^2 + 2 g (1-g) x + (1-g)^2, two cosines are
    equal where N1 sqrt(D2) = N2 sqrt(D1), so only at roots of this quartic. In Bernstein form N^2
    is (c^2, c f, f^2) and D is (1, x, 1); the product rule of degree 2 times 2 gives the rest.
    """
    a0, a1, a2 = c1 * c1, c1 * f1, f1 * f1
    b0, b1, b2 = c2 * c2, c2 * f2, f2 * f2
    return (
        a0 - b0,
        ((a0 * x2 + a1) - (b0 * x1 + b1)) / 2.0,
        ((a0 + 4.0 * a1 * x2 + a2) - (b0 + 4.0 * b1 * x1 + b2)) / 6.0,
        ((a1 + a2 * x2) - (b1 + b2 * x1)) / 2.0,
        a2 - b2,
    )


@compiled
def crossings(
    f1: float, c1: float, x1: float, f2: float, c2: float, x2: float, out: Floats, work: Floats
) -> int:
    """Ascending candidates for crossings of two blended cosines in (EDGE, 1 - EDGE).

    Between neighbours in this list the order of the two is constant. Not every entry is a
    crossing: squaring adds roots where the cosines are opposite, and touching curves may be listed.

    Args:
        f1: fine similarity, c1: coarse similarity and x1: cross of the first candidate.
        c1: see f1.
        x1: see f1.
        f2: the same of the second candidate.
        c2: see f2.
        x2: see f2.
        out: [FOUND] filled with the crossings.
        work: [STACK, 6] scratch space.

    Returns:
        How many entries of `out` are filled.
    """
    b0, b1, b2, b3, b4 = difference_of_squares(f1, c1, x1, f2, c2, x2)
    zero = common_zero(f1, c1, f2, c2)
    if zero > 0.0 or x1 < OPPOSITE or x2 < OPPOSITE:
        count = insert(out, isolate(b0, b1, b2, b3, b4, out, work), 0.5)
        return insert(out, count, zero) if zero > 0.0 else count
    changes = sign_changes(b0, b1, b2, b3, b4)
    if changes == 0:
        return 0
    if changes == 1:
        out[0] = single_root(b0, b1, b2, b3, b4)
        return 1 if EDGE < out[0] < 1.0 - EDGE else 0
    return isolate(b0, b1, b2, b3, b4, out, work)


@compiled
def common_zero(f1: float, c1: float, f2: float, c2: float) -> float:
    """The g at which both cosines are zero, one of them changing its sign there; 0 if none.

    Their order may change there although the difference of squares keeps its sign.
    """
    if f1 * c1 < 0.0:
        zero = c1 / (c1 - f1)
        if abs(c2 + zero * (f2 - c2)) < SAME_PLACE and EDGE < zero < 1.0 - EDGE:
            return zero
    elif f2 * c2 < 0.0 and f1 == 0.0 and c1 == 0.0:
        zero = c2 / (c2 - f2)
        if EDGE < zero < 1.0 - EDGE:
            return zero
    return 0.0


@compiled
def at_end(values: Floats, is_positive: NDArray[np.bool_], relevant: Ints) -> tuple[float, int]:
    """Expected rank and top candidate by plain values: the similarities at g = 0 or g = 1."""
    best, top = -2.0, 0
    for j in relevant:
        best = max(best, values[j])
    rank = 1.0
    for j in range(len(is_positive)):
        if values[j] > values[top]:
            top = j
        if not is_positive[j]:
            rank += 1.0 if values[j] > best else (0.5 if values[j] == best else 0.0)
    return rank, top


@compiled
def first_win(
    f: Floats, c: Floats, x: Floats, j: int, i: int, after: float, roots: Floats, work: Floats
) -> float:
    """The first g >= after from which on candidate j is strictly better than i; 2 if never."""
    n = crossings(f[j], c[j], x[j], f[i], c[i], x[i], roots, work)
    begin = after
    for r in range(n + 1):
        end = roots[r] if r < n else 1.0 - EDGE
        if end <= after + SAME_PLACE:
            continue
        if better_at(f[j], c[j], x[j], f[i], c[i], x[i], 0.5 * (begin + end)) == 1.0:
            return begin
        begin = end
    return 2.0


@compiled
def contenders(f: Floats, c: Floats, x: Floats, low: Floats, high: Floats, out: Ints) -> int:
    """Positions of the candidates that may be the best one for some g; returns how many.

    On a piece [a, b] of g that does not reach over 0.5, N is linear and D monotone, so that
    N |N| / D lies between bounds made of their values at a and b. Who stays below another
    candidate's lower bound on every piece is out.

    Args:
        f: fine similarities, [m]. c: coarse similarities. x: crosses.
        c: see f.
        x: see f.
        low: [m] scratch space.
        high: [m] scratch space.
        out: [m] filled with positions, ascending.
    """
    m = len(f)
    out[:m] = 0
    for i in range(PIECES):
        a, b = i / PIECES, (i + 1) / PIECES
        wide, slim = max(a * (1.0 - a), b * (1.0 - b)), min(a * (1.0 - a), b * (1.0 - b))
        for j in range(m):
            first, last = a * f[j] + (1.0 - a) * c[j], b * f[j] + (1.0 - b) * c[j]
            twist = 2.0 * (1.0 - x[j])
            near, far = max(1.0 - wide * twist, 1e-18), max(1.0 - slim * twist, 1e-18)
            least, most = min(first, last), max(first, last)
            low[j] = least * abs(least) / (far if least > 0.0 else near)
            high[j] = most * abs(most) / (near if most > 0.0 else far)
        best = -np.inf
        for j in range(m):
            best = max(best, low[j])
        for j in range(m):
            out[j] |= high[j] >= best - 1e-9
    count = 0
    for j in range(m):
        if out[j]:
            out[count] = j
            count += 1
    return count


@compiled
def envelope(
    f: Floats,
    c: Floats,
    x: Floats,
    among: Ints,
    out_start: Floats,
    out_item: Ints,
    roots: Floats,
    work: Floats,
) -> int:
    """The best candidate as a step function over (0, 1); returns how many steps it has.

    Walks along g: from the best one now to whoever overtakes it first.
    """
    now = among[0]
    for j in among:
        if c[j] > c[now]:
            now = j
    place, count = EDGE, 0
    out_start[0], out_item[0] = place, now
    for _ in range(4 * len(among)):
        nearest, winner = 2.0, now
        for j in among:
            if j == now:
                continue
            g = first_win(f, c, x, j, now, place, roots, work)
            if g > nearest + SAME_PLACE or g > 1.0:
                continue
            if g < nearest - SAME_PLACE or (
                first_win(f, c, x, j, winner, max(g, nearest), roots, work)
                <= max(g, nearest) + SAME_PLACE
            ):
                nearest, winner = g, j
        if winner == now:
            break
        if nearest > place + SAME_PLACE:
            count += 1
        place, now = nearest, winner
        out_start[count], out_item[count] = place, now
    return count + 1


@compiled
def rank_steps(
    f: Floats,
    c: Floats,
    x: Floats,
    is_positive: NDArray[np.bool_],
    best_start: Floats,
    best_item: Ints,
    roots: Floats,
    work: Floats,
) -> tuple[Floats, Floats]:
    """The expected rank of the best positive as a step function over (0, 1).

    Within one step of the positives' envelope every negative is held against one positive.
    """
    where, change = np.empty(4 * len(f) + 8), np.empty(4 * len(f) + 8)
    out_start, out_rank = np.empty(4 * len(f) + 8), np.empty(4 * len(f) + 8)
    count = 0
    for piece in range(len(best_start)):
        p, begin = best_item[piece], best_start[piece]
        end = best_start[piece + 1] if piece + 1 < len(best_start) else 1.0 - EDGE
        rank, n = 1.0, 0
        for j in range(len(is_positive)):
            if is_positive[j]:
                continue
            found = crossings(f[j], c[j], x[j], f[p], c[p], x[p], roots, work)
            place, share = begin, -1.0
            for r in range(found + 1):
                until = roots[r] if r < found else end
                if until <= begin + SAME_PLACE:
                    continue
                until = min(until, end)
                now = better_at(f[j], c[j], x[j], f[p], c[p], x[p], 0.5 * (place + until))
                if share < 0.0:
                    rank += now
                elif now != share:
                    if n == len(where):
                        where, change = grow(where, 2 * n), grow(change, 2 * n)
                    where[n], change[n] = place, now - share
                    n += 1
                share, place = now, until
                if until >= end - SAME_PLACE:
                    break
        if count + n + 1 > len(out_start):
            size = 2 * (count + n + 1)
            out_start, out_rank = grow(out_start, size), grow(out_rank, size)
        out_start[count], out_rank[count] = begin, rank
        count += 1
        sort_pairs(where[:n], change[:n])
        for e in range(n):
            rank += change[e]
            if where[e] <= out_start[count - 1] + SAME_PLACE:
                out_rank[count - 1] = rank
            else:
                out_start[count], out_rank[count] = where[e], rank
                count += 1
    return out_start[:count], out_rank[:count]


@compiled
def outcome_steps(
    fine: NDArray[np.float32],
    coarse: NDArray[np.float32],
    cross: NDArray[np.float32],
    positive: NDArray[np.bool_],
    valid: NDArray[np.bool_],
) -> tuple[Ints, Floats, Floats, Floats]:
    """The arrays of `breakpoints.Curves` for components [Q, K], all but one as floats."""
    n, k = fine.shape
    indptr = np.zeros(n + 1, dtype=np.int64)
    capacity = 8 * n + 16
    start = np.empty(capacity, dtype=np.float64)
    rank = np.empty(capacity, dtype=np.float64)
    top = np.empty(capacity, dtype=np.float64)
    f, c, x = np.empty(k), np.empty(k), np.empty(k)
    places = np.empty(k, dtype=np.int64)
    is_positive = np.empty(k, dtype=np.bool_)
    hopeful = np.empty(k, dtype=np.int64)
    relevant = np.empty(k, dtype=np.int64)
    low, high = np.empty(k), np.empty(k)
    work, roots = np.empty((STACK, 6)), np.empty(FOUND)
    top_start, top_item = np.empty(4 * k + 8), np.empty(4 * k + 8, dtype=np.int64)
    best_start, best_item = np.empty(4 * k + 8), np.empty(4 * k + 8, dtype=np.int64)
    for q in range(n):
        m, p = 0, 0
        for j in range(k):
            if valid[q, j]:
                f[m], c[m], x[m], places[m] = fine[q, j], coarse[q, j], cross[q, j], j
                is_positive[m] = positive[q, j]
                if positive[q, j]:
                    relevant[p] = m
                    p += 1
                m += 1
        able = contenders(f[:m], c[:m], x[:m], low, high, hopeful)
        tops = envelope(f, c, x, hopeful[:able], top_start, top_item, roots, work)
        bests = envelope(f, c, x, relevant[:p], best_start, best_item, roots, work)
        step_start, step_rank = rank_steps(
            f, c, x, is_positive[:m], best_start[:bests], best_item[:bests], roots, work
        )
        first = indptr[q]
        s = first
        need = s + tops + len(step_start) + 4
        if need > capacity:
            capacity = max(2 * capacity, need)
            start, rank, top = grow(start, capacity), grow(rank, capacity), grow(top, capacity)
        # The point g = 0, both step functions merged over the open interval, the point g = 1.
        start[s], rank[s], top[s] = 0.0, *at_end(c, is_positive[:m], relevant[:p])
        s += 1
        i, j = 0, 0
        while True:
            here = max(top_start[i], step_start[j])
            start[s], rank[s], top[s] = max(here, EDGE), step_rank[j], top_item[i]
            s += 1
            following_top = top_start[i + 1] if i + 1 < tops else 2.0
            following_step = step_start[j + 1] if j + 1 < len(step_start) else 2.0
            following = min(following_top, following_step)
            if following > 1.0:
                break
            if following_top <= following + SAME_PLACE:
                i += 1
            if following_step <= following + SAME_PLACE:
                j += 1
        start[s], rank[s], top[s] = 1.0 - EDGE, *at_end(f, is_positive[:m], relevant[:p])
        s += 1
        kept = first
        for t in range(first, s):
            if t > first and rank[t] == rank[kept - 1] and top[t] == top[kept - 1]:
                continue
            start[kept], rank[kept], top[kept] = start[t], rank[t], top[t]
            kept += 1
        for t in range(first, kept):
            top[t] = places[int(top[t])]
        start[first] = 0.0
        indptr[q + 1] = kept
    return indptr, start[: indptr[n]], rank[: indptr[n]], top[: indptr[n]]
