"""A small bank with everything in it, and how to replace an array of one on disk."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

T, N, R, D = 24, 12, 3, 6


def arguments(seed: int = 0, **changes: Any) -> dict[str, Any]:
    """A small bank with everything in it."""
    rng = np.random.default_rng(seed)
    made: dict[str, Any] = {
        "text": rng.normal(size=(T, D)),
        "coarse": rng.normal(size=(N, D)),
        "regions": rng.normal(size=(N, R, D)),
        "region_counts": np.arange(N) % (R + 1),
        "region_boxes": rng.random((N, R, 4)),
        "positives": np.arange(T) % N,
        "kinds": ["scene", "object"] * (T // 2),
        "facts": {
            "features": rng.normal(size=(5, D)),
            "text": [[i % 5] for i in range(T)],
            "image": [[i % 5, (i + 1) % 5] for i in range(N)],
            "names": [f"fact {i}" for i in range(5)],
            "kinds": list("xyxyx"),
        },
        "texts": [f"text {i}" for i in range(T)],
        "image_files": [f"{i}.png" for i in range(N)],
        "provenance": {"encoder": "mine"},
    }
    return made | changes


def resign(folder: Path, name: str, array: np.ndarray) -> None:
    """Write an array and make the manifest agree: only the content itself is wrong."""
    from dsa_env.files import sha256_file

    np.save(folder / f"{name}.npy", array)
    manifest = json.loads((folder / "bank.json").read_text())
    manifest["arrays"][name]["sha256"] = sha256_file(folder / f"{name}.npy")
    (folder / "bank.json").write_text(json.dumps(manifest))
