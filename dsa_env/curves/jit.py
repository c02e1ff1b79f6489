"""Compiling functions with numba, cached on disk where possible, and helpers compiled so."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba
import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba.core import types
from numba.core.cgutils import get_or_insert_function
from numba.extending import intrinsic
from numpy.typing import NDArray

Floats = NDArray[np.float64]
F = TypeVar("F", bound=Callable[..., Any])


def compiled(function: F) -> F:
    """`numba.njit` that releases the GIL and keeps the machine code for the next process.

    Dividing by zero gives infinity, as in numpy.

    Where neither the package's folder nor the user's cache can be written (read-only
    installations), the function is compiled anew in each process instead.
    """
    try:
        return cast(F, numba.njit(function, cache=True, nogil=True, error_model="numpy"))
    except RuntimeError:  # "cannot cache function: no locator available for file ..."
        return cast(F, numba.njit(function, nogil=True, error_model="numpy"))


def _prefetch(_context: Any, array: Any, index: Any) -> Any:
    """In compiled code: ask memory for entry `index` of a contiguous array, its axes in one.

    Nothing waits for it; the processor's cache has the entry some hundred nanoseconds later.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array_type = signature.args[0]
        data = context.make_array(array_type)(context, builder, arguments[0]).data
        place = builder.gep(data, [arguments[1]])
        pointer, number = ir.IntType(8).as_pointer(), ir.IntType(32)
        place = builder.bitcast(place, pointer)
        form = ir.FunctionType(ir.VoidType(), [pointer, number, number, number])
        function = get_or_insert_function(  # type: ignore[no-untyped-call]
            builder.module, form, "llvm.prefetch.p0"
        )
        # for reading (0), to be kept in every level of the cache (3), data (1)
        builder.call(function, [place, number(0), number(3), number(1)])
        return context.get_dummy_value()

    return types.void(array, index), generate


prefetch: Any = intrinsic(_prefetch)


@compiled
def grow(array: NDArray[np.float64], capacity: int) -> NDArray[np.float64]:
    """A larger copy of an array."""
    larger = np.empty(capacity, dtype=array.dtype)
    larger[: len(array)] = array
    return larger


@compiled
def insert(values: Floats, count: int, value: float) -> int:
    """Put one more value among the first `count` ascending ones; returns how many there are."""
    place = count
    while place > 0 and values[place - 1] > value:
        values[place] = values[place - 1]
        place -= 1
    values[place] = value
    return count + 1


@compiled
def sort_pairs(keys: Floats, values: Floats) -> None:
    """Sort keys, ascending, and move their values along (Shell's sort)."""
    n, gap = len(keys), 1
    while gap < n // 3:
        gap = 3 * gap + 1
    while gap > 0:
        for i in range(gap, n):
            key, value, place = keys[i], values[i], i
            while place >= gap and keys[place - gap] > key:
                keys[place], values[place] = keys[place - gap], values[place - gap]
                place -= gap
            keys[place], values[place] = key, value
        gap //= 3
