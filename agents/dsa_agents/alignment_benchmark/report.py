"""The benchmark's plots and its page."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from dsa_agents.alignment_benchmark.plan import ABLATIONS, MAIN
from dsa_agents.alignment_benchmark.results import OVERALL
from dsa_agents.alignment_benchmark.tables import caption, tables
from dsa_agents.pages import flat, png_data, write_page
from dsa_agents.plots import save_plot

PLOTS, REPORT, TEMPLATE = "plots", "report.html", "alignment.html.j2"
# Okabe and Ito's palette, and a brown.
COLOURS = {
    "question-only": "#7F7F7F",
    "static": "#000000",
    "attention": "#0072B2",
    "dynamic": "#D55E00",
    "frozen": "#009E73",
    "one-way": "#CC79A7",
    "no-contrast": "#8C6D1F",
    "no-blend": "#E69F00",
    "no-stability": "#56B4E9",
}
PLOT_CAPTIONS = {
    "training_curves": (
        "Validation accuracy after each epoch, one line per seed. Training ends when it no longer "
        "rises; the best epoch's weights are judged."
    ),
    "ablation_curves": "The same for the matrix and what is left of it in each ablation.",
    "accuracy_by_family": (
        "Test accuracy by family of questions, with 95% intervals over pictures and seeds."
    ),
    "accuracy_against_time": "Test accuracy against the time of one answer, from features.",
}


def write_report(results: Mapping[str, Any], out: Path) -> Path:
    """Draw the plots into `out/plots` and write `out/report.html`; gives the page."""
    plots = {
        "training_curves": lambda axes: _curves(axes, results, MAIN, "Learning"),
        "accuracy_by_family": lambda axes: _families(axes, results),
        "ablation_curves": lambda axes: _curves(axes, results, ABLATIONS, "Ablations"),
        "accuracy_against_time": lambda axes: _times(axes, results),
    }
    files = {name: save_plot(draw, out / PLOTS / f"{name}.png") for name, draw in plots.items()}
    hidden = ("variants", "differences", "sentences", "families")
    context = {
        "title": "Alignment of pictures and programs",
        "caption": caption(results),
        "sentences": results["sentences"],
        "tables": tables(results),
        "notes": [(one["label"], one["note"]) for one in results["variants"].values()],
        "plots": [
            (name.replace("_", " "), png_data(file.read_bytes()), PLOT_CAPTIONS[name])
            for name, file in files.items()
        ],
        "provenance": flat({k: v for k, v in results.items() if k not in hidden}),
    }
    return write_page(out / REPORT, "dsa_agents", TEMPLATE, context)


def _curves(axes: Axes, results: Mapping[str, Any], names: tuple[str, ...], title: str) -> None:
    for name in names:
        found = results["variants"][name]
        for history in found["histories"].values():
            axes.plot(
                [entry["epoch"] for entry in history],
                [entry["validation_accuracy"] for entry in history],
                color=COLOURS[name],
                linewidth=1.4,
                alpha=0.8,
            )
        axes.plot([], [], color=COLOURS[name], label=found["label"])
    axes.set_xlabel("epoch")
    axes.set_ylabel("accuracy, validation")
    axes.set_title(title)


def _families(axes: Axes, results: Mapping[str, Any]) -> None:
    families = [OVERALL, *results["families"]]
    width = 0.8 / len(MAIN)
    for place, name in enumerate(MAIN):
        found = results["variants"][name]
        summaries = [found["accuracy"][family] for family in families]
        means = np.array([s["mean"] if s["mean"] is not None else np.nan for s in summaries])
        at = np.arange(len(families)) + (place - (len(MAIN) - 1) / 2) * width
        axes.bar(at, means, width * 0.92, color=COLOURS[name], label=found["label"], alpha=0.85)
        if all(s["low"] is not None for s in summaries):
            ends = np.array([[s["low"], s["high"]] for s in summaries], dtype=float).T
            reach = np.maximum([means - ends[0], ends[1] - means], 0)
            axes.errorbar(at, means, reach, fmt="none", ecolor="#333333", elinewidth=1)
    axes.set_xticks(range(len(families)), families)
    axes.grid(visible=False, axis="x")
    axes.set_ylabel("accuracy, test")
    axes.set_title("Accuracy by family of questions")


def _times(axes: Axes, results: Mapping[str, Any]) -> None:
    for name in dict.fromkeys((*MAIN, *ABLATIONS)):
        found = results["variants"][name]
        axes.plot(
            found["response_ms"]["batch 1"],
            found["accuracy"][OVERALL]["mean"],
            "o",
            color=COLOURS[name],
            markersize=8,
            label=found["label"],
        )
    axes.set_xlabel("milliseconds for one answer (median)")
    axes.set_ylabel("accuracy, test")
    axes.set_title("What accuracy costs")
