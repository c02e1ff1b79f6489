"""Controllers come from runs or folders of their own, and say whether they fit a model."""

from __future__ import annotations

from pathlib import Path

import pytest

from dsa_agents.benchmark.controllers import open_controllers, why_not
from dsa_agents.run_folder import RunFolder
from dsa_env.captioning.captioner import Captioner
from dsa_env.controller import GranularityController
from dsa_env.errors import DSAError
from tests.agents.benchmark.small_captioners import save_captioner


@pytest.fixture(scope="module")
def captioner(tmp_path_factory: pytest.TempPathFactory) -> Captioner:
    return Captioner.load(str(save_captioner(tmp_path_factory.mktemp("llava"), "llava")))


def test_a_run_gives_its_best_seed_or_those_that_are_named(made_run: RunFolder) -> None:
    best = open_controllers(str(made_run.path))
    assert best.seeds == (made_run.best_seed,)
    assert best.train_seconds == made_run.train_seconds
    assert best.bank == made_run.bank.sha256
    assert best.config == made_run.config
    both = open_controllers(str(made_run.path), (0, 1))
    assert len(both.each) == 2
    with pytest.raises(DSAError, match="seed '7'"):
        open_controllers(str(made_run.path), (7,))


def test_a_controller_of_another_direction_or_input_does_not_fit(
    made_run: RunFolder, captioner: Captioner, tmp_path: Path
) -> None:
    reason = why_not(open_controllers(str(made_run.path)), captioner)
    assert reason is not None
    assert "trained for text to image" in reason
    cases = {
        "granularity": {**captioner.widths, "granularity": 1},
        "another model": {"text": 7, "image": 5},
    }
    for words, inputs in cases.items():
        made = GranularityController(
            inputs, hidden=(), metadata={"direction": "captioning", "model": captioner.name}
        )
        made.save_pretrained(tmp_path / words)
        reason = why_not(open_controllers(str(tmp_path / words)), captioner)
        assert reason is not None
        assert words in reason


def test_an_exported_controller_says_what_it_was_trained_for(
    captioner: Captioner, tmp_path: Path
) -> None:
    metadata = {
        "direction": "captioning", "model": captioner.name, "prompts": ["a", "b"], "k": 5,
        "seed": 3, "algorithm": "ppo", "bank_sha256": "x",
    }  # fmt: skip
    made = GranularityController(captioner.widths, hidden=(), metadata=metadata)
    made.save_pretrained(tmp_path / "c")
    found = open_controllers(str(tmp_path / "c"))
    assert (found.config.k, found.config.prompts) == (5, ("a", "b"))
    assert (found.seeds, found.bank, found.train_seconds) == ((3,), "x", None)
    assert why_not(found, captioner) is None


def test_a_folder_that_is_no_controller_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DSAError, match="no controller"):
        open_controllers(str(tmp_path))
