"""Compiled functions work where no cache can be written, and the helpers do what they say."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from dsa_env.curves.jit import grow, insert, sort_pairs

MODULE = """
from dsa_env.curves.jit import compiled

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


@given(st.lists(st.integers(-5, 5), max_size=200))
def test_pairs_are_sorted_together(numbers: list[int]) -> None:
    keys, values = np.array(numbers, dtype=float), np.arange(len(numbers), dtype=float)
    sort_pairs(keys, values)
    assert keys.tolist() == sorted(numbers)
    assert [numbers[int(v)] for v in values] == keys.tolist()
    assert sorted(values.tolist()) == list(range(len(numbers)))


@given(st.lists(st.floats(0, 1), max_size=8), st.floats(0, 1))
def test_a_value_is_put_in_its_place(values: list[float], value: float) -> None:
    array = np.full(10, np.nan)
    array[: len(values)] = sorted(values)
    assert insert(array, len(values), value) == len(values) + 1
    assert array[: len(values) + 1].tolist() == sorted([*values, value])


def test_growing_keeps_what_was_there() -> None:
    assert grow(np.arange(3.0), 5)[:3].tolist() == [0.0, 1.0, 2.0]
    assert len(grow(np.arange(3.0), 5)) == 5
