"""The four pictures of an evaluation, in one style and in colours that everybody can tell apart."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from dsa_agents.verdict import label
from dsa_env.files import atomic_write

if TYPE_CHECKING:
    from dsa_agents.evaluate import Evaluation, Summary
    from dsa_agents.run_folder import RunFolder

Floats = NDArray[np.float64]

# Okabe and Ito's palette.
AGENT = "#D55E00"
COLOURS = {
    "random": "#7F7F7F",
    "fixed": "#000000",
    "full_information": "#0072B2",
    "oracle": "#009E73",
    "null_oracle": "#CC79A7",
}
MARKERS = {
    "random": "v",
    "fixed": "s",
    "full_information": "D",
    "oracle": "^",
    "null_oracle": "P",
}
SWEEP = "#56B4E9"
STYLE: dict[Any, Any] = {
    "font.size": 10.5,
    "axes.titlesize": 11.5,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#555555",
    "axes.grid": True,
    "grid.color": "#E4E4E4",
    "grid.linewidth": 0.8,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "legend.fontsize": 9.5,
    "lines.linewidth": 1.8,
    "savefig.dpi": 130,
}
BINS = 60


def write_plots(evaluation: Evaluation, run: RunFolder, folder: Path) -> dict[str, Path]:
    """Draw every plot there is data for into PNG files.

    Returns:
        name -> file, in the order in which they are read: ``granularity_by_kind``,
        ``reward_against_granularity``, ``learning_curve`` and, where the bank has facts,
        ``recall_against_hallucination``.
    """
    curves = [run.learning_curve(seed) for seed in run.seeds]
    drawings: dict[str, Callable[[Axes], Any]] = {
        "granularity_by_kind": lambda axes: granularity_by_kind(axes, evaluation),
        "reward_against_granularity": lambda axes: reward_against_granularity(axes, evaluation),
        "learning_curve": lambda axes: learning_curve(axes, evaluation, curves),
    }
    if np.isfinite(evaluation.sweep.means["hallucination_rate"]).all():
        drawings["recall_against_hallucination"] = lambda axes: recall_against_hallucination(
            axes, evaluation
        )
    return {name: save_plot(draw, folder / f"{name}.png") for name, draw in drawings.items()}


def granularity_by_kind(axes: Axes, evaluation: Evaluation) -> None:
    """How the agent's and the full-information g are distributed, kind by kind."""
    names, code = evaluation.groups
    masks = {"all": np.ones(len(code), np.bool_)}
    masks |= {name: code == index for index, name in enumerate(names)}
    shown = {evaluation.agent: -1, "full_information": 1}
    for policy, side in shown.items():
        g = evaluation.measures[policy]["granularity"]
        for place, mask in enumerate(masks.values()):
            _half_violin(axes, g[:, mask].ravel(), place, side, _colour(policy))
        axes.plot([], [], color=_colour(policy), linewidth=7, alpha=0.55, label=label(policy))
    axes.axhline(
        evaluation.fixed,
        color=COLOURS["fixed"],
        linestyle="--",
        linewidth=1.3,
        label=label("fixed"),
    )
    axes.set_xticks(range(len(masks)), [name.replace(" to ", "-") for name in masks])
    axes.set_ylim(-0.03, 1.03)
    axes.grid(visible=False, axis="x")
    axes.set_ylabel("granularity g  (0 coarse, 1 fine)")
    axes.set_title("How much detail each kind of query gets")


def reward_against_granularity(axes: Axes, evaluation: Evaluation) -> None:
    """The mean reward of every fixed g, and where each policy is with its mean g."""
    sweep = evaluation.sweep
    axes.plot(sweep.grid, sweep.means["reward"], color=SWEEP, label="one g for all queries")
    for policy, metrics in evaluation.results["policies"].items():
        if policy != "null_oracle":
            _mark(axes, policy, metrics["granularity"], metrics["reward"])
    axes.set_xlim(-0.02, 1.02)
    axes.set_xlabel("granularity g, or a policy's mean g")
    axes.set_ylabel("mean reward")
    axes.set_title("Reward of one g for all, and of a g per query")


def learning_curve(
    axes: Axes, evaluation: Evaluation, curves: list[list[dict[str, float]]]
) -> None:
    """Validation reward while training, seed by seed, between the baselines on the same split."""
    for policy, reward in evaluation.validation_rewards.items():
        axes.axhline(
            reward, color=_colour(policy), linestyle="--", linewidth=1.3, label=label(policy)
        )
    for curve in curves:
        steps = [entry["steps"] for entry in curve]
        axes.plot(
            steps, [entry["reward"] for entry in curve], color=AGENT, alpha=0.75, linewidth=1.4
        )
    seeds = f"{len(curves)} seed" + ("s" if len(curves) > 1 else "")
    axes.plot([], [], color=AGENT, label=f"{label(evaluation.agent)} ({seeds})")
    axes.xaxis.set_major_formatter(mpl.ticker.EngFormatter(sep=""))
    axes.set_xlabel("environment steps")
    axes.set_ylabel("mean reward, validation")
    axes.set_title("Learning")


def recall_against_hallucination(axes: Axes, evaluation: Evaluation) -> None:
    """Recall@k against the hallucination rate: better is up and to the left."""
    recall = f"recall@{evaluation.core.k}"
    means = evaluation.sweep.means
    rate = means["hallucination_rate"]
    axes.plot(rate, means[recall], color=SWEEP, label="one g for all queries")
    for g in (0.0, 0.25, 0.5, 0.75, 1.0):
        at = int(np.argmin(np.abs(evaluation.sweep.grid - g)))
        axes.plot(rate[at], means[recall][at], "o", color=SWEEP, markersize=4)
        axes.annotate(
            f"g={g:g}",
            (rate[at], means[recall][at]),
            xytext=(5, -9),
            textcoords="offset points",
            fontsize=8.5,
            color="#3A86B0",
        )
    for policy, metrics in evaluation.results["policies"].items():
        if policy != "null_oracle":
            _mark(axes, policy, metrics["hallucination_rate"], metrics[recall])
    axes.set_xlabel("hallucination rate (ground truth)")
    axes.set_ylabel(f"Recall@{evaluation.core.k}")
    axes.set_title("Finding the right one, and staying with the facts")


def save_plot(draw: Callable[[Axes], Any], path: Path) -> Path:
    """Draw one picture, with its legend below, into a PNG file."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(6.8, 4.6), layout="constrained")
        draw(figure.add_subplot())
        figure.legend(loc="outside lower center", ncols=3)
        with atomic_write(path) as temporary:
            figure.savefig(temporary, format="png")
    return path


def _half_violin(axes: Axes, values: Floats, place: int, side: int, colour: str) -> None:
    """The density of values in [0, 1] as a shape on one side of a place on the x axis.

    A smoothed histogram, so that policies that always choose the same g can be drawn too.
    """
    counts, edges = np.histogram(values, bins=BINS, range=(0.0, 1.0))
    density = gaussian_filter1d(counts.astype(np.float64), 1.2, mode="nearest")
    if density.max() == 0:
        return
    centres = (edges[:-1] + edges[1:]) / 2
    width = side * 0.42 * density / density.max()
    axes.fill_betweenx(centres, place, place + width, color=colour, alpha=0.55, linewidth=0)
    axes.plot([place, place + side * 0.3], [np.mean(values)] * 2, color=colour, linewidth=2.4)


def _mark(axes: Axes, policy: str, x: Summary, y: Summary) -> None:
    """A policy's mark, with both intervals where there are any."""
    if x["mean"] is None or y["mean"] is None:
        return
    axes.errorbar(
        x["mean"],
        y["mean"],
        xerr=_reach(x),
        yerr=_reach(y),
        fmt=MARKERS.get(policy, "o"),
        color=_colour(policy),
        markersize=7.5,
        elinewidth=1.1,
        label=label(policy),
    )


def _reach(summary: Summary) -> Floats | None:
    """Distances [2, 1] from the mean to the ends of its interval."""
    mean, low, high = (summary[name] for name in ("mean", "low", "high"))
    if mean is None or low is None or high is None:
        return None
    return np.maximum([[mean - low], [high - mean]], 0.0)


def _colour(policy: str) -> str:
    return COLOURS.get(policy, AGENT)
