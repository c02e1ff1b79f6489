"""How steps per second and memory grow with shortlist, gallery, dimension and batch."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from dsa_env.bank import FeatureBank
from dsa_env.retrieval.shortlist import load_retrieval
from dsa_env.vector import RetrievalVectorEnv

from .measure import Row
from .memory import BATCH, CANDIDATES, DIM, measured, stepped, unit

QUERIES = 10_000
FLOATS = 4 * DIM
SHORTLISTS = (16, 64, 256, 1024, 5000)
GALLERIES = (1_000, 10_000, 100_000, 1_000_000)
DIMENSIONS = (64, 256, 1024, 4096)
BATCHES = (1, 16, 128, 1024, 8192)
ASKED = 16
"""Queries that are asked of a gallery."""


def rows(_bank: str) -> list[Row]:
    """No row of the table: this section has curves."""
    return []


def series(_bank: str) -> dict[str, Any]:
    """For each variable its values and what was measured there."""
    gallery(GALLERIES[0] // 2)  # compiles what prepares
    return {
        "shortlist": curve(SHORTLISTS, lambda k: measured(QUERIES, k, FLOATS)),
        "dimension": curve(DIMENSIONS, lambda floats: measured(QUERIES, CANDIDATES, floats)),
        "batch": curve(BATCHES, lambda size: measured(QUERIES, CANDIDATES, FLOATS, size)),
        "gallery": {"x": GALLERIES, "points": [gallery(size) for size in GALLERIES]},
    }


def curve(values: tuple[int, ...], measure: Any) -> dict[str, Any]:
    """Measure at each value."""
    return {"x": values, "points": [asdict(measure(value)) for value in values]}


def gallery(size: int) -> dict[str, float]:
    """Steps and memory of a process that opens the bank; seconds a query to prepare it before."""
    rng = np.random.default_rng(0)
    image, other = (unit(rng.standard_normal((size, DIM), dtype=np.float32)) for _ in range(2))
    asked = rng.choice(size, ASKED, replace=False)
    text = image[asked] + other[asked] + unit(rng.standard_normal((ASKED, DIM), dtype=np.float32))
    with tempfile.TemporaryDirectory(prefix="dsa-bench-") as folder:
        path = Path(folder) / "bank"
        bank = FeatureBank.from_arrays(
            text, image, other, positives=asked, splits=["train"] * size, path=path
        )
        started = time.perf_counter()
        load_retrieval(bank, "text_to_image", "train", shortlist=CANDIDATES)
        prepared = (time.perf_counter() - started) / ASKED
        command = [sys.executable, "-m", __name__, str(path)]
        output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return {**json.loads(output.splitlines()[-1]), "prepared": prepared}


if __name__ == "__main__":
    print(json.dumps(stepped(RetrievalVectorEnv(BATCH, sys.argv[1], shortlist=CANDIDATES))))
