"""`dsa benchmark-alignment` is light to load and says in one line what is wrong."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from dsa_env import cli

ENTRY = EntryPoint(
    "benchmark-alignment", "dsa_agents.commands_benchmark:benchmark_alignment", cli.GROUP
)


def test_its_module_loads_no_heavy_library() -> None:
    program = "import dsa_agents.commands_benchmark, sys; print(*sys.modules)"
    found = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert not {"torch", "matplotlib", "transformers", "scipy"} & set(found.stdout.split())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--seeds", "0"], "--seeds"),
        (["--images", "-1"], "--images"),
        (["--epochs", "0"], "epochs must be at least 1"),
        (["--rate", "0"], "rate must be above 0"),
        (["--bank", "nowhere"], "no feature bank"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(
    words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["benchmark-alignment", "--quick", "--out", str(tmp_path / "out"), *words]
    assert cli.main(arguments, [ENTRY]) == 2
    said = capsys.readouterr()
    assert message in said.err
    assert said.err.strip().count("\n") == 0
    assert said.out == ""
