"""`dsa benchmark` is light to load; what it does is tested in `benchmark/test_run.py`."""

from __future__ import annotations

import subprocess
import sys


def test_its_module_loads_no_heavy_library() -> None:
    program = "import dsa_agents.commands_paper, sys; print(*sys.modules)"
    found = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    heavy = {"torch", "matplotlib", "transformers", "scipy", "statsmodels", "sacrebleu"}
    assert not heavy & set(found.stdout.split())
