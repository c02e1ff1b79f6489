"""The benchmark's page and its Markdown file: the tables, the charts, and how it was made."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dsa_agents.benchmark.charts import CAPTIONS, write_charts
from dsa_agents.benchmark.metrics import ROWS
from dsa_agents.benchmark.tables import caption, tables
from dsa_agents.pages import flat, png_data, write_page
from dsa_env.files import write_text

PLOTS, REPORT, MARKDOWN, TEMPLATE = "plots", "report.html", "report.md", "benchmark.html.j2"
TITLE = "Captions with granularity"
ABOUT = (
    "Frozen models caption pictures as they are, and with a controller inside that chooses for "
    "every query how much detail the model sees, V' = g V_fine + (1 - g) V_coarse."
)
HOW = (
    "Recall is self-retrieval: whether a caption, through the bank's frozen text encoder, finds "
    "its own picture among the gallery. The hallucination rate is the share of what a caption "
    "asserts that is not true of the picture, where the bank knows; severity is the same as the "
    "hallucination detection network sees it. Differences are paired: both rows see the same "
    "resampled pictures, so an interval that leaves out 0 means that they differ. Overheads are "
    "medians of interleaved rounds on one thread, the two times of a round beside each other (on a "
    "processor the process' own time, so that a busy machine does not count). "
    "Training is the controller's, on captions that were written before."
)


def write_report(results: Mapping[str, Any], out: Path) -> Path:
    """Draw the charts into `out/plots`, write `out/report.md` and `out/report.html`; the page."""
    charts = write_charts(results, out / PLOTS)
    shown = tables(results)
    notes = [(label, note) for label, note in ROWS.values()]
    made = flat({name: results[name] for name in ("dataset", "plan", "machine", "seconds")})
    for name, one in results["models"].items():
        about = {k: v for k, v in one.items() if k in ("path", "class", "parameters", "controller")}
        made += flat({name: about})
    write_text(out / MARKDOWN, _markdown(results, shown, charts, notes))
    context = {
        "title": TITLE,
        "about": ABOUT,
        "how": HOW,
        "caption": caption(results),
        "sentences": results["sentences"],
        "tables": shown,
        "notes": notes,
        "plots": [
            (name, png_data(file.read_bytes()), CAPTIONS[name]) for name, file in charts.items()
        ],
        "provenance": made,
    }
    return write_page(out / REPORT, "dsa_agents", TEMPLATE, context)


def _markdown(
    results: Mapping[str, Any],
    shown: list[tuple[str, list[str], list[list[str]]]],
    charts: Mapping[str, Path],
    notes: list[tuple[str, str]],
) -> str:
    """The same as Markdown, with pipes for tables and the charts as linked pictures."""
    lines = [f"# {TITLE}", "", ABOUT, "", caption(results), ""]
    lines += [f"- {sentence}" for sentence in results["sentences"]]
    for title, headings, rows in shown:
        lines += ["", f"## {title}", "", _row(headings), _row(["---"] * len(headings))]
        lines += [_row(row) for row in rows]
    lines += ["", HOW, ""]
    for name, file in charts.items():
        lines += [f"![{name}]({PLOTS}/{file.name})", "", CAPTIONS[name], ""]
    lines += ["## Rows", "", *(f"- **{label}**: {note}" for label, note in notes)]
    return "\n".join(lines) + "\n"


def _row(cells: list[str]) -> str:
    escaped = (cell.replace("|", "\\|").replace("\n", " ") for cell in cells)
    return f"| {' | '.join(escaped)} |"
