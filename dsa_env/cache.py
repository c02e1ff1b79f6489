"""The user's cache folder: what was built once and can be built again."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """The folder for files that can be made again, such as the embedded bank; may not exist yet.

    The environment variable ``DSA_CACHE`` names it; without it, ``dsa-env`` inside
    ``XDG_CACHE_HOME``, which is ``~/.cache`` where it is not set.
    """
    if own := os.environ.get("DSA_CACHE"):
        return Path(own).expanduser()
    shared = os.environ.get("XDG_CACHE_HOME")
    return (Path(shared) if shared else Path.home() / ".cache") / "dsa-env"
