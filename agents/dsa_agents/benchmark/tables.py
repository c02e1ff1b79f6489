"""The benchmark's tables as rows of text, for the page and the Markdown file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dsa_agents.benchmark.metrics import (
    BLEU,
    CIDER,
    DSA,
    FACTS,
    FULL,
    GRANULARITY,
    HALLUCINATION,
    NATIVE,
    ORACLE,
    REWARD,
    ROWS,
    SEVERITY,
    WORDS,
    say,
)
from dsa_agents.benchmark.sentences import percent
from dsa_agents.verdict import plain, signed

Table = tuple[str, list[str], list[list[str]]]
"""Title, headings and rows."""
NONE = "-"


def tables(results: Mapping[str, Any]) -> list[Table]:
    """The main table, the differences, what DSA costs, and what predicts its gain."""
    models, metrics = results["models"], metrics_of(results)
    found: list[Table] = [_main(models, metrics), _about(models)]
    differences = _differences(models, metrics)
    if differences:
        found.append(("Differences, paired", ["", *map(say, metrics)], differences))
    relative = _differences(models, metrics, relative=True)
    if relative:
        found.append(("The same as a change in per cent", ["", *map(say, metrics)], relative))
    costs = [row for name, one in models.items() for row in cost_rows(name, one["cost"])]
    if costs:
        headings = ["", "batch", "native ms", "DSA ms", "equal lengths", "as it is", "tokens",
                    "controller", "features", "blend"]  # fmt: skip
        found.append(("Generation time with DSA attached, against native", headings, costs))
    return found + _regressions(results)


def caption(results: Mapping[str, Any]) -> str:
    """What was judged, in one line."""
    data, plan = results["dataset"], results["plan"]
    interval = "95% intervals over pictures" if plan["resamples"] else "no intervals"
    return (
        f"{data['name']}, {plan['split']} split: {data['pictures']:,} pictures, "
        f"{interval}; times on {results['machine']['device']}"
    )


def metrics_of(results: Mapping[str, Any]) -> list[str]:
    """The metrics of the main table, in order: severity and reward where any row has them."""
    rows = [row for one in results["models"].values() for row in one["rows"].values()]
    return [
        name
        for name in (results["recall"], BLEU, CIDER, HALLUCINATION, SEVERITY, REWARD)
        if name not in (SEVERITY, REWARD) or any(name in row["metrics"] for row in rows)
    ]


def _main(models: Mapping[str, Any], metrics: list[str]) -> Table:
    headings = ["", *map(say, metrics), "images/s", "training", "overhead"]
    rows = []
    for name, one in models.items():
        if not one["rows"]:
            rows.append([name, *[NONE] * (len(headings) - 1)])
        for row, values in one["rows"].items():
            cells = [_cell(values["metrics"], metric) for metric in metrics]
            rows.append([f"{name}, {ROWS[row][0]}", *cells, *speed_cells(one, row)])
    return "Native and with DSA", headings, rows


def _about(models: Mapping[str, Any]) -> Table:
    """How long captions are and which g wrote them."""
    rows = [
        [f"{name}, {ROWS[row][0]}", _cell(found["metrics"], WORDS, 1),
         _cell(found["metrics"], FACTS, 1), _cell(found["metrics"], GRANULARITY)]
        for name, one in models.items()
        for row, found in one["rows"].items()
    ]  # fmt: skip
    return "What a caption has, on average", ["", "words", "facts", "mean g"], rows


def _cell(metrics: Mapping[str, Any], name: str, digits: int = 3) -> str:
    found = metrics.get(name)
    return NONE if found is None or found["mean"] is None else plain(found, digits)


def speed_cells(one: Mapping[str, Any], row: str) -> list[str]:
    """Images a second, training time and overhead, where a row has them."""
    cost, controller = one["cost"] or {}, one.get("controller") or {}
    speed = cost.get("images_per_second", {}).get({NATIVE: "native", DSA: "dsa"}.get(row, ""))
    cells = [NONE if speed is None else f"{speed:.1f}"]
    seconds = controller.get("train_seconds") if row == DSA else None
    cells.append(NONE if seconds is None else f"{seconds:.0f} s")
    overhead = cost.get("overhead_percent") if row == DSA else None
    return [*cells, NONE if not overhead else percent(overhead["equal_tokens"])]


def _differences(
    models: Mapping[str, Any], metrics: list[str], *, relative: bool = False
) -> list[list[str]]:
    rows = []
    for name, one in models.items():
        for pair, values in one["relative" if relative else "differences"].items():
            first, second = pair.split("-")
            if relative and first in (FULL, ORACLE):
                continue
            cells = []
            for metric in metrics:
                summary = values.get(metric)
                if summary is None or summary["mean"] is None:
                    cells.append(NONE)
                elif relative:
                    cells.append(percent({k: v and 100 * v for k, v in summary.items()}))
                else:
                    cells.append(signed(summary))
            rows.append([f"{name}, {ROWS[first][0]} − {ROWS[second][0]}", *cells])
    return rows


def cost_rows(name: str, cost: Mapping[str, Any] | None) -> list[list[str]]:
    """A row for every batch size whose overhead was measured."""
    rows = []
    for one in (cost or {}).get("batches", []):
        ms, parts, over = one["milliseconds"], one["breakdown_percent"], one["overhead_percent"]
        rows.append(
            [
                name,
                str(one["batch"]),
                f"{ms['native']:.1f}",
                f"{ms['dsa']:.1f}",
                percent(over["equal_tokens"]),
                percent(over["as_is"]),
                f"{one['tokens']['native']:.0f} → {one['tokens']['dsa']:.0f}",
                *(NONE if parts[part] is None else f"{parts[part]:.2f}%"
                  for part in ("controller", "features", "blend")),
            ]
        )  # fmt: skip
    return rows


def _regressions(results: Mapping[str, Any]) -> list[Table]:
    """A table for every difference of every model: a column for each gain that is explained."""
    found: list[Table] = []
    for name, one in results["models"].items():
        for pair, by_metric in one["regression"].items():
            second = ROWS[pair.split("-")[1]][0]
            fitted = {metric: reg for metric, reg in by_metric.items() if reg["coefficients"]}
            if not fitted:
                continue
            properties = dict.fromkeys(p for reg in fitted.values() for p in reg["coefficients"])
            rows = [
                [title, *(signed(reg["coefficients"][title]) if title in reg["coefficients"]
                          else NONE for reg in fitted.values())]
                for title in properties
            ]  # fmt: skip
            rows.append(["intercept", *(signed(reg["intercept"]) for reg in fitted.values())])
            rows.append(["explained", *(f"{reg['r_squared']:.1%}" for reg in fitted.values())])
            title = f"{name}: what the gain of DSA over {second} changes with, a standard deviation"
            found.append((title, ["", *map(say, fitted)], rows))
    return found
