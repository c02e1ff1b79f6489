"""Worker processes that end with the process that started them."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from typing import Any

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
"""What the numerical libraries read, once, to decide how many threads they start."""


def process_pool(
    workers: int, initializer: Callable[..., None] | None = None, *arguments: Any
) -> ProcessPoolExecutor:
    """A pool of fresh processes that do not outlive their parent, not even a killed one.

    They are spawned, because the parent may hold threads (torch, numba) that do not survive a
    fork.

    Args:
        workers: how many.
        initializer: called in each worker before its first task.
        *arguments: what it is called with.
    """
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(
        workers, mp_context=context, initializer=_start, initargs=(initializer, *arguments)
    )


def start_process(function: Callable[..., None], *arguments: Any) -> BaseProcess:
    """A fresh process that runs a function and does not outlive its parent either."""
    context = multiprocessing.get_context("spawn")
    process = context.Process(target=_start, args=(function, *arguments))
    process.start()
    return process


@contextmanager
def one_thread_each() -> Iterator[None]:
    """Processes started inside use one thread: two of them on two cores must not fight."""
    before = {name: os.environ.get(name) for name in THREADS}
    os.environ.update(dict.fromkeys(THREADS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def stay_quiet() -> None:
    """Keep a worker off the terminal: no bars of its own, and no word on Ctrl-C while idle."""
    os.environ["TTY_COMPATIBLE"] = "0"
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@contextmanager
def heed_interrupts() -> Iterator[None]:
    """Let Ctrl-C raise KeyboardInterrupt in a worker while the body runs."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _start(initializer: Callable[..., None] | None, *arguments: Any) -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if initializer is not None:
        initializer(*arguments)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
