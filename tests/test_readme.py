"""What the README shows is run: its Python as it stands, its commands on a small budget."""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import LlavaForConditionalGeneration

from dsa_agents.run_folder import TrainConfig
from dsa_env import GranularityController, cli
from dsa_env.mllm.bridges import find_bridge
from dsa_tuning.space import make_space
from tests.agents.benchmark.small_captioners import draw_bank
from tests.dsa_env.encoders.small_models import save_llava
from tests.dsa_env.mllm.test_attachment import inputs_for

README = Path(__file__).resolve().parents[1] / "README.md"
BUDGET = {  # what the README trains in minutes, a test trains in seconds
    "train": ["--timesteps", "4000"],
    "align": ["--epochs", "1"],
    "prove": ["--no-lean"],
    "audit": ["--no-lean"],
    "tune": ["--timesteps", "500", "--trials", "2", "--n-envs", "64", "--workers", "1"],
    "benchmark": ["--pictures", "6", "--rounds", "2", "--bootstrap", "50", "--grid", "3"],
}


def blocks(language: str) -> list[str]:
    """The fenced blocks of a language ("" for commands) in order."""
    fenced = re.findall(
        r"^```(\w*)\n(.*?)^```$", README.read_text(), flags=re.DOTALL | re.MULTILINE
    )
    return [text for name, text in fenced if name == language]


def commands() -> list[list[str]]:
    """Every `dsa` command line of the README, without its comment."""
    lines = "\n".join(blocks("")).replace("\\\n", " ").splitlines()
    return [shlex.split(line, comments=True)[1:] for line in lines if line.startswith("dsa ")]


def small_models(folder: Path) -> tuple[Path, Path]:
    """A random encoder and detector on disk, in place of the hub's."""
    from dsa_env.pretrain import detector, encoder

    torch.manual_seed(0)
    encoder.build_model(16).save_pretrained(folder / "clip")
    encoder.build_processor().save_pretrained(folder / "clip")
    encoder.build_tokenizer(["a small red cube"]).save_pretrained(folder / "clip")
    detector.build_detector().save_pretrained(folder / "detr")
    detector.build_processor().save_pretrained(folder / "detr")
    return folder / "clip", folder / "detr"


@pytest.mark.slow
def test_the_readme_does_what_it_says(
    synthetic_bank_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dsa_env import build
    from dsa_env.bank import FeatureBank
    from dsa_env.datasets.clevr import draw_world

    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    names: dict[str, object] = {
        "text": rng.normal(size=(120, 8)),
        "coarse": rng.normal(size=(60, 8)),
        "regions": [rng.normal(size=(1 + n % 3, 8)) for n in range(60)],
        "image_of_text": np.arange(120) % 60,
        "text_features": torch.randn(5, 8),
        "image_features": torch.randn(5, 16),
    }
    bank, reward, controller, attaching = blocks("python")
    exec(bank, names)
    (tmp_path / "my_rewards.py").write_text(reward)
    monkeypatch.syspath_prepend(str(tmp_path))
    for name, rows in (("text", 90), ("image", 30), ("prototypes", 7)):
        np.save(tmp_path / f"{name}.npy", rng.normal(size=(rows, 8)))
    pairs = "\n".join(f"{n},{n % 30}" for n in range(90))
    (tmp_path / "pairs.csv").write_text(f"text,image\n{pairs}\n")
    draw_world(tmp_path / "CLEVR_v1.0", {"train": 24, "validation": 8, "test": 8}, workers=1)
    clip, detr = small_models(tmp_path)
    stand_ins = {"openai/clip-vit-base-patch32": clip, "facebook/detr-resnet-50": detr}
    listed = commands()
    monkeypatch.setattr(build, "embedded_bank", lambda: FeatureBank.open(synthetic_bank_path))
    known = {"train", "evaluate", "export", "build", "info", "tune", "align", "prove", "audit"}
    assert {words[0] for words in listed} == known | {"benchmark"}
    drawn = str(draw_bank(tmp_path / "drawn").path)  # captions are written about pictures
    captioned = {"train": ["--bank", drawn, "--grid", "3"], "benchmark": ["--dataset", drawn]}
    for words in listed:
        given = [str(stand_ins.get(word, word)) for word in words]
        if "captioning" in words or words[0] == "benchmark":
            given += captioned[words[0]]
        assert cli.main(given + BUDGET.get(words[0], [])) == 0, words
    exec(controller, names)
    g = names["g"]
    assert isinstance(g, torch.Tensor)
    assert g.shape == (5,)
    assert ((g >= 0) & (g <= 1)).all()
    save_llava(tmp_path / "llava")
    names["model"] = LlavaForConditionalGeneration.from_pretrained(tmp_path / "llava").eval()
    names["inputs"] = inputs_for(names["model"], batch=5)
    names["controller"] = GranularityController(find_bridge(names["model"]).widths, hidden=(8,))
    exec(attaching, names)
    assert isinstance(names["tokens"], torch.Tensor)
    assert len(names["tokens"]) == 5


def test_the_search_space_of_the_readme_can_be_searched() -> None:
    (tables,) = map(tomllib.loads, blocks("toml"))
    space = make_space(tables, TrainConfig())
    assert {"share", "scale", "learning_rate", "n_epochs", "net_arch"} == set(space.parameters)


def test_files_that_the_readme_points_to_exist() -> None:
    targets = re.findall(r"\]\(([^)#:]+)\)", README.read_text())
    assert targets
    assert [name for name in targets if not (README.parent / name).exists()] == []
