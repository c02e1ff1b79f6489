"""A study's files: ``results.json``, the plots and a page."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optuna.study import Study
from optuna.trial import FrozenTrial

from dsa_agents.pages import flat, png_data, write_page
from dsa_agents.verdict import plain, signed
from dsa_env.files import write_json
from dsa_tuning.objective import describe
from dsa_tuning.plots import write_plots
from dsa_tuning.potential import Potential
from dsa_tuning.results import study_document

if TYPE_CHECKING:
    from rich.console import Console

    from dsa_tuning.trials import Job

RESULTS, PLOTS, REPORT, TEMPLATE = "results.json", "plots", "report.html", "study.html.j2"
NAMES = {
    "tuned": "tuned",
    "recall_only": "recall only (α = 1, β = 0)",
    "equal_weights": "equal weights (α = β = ½)",
    "as_given": "as given",
}
PLOT_CAPTIONS = {
    "front": (
        "Up is more queries answered, left is fewer unsupported facts. Each mark is the mean of a "
        "trial's seeds on the validation split. Diamonds: what supervision could reach from the "
        "same observation."
    ),
    "shares": (
        "Mean over the seeds, and each seed as a small dot: how large the noise is beside the "
        "effect."
    ),
    "history": (
        "Of two objectives: the area that the front dominates, above the worst value of each. Of "
        "one: the best value."
    ),
    "importances": (
        "Functional ANOVA over the complete trials. With one parameter there is nothing to divide."
    ),
}


def write_study(
    job: Job,
    study: Study,
    chosen: FrozenTrial | None,
    front: list[FrozenTrial],
    potential: Potential | None,
    tested: dict[str, Any] | None,
) -> tuple[dict[str, Any], Path]:
    """Write what a study found so far into its folder.

    Returns:
        The results and the page.
    """
    results = study_document(job, study, chosen, front, potential, tested)
    plots = write_plots(results, job.folder / PLOTS)
    write_json(job.folder / RESULTS, results)
    context = {
        "title": "Tuned reward weights",
        "sentences": sentences(results),
        "front": {"headings": headings(results), "rows": front_rows(results)},
        "tested": final_table(results),
        "plots": [
            (name.replace("_", " "), png_data(path.read_bytes()), PLOT_CAPTIONS[name])
            for name, path in plots.items()
        ],
        "trials": {"headings": TRIAL_HEADINGS, "rows": trial_rows(results)},
        "provenance": flat({**results["config"], "study": study.study_name}),
    }
    return results, write_page(job.folder / REPORT, "dsa_tuning", TEMPLATE, context)


def sentences(results: Mapping[str, Any]) -> list[str]:
    """What was found, in plain words."""
    counts, objective = results["counts"], results["objective"]
    parts = [f"{counts[name]} {name}" for name in ("complete", "pruned", "failed") if counts[name]]
    done = sum(counts[name] for name in ("complete", "pruned", "failed"))
    seeds = len(results["config"]["base"]["seeds"])
    found = [
        f"{done} of {counts['wanted']} trials are done ({', '.join(parts) or 'none'}), each the "
        f"mean of {seeds} seeds, judged on the validation split by figures that do not depend on "
        "the weights."
    ]
    if results["potential"]:
        found.append(results["potential"]["sentence"])
    if results["chosen"] is None:
        return [*found, "No trial is complete yet, so nothing can be chosen."]
    chosen = next(t for t in results["trials"] if t["number"] == results["chosen"])
    values = ", ".join(
        f"{describe(label)} {value:.3f}"
        for label, value in zip(objective["labels"], chosen["values"], strict=True)
    )
    how = "The knee of the front" if len(objective["labels"]) > 1 else "The best trial"
    if not results["keeps_bound"]:
        how = (
            f"No trial keeps hallucination at or below {objective['max_hallucination']:g}; the one "
            "that exceeds it least"
        )
    found.append(f"{how} is trial {chosen['number']}: {settings(chosen)} ({values}).")
    if results["test"] is None:
        found.append("It was not tested: the test split has not been looked at.")
    return found


def settings(trial: Mapping[str, Any]) -> str:
    """A trial's parameters in the plain form of the reward."""
    reward = {k: v for k, v in (trial["reward"] or {}).items() if isinstance(v, int | float)}
    named = {"alpha": "α", "beta": "β"}
    shown = {named.get(name, name): f"{value:.3g}" for name, value in reward.items()}
    for name, value in trial["parameters"].items():
        if name not in ("share", "scale", "low", "high") and not name.startswith("reward."):
            shown[name] = f"{value:.3g}" if isinstance(value, float) else str(value)
    return ", ".join(f"{name} = {value}" for name, value in shown.items())


def headings(results: Mapping[str, Any]) -> list[str]:
    """The columns of the front's table."""
    return ["trial", "weights", *map(describe, results["objective"]["labels"]), "mean g"]


def front_rows(results: Mapping[str, Any]) -> list[list[str]]:
    """The best trials, the chosen one marked."""
    trials = {trial["number"]: trial for trial in results["trials"]}
    rows = []
    for number in results["front"]:
        trial = trials[number]
        mark = " ★" if number == results["chosen"] else ""
        rows.append(
            [
                f"{number}{mark}",
                settings(trial),
                *(f"{value:.3f}" for value in trial["values"]),
                f"{trial['metrics']['granularity']:.2f}",
            ]
        )
    return rows


def final_table(results: Mapping[str, Any], *, short: bool = False) -> dict[str, Any] | None:
    """The one look at the test split as a table; None where there was none.

    Args:
        results: of the study.
        short: what was optimised alone, to fit a terminal.
    """
    tested = results["test"]
    if tested is None:
        return None
    metrics = [m for m, v in tested["policies"]["tuned"].items() if v["mean"] is not None]
    if short:
        main = (f"recall@{results['config']['base']['k']}", "hallucination_rate", "granularity")
        metrics = [metric for metric in metrics if metric in main]
    rows = [
        [NAMES[name], *(plain(found[metric]) for metric in metrics)]
        for name, found in tested["policies"].items()
    ]
    rows += [
        [f"tuned − {NAMES[name]}", *(signed(found[metric]) for metric in metrics)]
        for name, found in tested["differences"].items()
    ]
    caption = (
        f"{tested['queries']:,} queries of {tested['pictures']:,} pictures, {len(tested['seeds'])} "
        f"seeds that no trial used, {tested['timesteps']:,} steps each, 95% intervals"
    )
    return {"headings": ["", *map(describe, metrics)], "rows": rows, "caption": caption}


TRIAL_HEADINGS = ["trial", "state", "parameters", "values", "seeds", "seconds", "reason"]


def trial_rows(results: Mapping[str, Any]) -> list[list[str]]:
    """Every trial, with what it was and how it ended."""
    return [
        [
            str(trial["number"]),
            trial["state"],
            settings(trial),
            " ".join(f"{value:.3f}" for value in trial["values"] or []),
            str(len(trial["seeds"])),
            "" if trial["seconds"] is None else f"{trial['seconds']:.0f}",
            trial["reason"] or "",
        ]
        for trial in results["trials"]
    ]


def print_study(results: Mapping[str, Any], console: Console) -> None:
    """Print what was found on a terminal."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    def show(title: str, names: list[str], rows: list[list[str]]) -> None:
        table = Table(box=SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
        for at, name in enumerate(names):
            table.add_column(Text(name), justify="left" if at < 2 else "right")
        for row in rows:
            table.add_row(*map(Text, row))
        console.print(Text(title, "bold"), table, "", sep="\n")

    for sentence in sentences(results):
        console.print(f"• {sentence}", highlight=False, markup=False)
    console.print()
    if results["front"]:
        show("Front (validation)", headings(results), front_rows(results))
    if (tested := final_table(results, short=True)) is not None:
        show(f"Test: {tested['caption']}", tested["headings"], tested["rows"])
