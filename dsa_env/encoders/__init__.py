"""Frozen models that make features: dual encoders for text and pictures, detectors for regions."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

EMBEDDED = "embedded"
"""The name of the models that the package ships."""


def model_folder(name: str, part: str) -> str:
    """A model's name or folder as transformers takes it; "embedded" is the package's own.

    Args:
        name: a hub name, a local folder or "embedded".
        part: "encoder" or "detector", which of the embedded models is meant.
    """
    if name != EMBEDDED:
        return str(name)
    return str(Path(str(files("dsa_env"))) / "weights" / part)
