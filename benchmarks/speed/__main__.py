"""Measure and write the table: `python -m benchmarks.speed [SECTION ...] [--bank FOLDER]`.

Each section runs in a process of its own and keeps its figures in ``results.json``, so that one
can be measured again alone; `RESULTS.md` and the plots are drawn from that file.
"""

from __future__ import annotations

import argparse
import importlib
import os
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

from dsa_env.files import read_json, write_json

from .measure import machine
from .report import write_report

SECTIONS = ("environments", "training", "learning", "oracle", "memory", "growth")
HERE = Path(__file__).resolve().parents[1]
ALIKE = {
    **{f"{name}_NUM_THREADS": "1" for name in ("OMP", "MKL", "OPENBLAS", "NUMBA")},
    "MALLOC_MMAP_THRESHOLD_": str(2**25),
    "MALLOC_TRIM_THRESHOLD_": str(2**32),
}
"""What every section's environment holds: one thread, and memory that is kept when freed."""


def main() -> None:
    """Run the sections that were asked for and write the report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=", ".join(SECTIONS))
    parser.add_argument("--bank", default="embedded", help="a folder, or 'embedded'")
    parser.add_argument("--out", type=Path, default=HERE, help="folder of RESULTS.md")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    unknown = set(options.sections) - set(SECTIONS)
    if unknown:
        parser.error(f"unknown section {min(unknown)!r}; choose from {', '.join(SECTIONS)}")
    options.out.mkdir(parents=True, exist_ok=True)
    results = options.out / "results.json"
    if options.inside:
        measure(options.sections[0], options.bank, results)
        return
    for section in options.sections or SECTIONS:
        print(f"{section} ...", file=sys.stderr, flush=True)
        command = [sys.executable, "-m", "benchmarks.speed", section, "--inside"]
        command += ["--bank", options.bank, "--out", str(options.out)]
        subprocess.run(command, check=True, env={**os.environ, **ALIKE})
    write_report(read_json(results), options.out)
    print(options.out / "RESULTS.md")


def measure(section: str, bank: str, results: Path) -> None:
    """Measure one section here and put it into the results."""
    started = time.perf_counter()
    module = importlib.import_module(f".{section}", __package__)
    found = {"rows": [asdict(row) | {"met": row.met} for row in module.rows(bank)]}
    if hasattr(module, "series"):
        found["series"] = module.series(bank)
    found |= {"seconds": round(time.perf_counter() - started, 1), "machine": machine()}
    everything = read_json(results) if results.exists() else {}
    write_json(results, everything | {section: found})


if __name__ == "__main__":
    main()
