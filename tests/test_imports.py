"""Importing the package is cheap: it loads nothing that only some of its users need."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

HEAVY = {
    "PIL",
    "faiss",
    "huggingface_hub",
    "jinja2",
    "matplotlib",
    "numba",
    "optuna",
    "pandas",
    "pycocotools",
    "rich",
    "safetensors",
    "sb3_contrib",
    "scipy",
    "sklearn",
    "stable_baselines3",
    "tensorboard",
    "tokenizers",
    "torch",
    "transformers",
    "typer",
    "z3",
}


def loaded_by(statement: str) -> set[str]:
    """Top-level modules that a fresh interpreter holds after a statement."""
    program = f"{statement}\nimport sys, json; print(json.dumps(sorted(sys.modules)))"
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=True
    )
    return {name.partition(".")[0] for name in json.loads(result.stdout.splitlines()[-1])}


def test_importing_dsa_env_loads_numpy_and_gymnasium_alone() -> None:
    loaded = loaded_by("import dsa_env")
    assert {"numpy", "gymnasium"} <= loaded
    assert not HEAVY & loaded


@pytest.mark.parametrize("package", ["dsa_agents", "dsa_tuning"])
def test_importing_the_other_packages_loads_no_heavy_library(package: str) -> None:
    assert not HEAVY & loaded_by(f"import {package}")


def test_the_heavy_modules_are_looked_for_under_names_that_exist() -> None:
    # A misspelt name in HEAVY would make the tests above pass whatever is imported.
    import importlib.util

    assert [name for name in sorted(HEAVY) if importlib.util.find_spec(name) is None] == []


def test_environments_are_registered_by_the_import_and_only_once() -> None:
    import gymnasium

    import dsa_env

    spec = gymnasium.registry["DSA/Retrieval-v0"]
    dsa_env.register()  # a second registration would warn, and warnings are errors
    assert gymnasium.registry["DSA/Retrieval-v0"] is spec
