"""The roots of a quartic in (0, 1), all of them: Bernstein form, signs, subdivision, Newton.

Numba's cache of a compiled caller does not notice changes in the files it calls into: after
editing this one, remove ``dsa_env/__pycache__``.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dsa_env.curves.jit import compiled

EDGE = 1e-9
"""Roots are looked for in (EDGE, 1 - EDGE)."""
CLOSE = 1e-13
"""A root is found when a step of Newton's method moves it by less."""
NARROW = 1e-11
"""An interval of this width is not split further: a double root."""
STACK = 64
"""How many intervals may wait; each halving adds one."""
LIMIT = 6
"""More roots than a quartic has."""

Floats = NDArray[np.float64]


@compiled
def sign_changes(b0: float, b1: float, b2: float, b3: float, b4: float) -> int:
    """Changes of sign along Bernstein coefficients, zeros left out.

    By Descartes' rule the polynomial has at most so many roots inside the interval, and exactly
    one where there is one change.
    """
    count, last = 0, b0
    for value in (b1, b2, b3, b4):
        if value != 0.0:
            if (value > 0.0) != (last > 0.0) and last != 0.0:
                count += 1
            last = value
    return count


@compiled
def single_root(b0: float, b1: float, b2: float, b3: float, b4: float) -> float:
    """The root in (0, 1) of a quartic whose Bernstein coefficients change their sign once.

    Newton's method inside a bracket that is halved whenever a step would leave it.
    """
    first = b0 if b0 != 0.0 else b1 if b1 != 0.0 else b2 if b2 != 0.0 else b3
    rising = first < 0.0
    # The same polynomial in powers of t, by forward differences of the coefficients.
    d0, d1, d2, d3 = b1 - b0, b2 - b1, b3 - b2, b4 - b3
    e0, e1, e2 = d1 - d0, d2 - d1, d3 - d2
    p1, p2, p3, p4 = 4.0 * d0, 6.0 * e0, 4.0 * (e1 - e0), (e2 - e1) - (e1 - e0)
    low, high = 0.0, 1.0
    t = min(max(b0 / (b0 - b4), 0.02), 0.98) if b0 * b4 < 0.0 else 0.5
    for _ in range(64):
        value = b0 + t * (p1 + t * (p2 + t * (p3 + t * p4)))
        if value == 0.0:
            break
        if (value < 0.0) == rising:
            low = t
        else:
            high = t
        slope = p1 + t * (2.0 * p2 + t * (3.0 * p3 + t * 4.0 * p4))
        step = t - value / slope if slope != 0.0 else -1.0
        if not low < step < high:  # an end may be a root of its own
            step = 0.5 * (low + high)
        moved = abs(step - t)
        t = step
        if moved < CLOSE:
            break
    return t


@compiled
def isolate(
    b0: float, b1: float, b2: float, b3: float, b4: float, out: Floats, work: Floats
) -> int:
    """Ascending roots in (EDGE, 1 - EDGE) of a quartic in Bernstein form.

    Intervals with several changes of sign are halved (de Casteljau) until each has one or is
    NARROW. `work` holds the right halves that are still to be looked at.
    """
    count, depth, low, high = 0, 0, 0.0, 1.0
    while True:
        changes = sign_changes(b0, b1, b2, b3, b4)
        if b0 == 0.0 and low > EDGE and count < LIMIT:
            out[count] = low  # a root exactly where an interval was halved
            count += 1
        if changes > 1 and high - low > NARROW and depth < STACK:
            middle = 0.5 * (low + high)
            m01, m12, m23, m34 = 0.5 * (b0 + b1), 0.5 * (b1 + b2), 0.5 * (b2 + b3), 0.5 * (b3 + b4)
            m02, m13, m24 = 0.5 * (m01 + m12), 0.5 * (m12 + m23), 0.5 * (m23 + m34)
            m03, m14 = 0.5 * (m02 + m13), 0.5 * (m13 + m24)
            m04 = 0.5 * (m03 + m14)
            work[depth, 0], work[depth, 1], work[depth, 2] = m04, m14, m24
            work[depth, 3], work[depth, 4], work[depth, 5] = m34, b4, high
            depth += 1
            b1, b2, b3, b4, high = m01, m02, m03, m04, middle
            continue
        if changes >= 1:
            root = single_root(b0, b1, b2, b3, b4) if changes == 1 else 0.5
            root = low + (high - low) * root
            if EDGE < root < 1.0 - EDGE and count < LIMIT:
                out[count] = root
                count += 1
        if depth == 0:
            return count
        depth -= 1
        low = high
        b0, b1, b2 = work[depth, 0], work[depth, 1], work[depth, 2]
        b3, b4, high = work[depth, 3], work[depth, 4], work[depth, 5]
