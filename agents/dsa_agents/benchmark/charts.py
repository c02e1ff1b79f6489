"""The benchmark's bar charts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from dsa_agents.benchmark.metrics import (
    BLEU,
    CIDER,
    DSA,
    FIXED,
    FULL,
    HALLUCINATION,
    NATIVE,
    ORACLE,
    ROWS,
    SEVERITY,
    say,
)
from dsa_agents.plots import save_plot

# Okabe and Ito's palette, and greys for what learns nothing.
COLOURS = {
    NATIVE: "#B8B8B8",
    FIXED: "#6E6E6E",
    DSA: "#D55E00",
    FULL: "#0072B2",
    ORACLE: "#009E73",
}
PARTS = {"features": "#56B4E9", "controller": "#D55E00", "blend": "#009E73"}
CAPTIONS = {
    "recall": "How many captions find their own picture among the gallery's ten best: higher is "
    "better.",
    "hallucination": "The share of what captions assert that is not in the picture, by the ground "
    "truth: lower is better.",
    "severity": "The same by the hallucination detection network, as the reward charges it: lower "
    "is better.",
    "bleu": "BLEU-4 of the captions against people's: higher is better.",
    "cider": "CIDEr of the captions against people's: higher is better.",
    "overhead": "What the parts of DSA take, as a share of native generation of equally many "
    "tokens; the mark is the whole, measured end to end, with its interval.",
    "predictors": "By how much the gain in Recall over native generation changes with one standard "
    "deviation of a property (with a prompt: from the first prompt to it), with 95% intervals.",
}


def write_charts(results: Mapping[str, Any], folder: Path) -> dict[str, Path]:
    """Draw every chart that there are numbers for into PNG files; name -> file."""
    recall = results["recall"]
    models = {name: one for name, one in results["models"].items() if one["rows"]}
    drawings: dict[str, Callable[[Axes], Any]] = {}
    for name, metric in (
        ("recall", recall),
        ("hallucination", HALLUCINATION),
        ("severity", SEVERITY),
        ("bleu", BLEU),
        ("cider", CIDER),
    ):
        if any(_bars(one, metric) for one in models.values()):
            drawings[name] = partial(_metric, models=models, metric=metric)
    if any((one["cost"] or {}).get("batches") for one in models.values()):
        drawings["overhead"] = partial(_overhead, models=models)
    if any(_predictors(one, recall) for one in models.values()):
        drawings["predictors"] = partial(_predicted, models=models, recall=recall)
    return {name: save_plot(draw, folder / f"{name}.png") for name, draw in drawings.items()}


def _bars(one: Mapping[str, Any], metric: str) -> dict[str, Mapping[str, float | None]]:
    """Row -> summary, of the rows that have a number."""
    found = {row: values["metrics"].get(metric) for row, values in one["rows"].items()}
    return {row: value for row, value in found.items() if value and value["mean"] is not None}


def _metric(axes: Axes, *, models: Mapping[str, Any], metric: str) -> None:
    """A group of bars for each model, a bar for each row."""
    rows = [row for row in ROWS if any(row in _bars(one, metric) for one in models.values())]
    width = 0.8 / len(rows)
    for at, row in enumerate(rows):
        for place, one in enumerate(models.values()):
            summary = _bars(one, metric).get(row)
            if summary is None:
                continue
            x = place + (at - (len(rows) - 1) / 2) * width
            axes.bar(x, float(summary["mean"] or 0), width * 0.92, color=COLOURS[row], alpha=0.85)
            if summary["low"] is not None:
                axes.errorbar(
                    x, float(summary["mean"] or 0), _reach(summary), ecolor="#111111", elinewidth=1
                )
        axes.bar(0, 0, color=COLOURS[row], alpha=0.85, label=ROWS[row][0])
    axes.set_xticks(range(len(models)), list(models))
    axes.set_xlim(-0.6, len(models) - 0.4)
    axes.grid(visible=False, axis="x")
    axes.set_ylabel(say(metric))
    axes.set_title(say(metric)[0].upper() + say(metric)[1:])


def _overhead(axes: Axes, *, models: Mapping[str, Any]) -> None:
    """Stacked parts for every batch size of every model, and the whole as a mark."""
    shown = [
        (f"{name}\nbatch {batch['batch']}", batch)
        for name, one in models.items()
        for batch in (one["cost"] or {}).get("batches", [])
    ]
    base = np.zeros(len(shown))
    for part, colour in PARTS.items():
        values = np.array([batch["breakdown_percent"][part] or 0.0 for _, batch in shown])
        axes.bar(range(len(shown)), values, 0.5, base, color=colour, label=part)
        base += values
    for at, (_, batch) in enumerate(shown):
        summary = batch["overhead_percent"]["equal_tokens"]
        reach = None if summary["low"] is None else _reach(summary)
        axes.errorbar(at, summary["mean"], reach, fmt="D", color="#000000", markersize=6)
    axes.plot([], [], "D", color="#000000", label="end to end")
    axes.axhline(0, color="#555555", linewidth=0.8)
    axes.set_xticks(range(len(shown)), [title for title, _ in shown])
    axes.set_xlim(-0.6, len(shown) - 0.4)
    axes.grid(visible=False, axis="x")
    axes.set_ylabel("% of native generation")
    axes.set_title("What DSA costs")


def _predicted(axes: Axes, *, models: Mapping[str, Any], recall: str) -> None:
    """The coefficients of the regression of the gain over native generation."""
    names = list(dict.fromkeys(p for one in models.values() for p in _predictors(one, recall)))
    shown = [name for name, one in models.items() if _predictors(one, recall)]
    for at, model in enumerate(shown):
        found = _predictors(models[model], recall)
        own = [name for name in names if name in found]
        y = [names.index(name) + (at - (len(shown) - 1) / 2) * 0.2 for name in own]
        reach = np.concatenate([_reach(found[name]) for name in own], axis=1)
        axes.errorbar(
            [found[name]["mean"] for name in own], y, xerr=reach, fmt="o", label=model, capsize=2
        )
    axes.axvline(0, color="#555555", linewidth=0.8)
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xlabel(f"change of the gain in {say(recall)}")
    axes.set_title("Where granularity helps")


def _predictors(one: Mapping[str, Any], recall: str) -> dict[str, Any]:
    """The coefficients of the gain in recall over native generation."""
    found = one["regression"].get(f"{DSA}-{NATIVE}", {}).get(recall, {"coefficients": {}})
    return {
        name: value for name, value in found["coefficients"].items() if value["low"] is not None
    }


def _reach(summary: Mapping[str, Any]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Distances [2, 1] from the mean to the ends of its interval."""
    mean, low, high = (float(summary[part]) for part in ("mean", "low", "high"))
    return np.maximum([[mean - low], [high - mean]], 0.0)
