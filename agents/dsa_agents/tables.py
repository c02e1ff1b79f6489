"""An evaluation's results as rows of text: for the terminal and for the report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from dsa_agents.verdict import label, plain, signed

if TYPE_CHECKING:
    from rich.console import Console

    from dsa_agents.evaluate import Summary

HEADINGS = {
    "hallucination_rate": "Halluc.",
    "reward": "Reward",
    "regret": "Regret",
    "granularity": "Mean g",
}
KIND_METRICS = ("hallucination_rate", "reward", "granularity")


def heading(metric: str) -> str:
    """A metric's name as people read it."""
    return HEADINGS.get(metric, metric.replace("recall", "Recall"))


def policy_rows(table: Mapping[str, Any], metrics: list[str]) -> list[list[str]]:
    """One row per policy: its name, then each metric with its interval."""
    return [
        [label(policy), *(plain(values[metric]) for metric in metrics)]
        for policy, values in table.items()
    ]


def difference_rows(results: Mapping[str, Any], metrics: list[str]) -> list[list[str]]:
    """One row per difference that is reported: its name, then each metric."""
    return [
        [difference_name(pair), *(signed(values[metric]) for metric in metrics)]
        for pair, values in results["differences"].items()
    ]


def difference_name(pair: str) -> str:
    """``"ppo-fixed"`` as people read it."""
    first, _, second = pair.partition("-")
    return f"{label(first)} − {label(second)}"


def metrics_of(results: Mapping[str, Any]) -> list[str]:
    """The metrics of the main table, in order."""
    return list(results["policies"]["fixed"])


def kind_metrics(results: Mapping[str, Any]) -> list[str]:
    """The metrics of the table by kind of query."""
    return [f"recall@{results['k']}", *KIND_METRICS]


def groups_of(results: Mapping[str, Any]) -> dict[str, Any]:
    """The tables of every group of queries: by kind, and by how ambiguous they are."""
    return {**results["by_kind"], **results.get("by_ambiguity", {})}


def caption(results: Mapping[str, Any]) -> str:
    """What was evaluated, in one line."""
    seeds = len(results["seeds"])
    many = "s" if seeds > 1 else ""
    interval = "95% intervals" if results["resamples"] else "no intervals"
    return (
        f"{results['direction'].replace('_', ' ')}, {results['split']} split: "
        f"{results['queries']:,} queries of {results['pictures']:,} pictures, "
        f"{seeds} seed{many}, {interval}"
    )


def print_results(results: Mapping[str, Any], console: Console) -> None:
    """Print the main table, the one by kind of query and the verdict; fits 80 columns or so."""
    metrics, recall = metrics_of(results), f"recall@{results['k']}"
    rows = [
        (label(policy), [_with_reach(values[metric]) for metric in metrics])
        for policy, values in results["policies"].items()
    ]
    short = [heading(metric).replace("Recall@", "R@") for metric in metrics]
    _print(console, caption(results), short, rows)
    kinds = [
        (kind, [_with_granularity(values, recall) for values in table.values()])
        for kind, table in groups_of(results).items()
    ]
    if kinds:
        title = f"{heading(recall)} by kind of query, and the mean g"
        _print(console, title, list(map(label, results["policies"])), kinds)
    for sentence in results["verdict"]:
        console.print(f"• {sentence}", highlight=False, markup=False)
    console.print()


def _with_reach(summary: Summary) -> tuple[str, str]:
    """A mean, and half the width of its interval."""
    mean, low, high = (summary[name] for name in ("mean", "low", "high"))
    reach = "" if low is None or high is None else f"±{(high - low) / 2:.3f}"
    return _three(mean), reach


def _with_granularity(values: Mapping[str, Summary], metric: str) -> tuple[str, str]:
    """A metric's mean, and the mean g."""
    return _three(values[metric]["mean"]), f"g {_three(values['granularity']['mean'])}"


def _three(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _print(
    console: Console,
    title: str,
    headings: list[str],
    rows: list[tuple[str, list[tuple[str, str]]]],
) -> None:
    """Print a table whose cells have a main line and a dim one."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = Table(
        box=SIMPLE_HEAD,
        show_edge=False,
        padding=(0, 0, 0, 1),
    )
    table.add_column("")
    for name in headings:
        table.add_column(Text(name), justify="right", min_width=max(map(len, name.split())))
    for name, cells in rows:
        table.add_row(Text(name), *(Text(f"{top}\n").append(low, "dim") for top, low in cells))
    console.print(Text(title, "bold"), table, "", sep="\n")
