"""The benchmark's tables as rows of text, for the terminal and the page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from dsa_agents.alignment_benchmark.plan import ABLATIONS, MAIN, MAJORITY
from dsa_agents.alignment_benchmark.results import OVERALL
from dsa_agents.verdict import signed

if TYPE_CHECKING:
    from rich.console import Console

Table = tuple[str, list[str], list[list[str]]]
"""Title, headings and rows."""


def tables(results: Mapping[str, Any], *, short: bool = False) -> list[Table]:
    """The comparison, the ablations, and their costs and steadiness.

    Args:
        results: what `results.json` holds.
        short: with short names to fit a terminal.
    """
    names = {
        name: entry["short" if short else "label"] for name, entry in results["variants"].items()
    }
    families = results["families"]
    accuracy = ["", "overall", *families]
    main = (MAJORITY, *MAIN)
    differences = results["differences"]
    return [
        (
            "Baselines: accuracy (%)",
            accuracy,
            [_accuracies(results, name, names) for name in main]
            + [
                _differences(differences, f"dynamic-{name}", families, f"dynamic − {name}")
                for name in ("static", "attention")
            ],
        ),
        (
            "Ablations: accuracy (%)",
            accuracy,
            [_accuracies(results, name, names) for name in ABLATIONS]
            + [
                _differences(
                    differences, f"dynamic-{name}", families, f"dynamic − {names[name]}"
                )
                for name in ABLATIONS[1:]
            ],
        ),
        (
            "What it takes",
            ["", "ms, batch 1", "ms, batch 64", "parameters", "learning", "train s", "epochs"],
            [_costs(results, name, names) for name in dict.fromkeys((*MAIN, *ABLATIONS))],
        ),
        (
            "How steadily it learns: gradients, and the updates of A",
            ["", "norm, mean", "norm, max", "clipped", "cosine", "swing back",
             "straight", "loss var."],
            [_steadiness(results, name, names) for name in ("static", "attention", *ABLATIONS)],
        ),
    ]  # fmt: skip


def caption(results: Mapping[str, Any]) -> str:
    """What was judged, in one line."""
    plan, seeds = results["plan"], len(results["plan"]["seeds"])
    many = "s" if seeds > 1 else ""
    return (
        f"Test split: {results['questions']:,} questions about {results['pictures']:,} pictures, "
        f"{seeds} seed{many}, batch {plan['batch']}, learning rates {plan['rate']:g} x "
        f"the source paper's, at most {plan['epochs']} epochs; 95% intervals over pictures and "
        "seeds"
    )


def _accuracies(results: Mapping[str, Any], name: str, names: Mapping[str, str]) -> list[str]:
    found = results["variants"][name]["accuracy"]
    return [names[name], *(_share(found[f]) for f in (OVERALL, *results["families"]))]


def _share(summary: Mapping[str, float | None]) -> str:
    """A share in per cent with its interval: "61.2 [59.8, 62.6]"."""
    mean, low, high = (summary[name] for name in ("mean", "low", "high"))
    if mean is None:
        return "-"
    reach = "" if low is None or high is None else f" [{100 * low:.1f}, {100 * high:.1f}]"
    return f"{100 * mean:.1f}{reach}"


def _differences(
    differences: Mapping[str, Any], pair: str, families: list[str], title: str
) -> list[str]:
    scaled = [
        {name: None if v is None else 100 * v for name, v in differences[pair][family].items()}
        for family in (OVERALL, *families)
    ]
    return [title, *(signed(summary, 1) for summary in scaled)]


def _costs(results: Mapping[str, Any], name: str, names: Mapping[str, str]) -> list[str]:
    found = results["variants"][name]
    times = [f"{found['response_ms'][f'batch {size}']:.2f}" for size in (1, 64)]
    return [
        names[name],
        *times,
        f"{found['parameters']:,}",
        f"{found['learning']:,}",
        f"{found['train_seconds']:.1f}",
        f"{found['epochs']:.1f}",
    ]


def _steadiness(results: Mapping[str, Any], name: str, names: Mapping[str, str]) -> list[str]:
    found = results["variants"][name]["stability"]
    forms = {
        "gradient_norm_mean": ".2f",
        "gradient_norm_max": ".2f",
        "clipped_share": ".0%",
        "update_cosine": ".3f",
        "swing_share": ".1%",
        "straightness": ".2f",
        "validation_variance": ".2g",
    }
    cells = [
        "-" if found.get(key) is None else format(found[key], form) for key, form in forms.items()
    ]
    return [names[name], *cells]


def print_benchmark(results: Mapping[str, Any], console: Console) -> None:
    """Print the tables and what they mean; an interval stands below its mean."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table as RichTable
    from rich.text import Text

    console.print(caption(results), highlight=False, markup=False)
    console.print()
    for title, headings, rows in tables(results, short=True):
        table = RichTable(box=SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
        for at, name in enumerate(headings):
            table.add_column(Text(name), justify="right" if at else "left", no_wrap=not at)
        for row in rows:
            table.add_row(*(_cell(text) for text in row))
        console.print(Text(title, "bold"), table, "", sep="\n")
    for sentence in results["sentences"]:
        console.print(f"• {sentence}", highlight=False, markup=False)


def _cell(text: str) -> Any:
    """A mean, and below it half the width of its interval."""
    from rich.text import Text

    mean, bracket, interval = text.partition(" [")
    if not bracket:
        return Text(text)
    low, high = map(float, interval.rstrip("]").split(", "))
    return Text(f"{mean}\n").append(f"±{(high - low) / 2:.1f}", "dim")
