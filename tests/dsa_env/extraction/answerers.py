"""What the workers of the crew's tests do; importable by name in a fresh process."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path


def make_adder(constant: int) -> Callable[[int, int], tuple[int, int]]:
    """Answers with its process and the sum."""

    def answer(number: int, request: int) -> tuple[int, int]:
        time.sleep(0.01)
        return os.getpid(), request + constant

    return answer


def make_mortal(folder: Path, deaths: int) -> Callable[[int, int], int]:
    """Dies at request 3 the first `deaths` times, as if killed from outside."""

    def answer(number: int, request: int) -> int:
        if request == 3 and len(list(folder.iterdir())) < deaths:
            (folder / f"{os.getpid()}").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return 10 * request

    return answer


def make_failing() -> Callable[[int, int], float]:
    """Divides by the request."""
    return lambda number, request: 1 / request


def make_unable() -> None:
    """Cannot even start."""
    raise OSError("no such model")
