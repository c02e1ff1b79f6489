"""A small bank on disk for the tests of banks."""

from __future__ import annotations

from pathlib import Path

import pytest

from dsa_env.bank import FeatureBank
from tests.dsa_env.bank.small_bank import arguments


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "bank"
    FeatureBank.from_arrays(**arguments(), path=path)
    return path
