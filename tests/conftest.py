"""What all tests share: one thread each, a cache of their own, banks made once a session."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from dsa_env.bank import FeatureBank

ROOT = Path(__file__).resolve().parents[1]

# Set before numpy and torch are imported: their threads fight over a busy worker's core.
for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(variable, "1")
os.environ["MPLBACKEND"] = "Agg"
os.environ["HF_HUB_OFFLINE"] = "1"  # no test reaches for a hub
# What tests build on first use stays out of the user's cache; `make clean` removes it.
os.environ["DSA_CACHE"] = str(ROOT / ".cache" / "tests")

# The same examples every time, and no deadline: the machine is shared by the workers.
settings.register_profile("project", deadline=None, derandomize=True)
settings.load_profile("project")


@pytest.fixture(scope="session")
def synthetic_bank() -> FeatureBank:
    """A small bank in memory in which half of the texts are served by each view."""
    from dsa_env import testing

    return testing.synthetic_bank()


@pytest.fixture(scope="session")
def synthetic_bank_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the same bank, written to disk; read it, do not change it."""
    from dsa_env import testing

    folder = tmp_path_factory.mktemp("banks") / "synthetic"
    testing.synthetic_bank(path=folder)
    return folder
