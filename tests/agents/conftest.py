"""One made run and its evaluation, shared by the tests of what comes after training."""

from __future__ import annotations

from pathlib import Path

import pytest

from dsa_agents.evaluate import Evaluation, evaluate
from dsa_agents.run_folder import RunFolder
from tests.agents.made_runs import QUICK, make_run


@pytest.fixture(scope="session")
def made_run(synthetic_bank_path: Path, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A finished run from text to image with two seeds, whose controllers were never trained."""
    return make_run(tmp_path_factory.mktemp("runs") / "made", synthetic_bank_path, k=1)


@pytest.fixture(scope="session")
def evaluation(made_run: RunFolder) -> Evaluation:
    """The run's evaluation on the test split."""
    return evaluate(made_run, resamples=300, fit=QUICK, progress=False)
