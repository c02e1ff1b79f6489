"""The one-page report: tables, plots, pictures and provenance in a single HTML file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dsa_agents.examples import Example, find_examples
from dsa_agents.pages import flat, png_data, write_page
from dsa_agents.plots import write_plots
from dsa_agents.tables import (
    caption,
    difference_rows,
    groups_of,
    heading,
    kind_metrics,
    metrics_of,
    policy_rows,
)
from dsa_agents.verdict import explanation, label, percent
from dsa_env.files import write_json

if TYPE_CHECKING:
    from dsa_agents.evaluate import Evaluation
    from dsa_agents.run_folder import RunFolder

RESULTS, PLOTS, REPORT = "results.json", "plots", "report.html"
TEMPLATE = "report.html.j2"
PLOT_CAPTIONS = {
    "granularity_by_kind": (
        "The granularity chosen for each kind of query: the agent on the left of each pair, full "
        "information on the right, a bar at each mean. A dashed line marks the best fixed g."
    ),
    "reward_against_granularity": (
        "The line is the mean reward when every query uses the same g, exact for every g. A mark "
        "above the line earns more than any fixed g does on this split."
    ),
    "learning_curve": (
        "Mean reward on the validation split while training, one line per seed, between the "
        "baselines on the same split. The best checkpoint of each seed is the one evaluated."
    ),
    "recall_against_hallucination": (
        "Up is more queries answered, left is fewer unsupported facts. The line runs through every "
        "fixed g. The hallucination rate is the ground truth's, not the detection network's."
    ),
}


@dataclass(frozen=True)
class Section:
    """One run in a report.

    Attributes:
        title: its heading.
        results: of `dsa_agents.evaluate.evaluate`.
        plots: name -> PNG file.
        provenance: with what the run was made.
        config: what was trained.
        examples: queries to look at.
    """

    title: str
    results: Mapping[str, Any]
    plots: Mapping[str, Path]
    provenance: Mapping[str, Any]
    config: Mapping[str, Any]
    examples: Sequence[Example] = field(default_factory=tuple)


def write_evaluation(evaluation: Evaluation, run: RunFolder, folder: Path) -> Section:
    """Write ``results.json``, ``plots/*.png`` and ``report.html`` of one run into a folder.

    Returns:
        The run's section, for a report of several runs.
    """
    results = evaluation.results
    section = Section(
        title=results["direction"].replace("_", " ").capitalize(),
        results=results,
        plots=write_plots(evaluation, run, folder / PLOTS),
        provenance=run.provenance,
        config=run.config.to_json(),
        examples=find_examples(evaluation),
    )
    write_json(folder / RESULTS, results)
    write_report(folder / REPORT, f"Granularity, {section.title.lower()}", [section])
    return section


def write_report(path: Path, title: str, sections: Sequence[Section]) -> Path:
    """Write the report as one HTML file that needs no other file and no network.

    Whatever comes from the bank or the command line is escaped.
    """
    context = {"title": title, "sections": [_context(section) for section in sections]}
    return write_page(path, "dsa_agents", TEMPLATE, context)


def _context(section: Section) -> dict[str, Any]:
    """What the template shows of a section."""
    results = section.results
    metrics, by_kind = metrics_of(results), kind_metrics(results)
    return {
        "title": section.title,
        "caption": caption(results),
        "verdict": results["verdict"],
        "headings": [heading(metric) for metric in metrics],
        "rows": policy_rows(results["policies"], metrics),
        "differences": difference_rows(results, metrics),
        "kind_headings": [heading(metric) for metric in by_kind],
        "kinds": {kind: policy_rows(table, by_kind) for kind, table in groups_of(results).items()},
        "explanations": [(label(policy), explanation(policy)) for policy in results["policies"]],
        "has_facts": results["policies"]["fixed"]["hallucination_rate"]["mean"] is not None,
        "k": results["k"],
        "figures": _figures(results),
        "plots": [
            (name.replace("_", " "), png_data(path.read_bytes()), PLOT_CAPTIONS[name])
            for name, path in section.plots.items()
        ],
        "examples": [
            {
                "title": example.title,
                "before": png_data(example.before),
                "after": png_data(example.after),
                "before_text": example.before_text,
                "after_text": example.after_text,
            }
            for example in section.examples
        ],
        "agent": label(results["agent"]),
        "provenance": flat({"run": section.config, **section.provenance}),
    }


def _figures(results: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Single numbers beside the tables: name and value."""
    latency = results["latency_ms"]
    clipped = results["clip_fraction"]
    figures = [
        ("Best fixed g", f"{results['fixed_granularity']:.3f}"),
        ("Share of the full-information gain closed", percent(results["gap_closed"])),
        (
            "Share of the agent's rewards that were clipped",
            "no clip" if clipped is None else f"{clipped:.1%}",
        ),
        ("Training per seed", f"{results['train_seconds']:.0f} s"),
    ]
    figures += [
        (f"Controller per query, {name.replace('_', ' of ')}", f"{value:.4f} ms")
        for name, value in latency["controller"].items()
    ]
    encoders = latency["encoders"] or {}
    return figures + [
        (f"{name} per query", _milliseconds(value)) for name, value in encoders.items()
    ]


def _milliseconds(value: Any) -> str:
    return f"{value:.3f} ms" if isinstance(value, int | float) else str(value)
