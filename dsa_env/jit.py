"""Compiling functions with numba, cached on disk where a folder for that can be written."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba

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
