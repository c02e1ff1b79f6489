"""What the controller costs is measured on every family, end to end and in parts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dsa_agents.benchmark.overhead import measure_overhead, measure_speed
from dsa_env.captioning.captioner import Captioner
from dsa_env.controller import GranularityController
from tests.agents.benchmark.small_captioners import save_captioner

PROMPT = "a small red cube"


def made(folder: Path, family: str) -> tuple[Captioner, GranularityController, list[Image.Image]]:
    captioner = Captioner.load(str(save_captioner(folder, family)))
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    pictures = [
        Image.fromarray(rng.integers(0, 255, (40, 40, 3), dtype=np.uint8)) for _ in range(2)
    ]
    return captioner, GranularityController(captioner.widths, hidden=(8,)).eval(), pictures


@pytest.mark.parametrize("family", ["llava", "blip2", "idefics"])
def test_overhead_is_measured_end_to_end_and_in_parts(family: str, tmp_path: Path) -> None:
    captioner, controller, pictures = made(tmp_path, family)
    threads = torch.get_num_threads()
    found = measure_overhead(captioner, controller, pictures, PROMPT, rounds=2, max_new_tokens=3)
    assert torch.get_num_threads() == threads
    assert (found["batch"], found["rounds"]) == (2, 2)
    assert all(1 <= mean <= 4 for mean in found["tokens"].values())
    for name in ("features", "controller", "blend"):
        assert found["breakdown_percent"][name] >= 0
    assert found["breakdown_percent"]["features"] > 0
    assert found["overhead_percent"]["equal_tokens"]["mean"] > -100


def test_a_controller_of_one_input_is_measured_too(tmp_path: Path) -> None:
    captioner, _, pictures = made(tmp_path, "llava")
    controller = GranularityController({"image": captioner.widths["image"]}, hidden=()).eval()
    found = measure_overhead(
        captioner, controller, pictures[:1], PROMPT, rounds=1, max_new_tokens=2
    )
    assert found["batch"] == 1
    assert found["overhead_percent"]["as_is"]["low"] is None


def test_speed_of_the_native_model_alone(tmp_path: Path) -> None:
    captioner, _, pictures = made(tmp_path, "blip2")
    found = measure_speed(captioner, None, pictures, PROMPT, rounds=1, max_new_tokens=2)
    assert set(found) == {"native"}
    assert found["native"] > 0
