"""The shape of the tree: what is packaged, how files open, how long they are, who imports whom."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

import dsa_env
from dsa_env.extras import normalise, requirements

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PACKAGES = [
    ROOT / folder for folder in PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
]
SOURCES = sorted(
    path
    for folder in [*PACKAGES, ROOT / "tests", ROOT / "benchmarks"]
    for path in folder.rglob("*.py")
)
LONGEST = 450


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def test_the_wheel_holds_the_three_typed_packages_under_unique_names() -> None:
    assert [name_of(folder) for folder in PACKAGES] == [
        "dsa_env",
        "agents/dsa_agents",
        "tuning/dsa_tuning",
    ]
    for folder in PACKAGES:
        assert (folder / "__init__.py").is_file()
        assert (folder / "py.typed").is_file()
    # With an __init__.py there, a wheel's top-level `agents` would shadow another distribution's.
    assert not (ROOT / "agents" / "__init__.py").exists()
    assert not (ROOT / "tuning" / "__init__.py").exists()


def test_every_entry_point_names_a_function_or_a_table_that_exists() -> None:
    project = PROJECT["project"]
    groups = [project["scripts"], *project["entry-points"].values()]
    for target in [target for group in groups for target in group.values()]:
        module, _, attribute = target.partition(":")
        path = Path(*module.split(".")).with_suffix(".py")
        homes = [folder.parent / path for folder in PACKAGES if (folder.parent / path).is_file()]
        assert homes, target
        nodes = ast.parse(homes[0].read_text()).body
        functions = {node.name for node in nodes if isinstance(node, ast.FunctionDef)}
        tables = {
            node.target.id
            for node in nodes
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
        }
        assert attribute in functions | tables, target


def test_the_version_is_written_once() -> None:
    assert "version" in PROJECT["project"]["dynamic"]
    assert metadata.version("dsa-env") == dsa_env.__version__


def test_the_changelog_has_an_entry_for_this_version() -> None:
    assert f"## {dsa_env.__version__}" in (ROOT / "CHANGELOG.md").read_text()


def test_the_constraints_pin_every_requirement_at_or_above_its_lower_bound() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = dict(line.split("==") for line in lines if not line.startswith("#"))
    pinned = {normalise(name): version for name, version in pins.items()}
    for group in requirements().values():
        assert not [name for name in group if name not in pinned]
    for requirement in metadata.requires("dsa-env") or ():
        found = re.match(r"([\w.-]+)>=([\d.]+)", requirement)
        if found:
            assert numbers(pinned[normalise(found[1])]) >= numbers(found[2]), requirement


def numbers(version: str) -> list[int]:
    """The leading release numbers of a version."""
    return [int(part) for part in re.findall(r"\d+", version.split("+")[0])]


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_a_file_opens_with_one_line_and_stays_readable(path: Path) -> None:
    text = path.read_text()
    docstring = ast.get_docstring(ast.parse(text)) or ""
    first, _, rest = docstring.partition("\n")
    assert first.endswith((".", ":", "?")), "opens with a line that says what the file is"
    assert not rest or rest.startswith("\n"), "the first line stands alone"
    assert text.count("\n") <= LONGEST


def test_the_imports_go_one_way() -> None:
    program = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    result = subprocess.run(
        [sys.executable, "-c", program, "--no-logo", "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert "2 kept, 0 broken" in result.stdout
