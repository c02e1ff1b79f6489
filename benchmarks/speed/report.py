"""The measured figures as a Markdown table and plots."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dsa_env.files import write_text

HEAD = """# Speed

Written by `make bench` (`python -m benchmarks.speed`); `results.json` holds the figures. A section
is measured in one process, its contenders in turns: a figure is the median over the rounds, a ratio
the median of the rounds' own ratios (quartiles in brackets). One thread each, unless a note says
otherwise.
"""


def write_report(results: dict[str, Any], out: Path) -> None:
    """Write ``RESULTS.md`` (and what it shows) into the folder `out`."""
    parts = [HEAD]
    for about in [section["machine"] for section in results.values()][-1:]:
        parts.append(_machine(about))
    rows = [row for section in results.values() for row in section["rows"]]
    parts.append(_table(rows))
    parts.append("## Notes\n\n" + "\n".join(f"- {row['title']}: {row['note']}." for row in rows))
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
