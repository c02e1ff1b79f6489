"""Progress on standard error: a bar with rate and time left, or now and then a line in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Sized
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from rich.progress import Progress, Task, TaskID

T = TypeVar("T")


LINE_SECONDS = 15.0
"""How often long work says where it is when standard error is no terminal."""


class Bar(Protocol):
    """Where progress is told."""

    def advance(self, n: float = 1) -> None:
        """Count `n` more steps as done."""

    def describe(self, description: str) -> None:
        """Change the text in front."""


class _Drawn:
    """A bar in a terminal."""

    def __init__(self, progress: Progress, task: TaskID) -> None:
        self._progress = progress
        self._task = task

    def advance(self, n: float = 1) -> None:
        self._progress.advance(self._task, n)

    def describe(self, description: str) -> None:
        self._progress.update(self._task, description=description)


class _Told:
    """Lines in a log; work that ends soon says nothing."""

    def __init__(self, description: str, total: float | None, done: float) -> None:
        self._description = description
        self._total = total
        self._done = self._before = done
        self._started = self._told = time.monotonic()

    def advance(self, n: float = 1) -> None:
        self._done += n
        if time.monotonic() - self._told >= LINE_SECONDS:
            self.tell()

    def describe(self, description: str) -> None:
        self._description = description

    def end(self) -> None:
        if self._told > self._started:
            self.tell()

    def tell(self) -> None:
        self._told = time.monotonic()
        seconds = self._told - self._started
        share = f"{self._done:,.0f}" + (f"/{self._total:,.0f}" if self._total else "")
        rate = (self._done - self._before) / max(seconds, 1e-9)
        digits = 0 if rate >= 10 else 1
        line = f"{self._description}: {share} after {seconds:.0f} s, {rate:,.{digits}f}/s"
        if self._total and rate and self._done < self._total:
            line += f", {(self._total - self._done) / rate:,.0f} s left"
        print(line, file=sys.stderr, flush=True)


@contextmanager
def bar(description: str, total: float | None, done: int = 0) -> Iterator[Bar]:
    """Show a progress bar while the body runs; `total` None shows a pulse.

    `done` is what was done before, by a call that was interrupted: it counts for no rate.

    It goes to standard error, so that standard output stays clean. Where that is no terminal, a
    line every `LINE_SECONDS` takes the bar's place.
    """
    from rich.console import Console
    from rich.progress import BarColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn
    from rich.text import Text

    class RateColumn(ProgressColumn):
        def render(self, task: Task) -> Text:
            return Text(f"{task.speed:,.0f}/s" if task.speed else "", style="cyan")

    console = Console(stderr=True)
    if not console.is_terminal:
        told = _Told(description, total, done)
        yield told
        told.end()
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:,.0f}/{task.total:,.0f}" if total else "{task.completed:,.0f}"),
        RateColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as progress:
        yield _Drawn(progress, progress.add_task(description, total=total, completed=done))


def track(iterable: Iterable[T], description: str, total: float | None = None) -> Iterator[T]:
    """Iterate with a progress bar; the length is taken from `iterable` when it has one."""
    if total is None and isinstance(iterable, Sized):
        total = len(iterable)
    with bar(description, total) as shown:
        for item in iterable:
            yield item
            shown.advance()
