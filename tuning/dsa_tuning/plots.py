"""The pictures of a study, in the style of the evaluation's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from dsa_agents.plots import AGENT, COLOURS, SWEEP, save_plot
from dsa_tuning.objective import describe

CHOSEN = AGENT
REFERENCE = COLOURS["full_information"]


def write_plots(results: Mapping[str, Any], folder: Path) -> dict[str, Path]:
    """Draw every plot there is data for into PNG files.

    Args:
        results: of `dsa_tuning.results.study_document`.
        folder: where they go.

    Returns:
        name -> file, in the order in which they are read: ``front``, ``shares``, ``history`` and
        ``importances``.
    """
    drawings: dict[str, Callable[[Axes], Any]] = {}
    done = [trial for trial in results["trials"] if trial["state"] == "complete"]
    if done and results["objective"]["hallucination"]:
        drawings["front"] = lambda axes: front(axes, results)
    if any("share" in trial["parameters"] for trial in done):
        drawings["shares"] = lambda axes: shares(axes, results)
    if done:
        drawings["history"] = lambda axes: history(axes, results)
    if results["importances"]:
        drawings["importances"] = lambda axes: importances(axes, results)
    return {name: save_plot(draw, folder / f"{name}.png") for name, draw in drawings.items()}


def front(axes: Axes, results: Mapping[str, Any]) -> None:
    """Every trial by recall and hallucination, the front, what was chosen, and full information."""
    wrong = results["objective"]["hallucination"]
    recall = f"recall@{results['config']['base']['k']}"
    done = [trial for trial in results["trials"] if trial["state"] == "complete"]
    numbers = {trial["number"]: trial for trial in done}

    def place(trials: list[dict[str, Any]]) -> tuple[list[float], list[float]]:
        metrics = [trial["metrics"] for trial in trials]
        return [m[wrong] for m in metrics], [m[recall] for m in metrics]

    axes.plot(*place(done), "o", color=SWEEP, markersize=6, label="trial")
    best = [numbers[number] for number in results["front"]]
    style = "o-" if len(best) > 1 else "o"
    axes.plot(*place(best), style, color=COLOURS["fixed"], markersize=6, label="front")
    if results["chosen"] is not None:
        axes.plot(
            *place([numbers[results["chosen"]]]),
            "*",
            color=CHOSEN,
            markersize=17,
            label="chosen",
            zorder=5,
        )
    if results["potential"] is not None:
        metrics = results["potential"]["metrics"]
        axes.plot(
            [m[wrong] for m in metrics],
            [m[recall] for m in metrics],
            "D--",
            color=REFERENCE,
            markersize=5,
            linewidth=1.2,
            label="full information, share by share",
        )
    if (bound := results["objective"]["max_hallucination"]) is not None:
        axes.axvline(bound, color=COLOURS["random"], linestyle=":", label="bound")
    axes.set_xlabel(describe(wrong))
    axes.set_ylabel(describe(recall))
    axes.set_title("What the weights lead to (validation)")


def shares(axes: Axes, results: Mapping[str, Any]) -> None:
    """Recall and hallucination against the share of beta, every seed as a small dot."""
    recall = f"recall@{results['config']['base']['k']}"
    wrong = results["objective"]["hallucination"]
    done = [t for t in results["trials"] if t["state"] == "complete" and "share" in t["parameters"]]
    done.sort(key=lambda trial: float(trial["parameters"]["share"]))
    x = [trial["parameters"]["share"] for trial in done]
    for metric, colour in ((recall, COLOURS["fixed"]), (wrong, COLOURS["null_oracle"])):
        if metric is None:
            continue
        for trial in done:
            values = [seed[metric] for seed in trial["seeds"]]
            axes.plot(
                [trial["parameters"]["share"]] * len(values),
                values,
                ".",
                color=colour,
                alpha=0.35,
            )
        axes.plot(
            x,
            [trial["metrics"][metric] for trial in done],
            "o-",
            color=colour,
            markersize=4,
            linewidth=1.2,
            label=describe(metric),
        )
    axes.set_xlabel("share of beta, beta / (alpha + beta)")
    axes.set_ylabel("validation, mean of the seeds")
    axes.set_title("What each share leads to")


def history(axes: Axes, results: Mapping[str, Any]) -> None:
    """What had been reached after each complete trial."""
    labels = results["objective"]["labels"]
    done = [trial for trial in results["trials"] if trial["state"] == "complete"]
    count = np.arange(1, len(done) + 1)
    if len(labels) == 1:
        axes.plot(count, [t["values"][0] for t in done], "o", color=SWEEP, label="trial")
        axes.set_ylabel(describe(labels[0]))
    else:
        axes.set_ylabel("dominated hypervolume")
    axes.step(count, results["history"], where="post", color=COLOURS["fixed"], label="best so far")
    axes.set_xlabel("complete trials")
    axes.set_title("How the search went on")


def importances(axes: Axes, results: Mapping[str, Any]) -> None:
    """Each parameter's share of the variance of each value."""
    table = results["importances"]
    names = list(dict.fromkeys(name for row in table.values() for name in row))
    height = 0.8 / len(table)
    colours = (COLOURS["fixed"], COLOURS["null_oracle"])
    for at, (label, row) in enumerate(table.items()):
        place = np.arange(len(names)) - 0.4 + height * (at + 0.5)
        values = [row.get(name, 0.0) for name in names]
        axes.barh(place, values, height * 0.9, color=colours[at % 2], label=describe(label))
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.set_xlim(0, 1)
    axes.grid(visible=False, axis="y")
    axes.set_xlabel("share of the variance over the searched space")
    axes.set_title("What matters")
