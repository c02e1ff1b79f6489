"""Progress bars on standard error, with the rate and the time left."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sized
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from rich.progress import Progress, Task, TaskID

T = TypeVar("T")


class Bar:
    """One progress bar; `advance` moves it, `describe` changes its text."""

    def __init__(self, progress: Progress, task: TaskID) -> None:
        self._progress = progress
        self._task = task

    def advance(self, n: float = 1) -> None:
        """Count `n` more steps as done."""
        self._progress.advance(self._task, n)

    def describe(self, description: str) -> None:
        """Change the text in front of the bar."""
        self._progress.update(self._task, description=description)


@contextmanager
def bar(description: str, total: float | None) -> Iterator[Bar]:
    """Show a progress bar while the body runs; `total` None shows a pulse.

    Drawn on standard error, so that standard output stays clean; not drawn at all when standard
    error is no terminal.
    """
    from rich.console import Console
    from rich.progress import BarColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn
    from rich.text import Text

    class RateColumn(ProgressColumn):
        def render(self, task: Task) -> Text:
            return Text(f"{task.speed:,.0f}/s" if task.speed else "", style="cyan")

    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:,.0f}/{task.total:,.0f}" if total else "{task.completed:,.0f}"),
        RateColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        yield Bar(progress, progress.add_task(description, total=total))


def track(iterable: Iterable[T], description: str, total: float | None = None) -> Iterator[T]:
    """Iterate with a progress bar; the length is taken from `iterable` when it has one."""
    if total is None and isinstance(iterable, Sized):
        total = len(iterable)
    with bar(description, total) as shown:
        for item in iterable:
            yield item
            shown.advance()
