"""The benchmark's results in a terminal: a table a model that fits 80 columns or so."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from dsa_agents.benchmark.metrics import (
    DSA,
    FIXED,
    FULL,
    GRANULARITY,
    HALLUCINATION,
    NATIVE,
    ORACLE,
    REWARD,
    SEVERITY,
    say,
)
from dsa_agents.benchmark.tables import NONE, caption, cost_rows, metrics_of, speed_cells

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

SHORT = {HALLUCINATION: "Halluc.", SEVERITY: "Sever.", REWARD: "Reward"}
LABELS = {NATIVE: "native", FIXED: "fixed g", DSA: "DSA", FULL: "full info", ORACLE: "oracle"}
Cell = tuple[str, str]
"""A main line, and a dim one below it."""


def print_benchmark(results: Mapping[str, Any], console: Console) -> None:
    """Print each model's rows and differences, the costs, the regression and what it all means.

    Below a mean stands half the width of its interval.
    """
    console.print(caption(results), highlight=False, markup=False)
    console.print()
    metrics = metrics_of(results)
    names = [_short(name) for name in metrics]
    for model, one in results["models"].items():
        if one["rows"]:
            headings = ["", *names, "g", "img/s"]
            rows = [*_rows(one, metrics), *_differences(one, metrics)]
            _print(console, _title(model, one), headings, rows)
    costs = [row for name, one in results["models"].items() for row in cost_rows(name, one["cost"])]
    if costs:
        headings = ["", "batch", "native", "DSA", "equal", "as is", "tokens", "contr.", "feat.",
                    "blend"]  # fmt: skip
        cells = [(row[0], [_halved(text) for text in row[1:]]) for row in costs]
        title = "Generation with DSA attached: ms, % at equal lengths and as is, parts"
        _print(console, title, headings, cells)
    _print_regressions(results, console)
    for sentence in results["sentences"]:
        console.print(f"• {sentence}", highlight=False, markup=False)
    console.print()


def _title(model: str, one: Mapping[str, Any]) -> str:
    """A model's name, and how long its controller was trained."""
    seconds = (one["controller"] or {}).get("train_seconds")
    return model if seconds is None else f"{model}: controller trained in {seconds:.0f} s"


def _rows(one: Mapping[str, Any], metrics: Sequence[str]) -> Iterable[tuple[str, list[Cell]]]:
    for row, found in one["rows"].items():
        values = found["metrics"]
        g = values[GRANULARITY]["mean"]
        cells = [_cell(values.get(name), "") for name in metrics]
        cells.append((f"{g:.2f}", ""))
        yield LABELS[row], [*cells, (speed_cells(one, row)[0], "")]


def _differences(
    one: Mapping[str, Any], metrics: Sequence[str]
) -> Iterable[tuple[str, list[Cell]]]:
    for pair, found in one["differences"].items():
        first, second = pair.split("-")
        if first not in (FULL, ORACLE):
            cells = [_cell(found.get(name), "+") for name in metrics]
            yield f"{LABELS[first]} − {LABELS[second]}", [*cells, *[("", "")] * 2]


def _print_regressions(results: Mapping[str, Any], console: Console) -> None:
    """The coefficients of the gain in recall and in reward, native and fixed side by side."""
    for model, one in results["models"].items():
        columns = {
            f"{_short(metric)}\n− {LABELS[pair.split('-')[1]]}": found
            for metric in (results["recall"], HALLUCINATION)
            for pair, by_metric in one["regression"].items()
            if (found := by_metric.get(metric)) and found["coefficients"]
        }
        if not columns:
            continue
        properties = dict.fromkeys(p for one in columns.values() for p in one["coefficients"])
        rows = [
            (name, [_cell(found["coefficients"].get(name), "+") for found in columns.values()])
            for name in properties
        ]
        shares = [(f"{found['r_squared']:.1%}", "") for found in columns.values()]
        title = f"{model}: what the gain of DSA changes with (one standard deviation of it)"
        _print(console, title, ["", *columns], [*rows, ("explained", shares)])


def _short(metric: str) -> str:
    """A metric's name where there is little room."""
    return SHORT.get(metric, say(metric).replace("Recall@", "R@"))


def _cell(summary: Mapping[str, float | None] | None, sign: str) -> Cell:
    """A mean, and half the width of its interval."""
    if summary is None or summary["mean"] is None:
        return NONE, ""
    low, high = summary["low"], summary["high"]
    reach = "" if low is None or high is None else f"±{(high - low) / 2:.3f}"
    return f"{summary['mean']:{sign}.3f}", reach


def _halved(text: str) -> Cell:
    """A mean and half the width of its interval, of text such as "+2.0% [+1.0%, +3.0%]"."""
    mean, bracket, interval = text.partition(" [")
    if not bracket:
        return text, ""
    low, high = (float(part.rstrip("]%")) for part in interval.split(", "))
    return mean, f"±{(high - low) / 2:.1f}"


def _print(
    console: Console,
    title: str,
    headings: Sequence[str],
    rows: Iterable[tuple[str, Sequence[Cell]]],
) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, show_edge=False, padding=(0, 0, 0, 1))
    for at, name in enumerate(headings):
        table.add_column(Text(name), justify="right" if at else "left", no_wrap=not at)
    for name, cells in rows:
        table.add_row(Text(name), *map(_text, cells))
    console.print(Text(title, "bold"), table, "", sep="\n")


def _text(cell: Cell) -> Text:
    from rich.text import Text

    top, below = cell
    return Text(top).append(f"\n{below}", "dim") if below else Text(top)
