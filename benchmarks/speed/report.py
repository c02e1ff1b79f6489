"""The measured figures as a Markdown table and plots."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from dsa_agents.plots import AGENT, STYLE, SWEEP
from dsa_env.files import atomic_write, write_text

HEAD = """# Speed

Written by `make bench` (`python -m benchmarks.speed`); `results.json` holds the figures. A section
is measured in one process, its contenders in turns: a figure is the median over the rounds, a ratio
the median of the rounds' own ratios (quartiles in brackets). One thread each, unless a note says
otherwise, and for all of them glibc keeps what is freed: else the operating system hands out (and
clears) each batch's new arrays, which takes longer than filling them.
"""


def write_report(results: dict[str, Any], out: Path) -> None:
    """Write ``RESULTS.md`` (and what it shows) into the folder `out`."""
    parts = [HEAD]
    for about in [section["machine"] for section in results.values()][-1:]:
        parts.append(_machine(about))
    rows = [row for section in results.values() for row in section["rows"]]
    parts.append(_table(rows))
    notes = (f"{row['title']}: {row['note']}." for row in rows)
    bullets = (textwrap.fill(n, 100, initial_indent="- ", subsequent_indent="  ") for n in notes)
    parts.append("## Notes\n\n" + "\n".join(bullets))
    if "growth" in results:
        draw(results["growth"]["series"], out / "growth.png")
        parts.append(_growth(results["growth"]["series"]))
    write_text(out / "RESULTS.md", "\n".join(part.rstrip() + "\n" for part in parts))


def _machine(about: dict[str, Any]) -> str:
    first = f"{about['processor']}, {about['cores']} cores, {about['memory_gib']} GiB"
    versions = ", ".join(
        f"{name} {value}"
        for name, value in about.items()
        if name not in ("processor", "cores", "memory_gib", "system")
    )
    return f"Machine: {first}, {about['system']}. Versions: {versions}.\n"


def _table(rows: list[dict[str, Any]]) -> str:
    lines = ["| ours / peer | ours | peer | ratio | goal | reached |", "| --- |" + " ---: |" * 5]
    for row in rows:
        spread = "" if row["spread"] is None else " ({:.3g} to {:.3g})".format(*row["spread"])
        sign = "<=" if row["at_most"] else ">="
        goal = "" if row["goal"] is None else f"{sign} {row['goal']:g}"
        met = {None: "", True: "yes", False: "**missed**"}[row["met"]]
        ours, peer = (f"{figure(row[name])} {row['unit']}" for name in ("ours", "peer"))
        ratio = f"{row['ratio']:.3g}{spread}"
        lines.append(f"| {row['title']} | {ours} | {peer} | {ratio} | {goal} | {met} |")
    return "\n".join(lines) + "\n"


def figure(value: float) -> str:
    """Three significant digits, thousands with separators."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


LABELS = {
    "shortlist": "candidates a query",
    "gallery": "items in the gallery",
    "dimension": "floats observed",
    "batch": "environments",
}
"""Variables in the order of the plots, with their axes."""


def draw(series: dict[str, Any], path: Path) -> None:
    """Steps/s above, memory (and preparation) below, one column a variable."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(13, 6), layout="constrained")
        axes = figure.subplots(2, len(LABELS))
        for column, (name, label) in enumerate(LABELS.items()):
            x, points = series[name]["x"], series[name]["points"]
            top, bottom = axes[0][column], axes[1][column]
            top.plot(x, [point["rate"] / 1e6 for point in points], "o-", color=AGENT)
            top.set_ylim(0, 1.15 * max(point["rate"] for point in points) / 1e6)
            top.set_title("M steps/s")
            for key, what, colour, unit in (
                ("private", "private memory (MiB)", AGENT, 2**20),
                ("files", "files on disk (MiB)", SWEEP, 2**20),
                ("prepared", "preparation (ms a query)", "black", 1e-3),
            ):
                if key in points[0]:
                    bottom.plot(x, [p[key] / unit for p in points], "o-", color=colour, label=what)
            bottom.legend()
            bottom.set_yscale("log")
            for axis in (top, bottom):
                axis.set_xscale("log")
            bottom.set_xlabel(label)
        with atomic_write(path) as file:
            figure.savefig(file, format="png")


def _growth(series: dict[str, Any]) -> str:
    """The picture and one line for each curve."""
    ends = {name: [curve["points"][i] for i in (0, -1)] for name, curve in series.items()}
    rate = {name: [f"{end['rate'] / 1e6:.2g}" for end in both] for name, both in ends.items()}
    private = {
        name: [f"{end['private'] / 2**20:,.0f}" for end in both]
        for name, both in ends.items()
        if "private" in both[0]
    }
    prepared = [f"{1e3 * end['prepared']:.3g}" for end in ends["gallery"]]
    best = max(point["rate"] for point in series["batch"]["points"]) / 1e6
    x = {name: (curve["x"][0], f"{curve['x'][-1]:,}") for name, curve in series.items()}
    lines = [
        "Shortlist: {0[0]} to {0[1]} M steps/s from {1[0]} to {1[1]} candidates: a step looks up a "
        "piece of the query's reward curve and does not rank; longer curves (severities are drawn "
        "here, so that hardly any two neighbours earn the same) only fill more of the "
        "cache.".format(rate["shortlist"], x["shortlist"]),
        "Gallery: {0[0]} to {0[1]} M steps/s and {3[0]} to {3[1]} MiB from {1[0]} to {1[1]} items "
        "(a few queries and 192 floats, all in the cache): a step knows the shortlist alone; what "
        "grows is its preparation, once a query, {2[0]} to {2[1]} ms by comparing everything"
        ".".format(rate["gallery"], x["gallery"], prepared, private["gallery"]),
        "Dimension: {0[0]} to {0[1]} M steps/s from {1[0]} to {1[1]} floats: copying the "
        "observation is what a step costs, so the rate falls as one over the floats once they "
        "outweigh the rest.".format(rate["dimension"], x["dimension"]),
        f"Batch: {rate['batch'][0]} M steps/s for one environment, {best:.2g} M at best: a call's "
        "fixed cost is shared until the observations outgrow the processor's cache.",
        "Memory: private memory is {0[0]} to {0[1]} MiB over the shortlists and {1[0]} to {1[1]} "
        "MiB over the dimensions (two batches of observations are alive at a time); the files on "
        "disk grow with both.".format(private["shortlist"], private["dimension"]),
    ]
    bullets = [
        textwrap.fill(line, 100, initial_indent="- ", subsequent_indent="  ") for line in lines
    ]
    head = (
        "## Growth\n\n![steps per second and memory](growth.png)\n\n"
        "Ten thousand queries, 128 candidates, 256 floats, batch 1,024 unless the axis says "
        "otherwise.\n\n"
    )
    return head + "\n".join(bullets)
