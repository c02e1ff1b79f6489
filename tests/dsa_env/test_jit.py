"""Compiled functions work where no cache can be written."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

MODULE = """
from dsa_env.jit import compiled

@compiled
def half(x):
    return x / 2 if x else 1 / x
"""


def test_compiling_needs_no_writable_folder(tmp_path: Path) -> None:
    """A read-only package, and a home that is a file: compiled anew, without an error."""
    package = tmp_path / "site"
    package.mkdir()
    (package / "halves.py").write_text(MODULE)
    (package / "__pycache__").write_text("a file where the cache would be")
    (tmp_path / "home").write_text("a file where the home would be")
    root = Path(__file__).parents[2]
    home = str(tmp_path / "home")
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(package), str(root)]),
        "HOME": home,
        "XDG_CACHE_HOME": home,
        "NUMBA_CACHE_DIR": "",
    }
    result = subprocess.run(
        [sys.executable, "-B", "-c", "import halves; print(halves.half(3.0), halves.half(0.0))"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.stdout == "1.5 inf\n", result.stderr
