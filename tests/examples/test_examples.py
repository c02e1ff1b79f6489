"""The example scripts run from bank to captions, on small models in place of the hub's."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from dsa_env.bank import FeatureBank
from tests.agents.benchmark.small_captioners import draw_bank, save_captioner

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
SCRIPTS = {"llava_1_5": "llava", "blip_2": "blip2", "idefics": "idefics"}


@pytest.fixture(scope="module")
def bank(tmp_path_factory: pytest.TempPathFactory) -> FeatureBank:
    return draw_bank(tmp_path_factory.mktemp("drawn"))


@pytest.mark.parametrize("script", SCRIPTS)
def test_it_trains_a_controller_attaches_it_and_generates(
    script: str,
    bank: FeatureBank,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 1)  # processes of their own take seconds to start
    found = importlib.util.spec_from_file_location(script, EXAMPLES / f"{script}.py")
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    model = save_captioner(tmp_path / "model", SCRIPTS[script])
    words = [
        "--model", str(model), "--bank", str(bank.path), "--out", str(tmp_path / "out"),
        "--timesteps", "64", "--show", "2",
    ]  # fmt: skip
    module.main(words)
    told = capsys.readouterr().out
    assert told.count("  native ") == told.count("  g = ") == 4
    if script == "llava_1_5":
        module.main(words)  # a second call finds the run
        assert capsys.readouterr().out == told


def test_every_example_names_the_hub_s_model_and_is_tested() -> None:
    scripts = {file.stem: file.read_text() for file in EXAMPLES.glob("*.py")}
    assert set(scripts) == set(SCRIPTS)
    hub = {"llava_1_5": "llava-hf/", "blip_2": "Salesforce/", "idefics": "HuggingFaceM4/"}
    for name, text in scripts.items():
        assert f'MODEL = "{hub[name]}' in text
