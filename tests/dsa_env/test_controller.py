"""The controller: its output, its files, its errors, and what loading it imports."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dsa_env.controller import GranularityController
from dsa_env.errors import DSAError

INPUTS = {"text": 3, "image": 4}


def make(squash: str = "clip", **kwargs: object) -> GranularityController:
    torch.manual_seed(0)
    controller = GranularityController(INPUTS, hidden=[8], squash=squash, **kwargs)  # type: ignore[arg-type]
    controller.mean.copy_(torch.linspace(-1, 1, 7))
    controller.std.copy_(torch.linspace(0.5, 2, 7))
    return controller


@pytest.mark.parametrize("squash", ["clip", "tanh"])
@given(seed=st.integers(0, 2**32 - 1), scale=st.floats(0, 1e4))
@settings(max_examples=30, deadline=None)
def test_granularity_stays_in_the_unit_interval(squash: str, seed: int, scale: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    text = scale * torch.randn(5, 3, generator=generator)
    image = scale * torch.randn(5, 4, generator=generator)
    g = make(squash)(text, image)
    assert g.shape == (5,)
    assert g.dtype == torch.float32
    assert ((g >= 0) & (g <= 1)).all()


def test_standardises_and_concatenates_in_the_order_of_the_inputs() -> None:
    controller = make("tanh")
    text, image = torch.randn(2, 3), torch.randn(2, 4)
    flat = (torch.cat([text, image], dim=1) - controller.mean) / controller.std
    expected = (torch.tanh(controller.net(flat)[:, 0]) + 1) / 2
    torch.testing.assert_close(controller(image=image, text=text), expected)


def test_predict_takes_numpy_and_ignores_other_entries() -> None:
    controller = make()
    observation = {
        "text": np.ones((2, 3)),
        "image": np.zeros((2, 4), dtype=np.float16),
        "other": np.zeros(2),
    }
    g = controller.predict(observation)
    assert g.dtype == np.float32
    expected = controller(torch.ones(2, 3), torch.zeros(2, 4)).detach().numpy()
    np.testing.assert_array_equal(g, expected)


def test_saved_and_loaded_controllers_agree_exactly(tmp_path: Path) -> None:
    controller = GranularityController(
        {"text": 3, "retrieved": 2, "image": 4, "granularity": 1},
        hidden=(5, 6),
        activation="relu",
        squash="tanh",
        metadata={"steps": 7},
    )
    controller.std.fill_(3.0)
    controller.save_pretrained(tmp_path / "c")
    loaded = GranularityController.from_pretrained(tmp_path / "c")
    assert loaded.config == controller.config
    assert list(loaded.inputs) == ["text", "retrieved", "image", "granularity"]
    flat = torch.randn(4, 10)
    assert torch.equal(loaded.from_flat(flat), controller.from_flat(flat))
    assert not loaded.training
    names = {path.name for path in (tmp_path / "c").iterdir()}
    assert names == {"model.safetensors", "config.json", "README.md"}


def test_saving_and_loading_keep_standard_output_clean(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make().save_pretrained(tmp_path)
    GranularityController.from_pretrained(tmp_path)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ({"text": torch.zeros(2, 3)}, "'image' is missing"),
        ({"text": torch.zeros(2, 4), "image": torch.zeros(2, 4)}, r"expected \[batch, 3\]"),
        ({"text": torch.zeros(3), "image": torch.zeros(2, 4)}, r"expected \[batch, 3\]"),
        (
            {"text": torch.zeros(2, 3), "image": torch.zeros(2, 4), "granularity": torch.zeros(2)},
            "takes no 'granularity'",
        ),
    ],
)
def test_wrong_inputs_say_what_is_expected(call: dict[str, torch.Tensor], message: str) -> None:
    with pytest.raises(DSAError, match=message):
        make()(**call)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"inputs": {"txt": 3}}, "Did you mean 'text'"),
        ({"inputs": {}}, "at least one input"),
        ({"inputs": INPUTS, "hidden": [0]}, "positive integers"),
        ({"inputs": INPUTS, "activation": "rleu"}, "Did you mean 'relu'"),
        ({"inputs": INPUTS, "squash": "sigmoid"}, "Unknown squash"),
    ],
)
def test_wrong_configurations_are_refused(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(DSAError, match=message):
        GranularityController(**arguments)  # type: ignore[arg-type]


def test_damaged_or_missing_files_name_the_cure(tmp_path: Path) -> None:
    folder = tmp_path / "c"
    folder.mkdir()
    with pytest.raises(DSAError, match=r"holds no config\.json"):
        GranularityController.from_pretrained(folder)
    make().save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "hidden": [9]}))
    with pytest.raises(DSAError, match="does not fit"):
        GranularityController.from_pretrained(folder)
    (folder / "config.json").write_text(json.dumps({**config, "layers": 3}))
    with pytest.raises(DSAError, match="is not a granularity controller"):
        GranularityController.from_pretrained(folder)
    make().save_pretrained(folder)
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-20])
    with pytest.raises(DSAError, match="damaged"):
        GranularityController.from_pretrained(folder)
    with pytest.raises(DSAError, match="check the path"):
        GranularityController.from_pretrained("no/such/folder", local_files_only=True)


def test_a_saved_controller_loads_with_torch_alone(tmp_path: Path) -> None:
    make(metadata={"k": 10}).save_pretrained(tmp_path)
    program = f"""
import sys
from dsa_env.controller import GranularityController
import torch
controller = GranularityController.from_pretrained({str(tmp_path)!r})
print(float(controller(torch.ones(1, 3), torch.ones(1, 4))))
heavy = ["stable_baselines3", "transformers", "numba", "scipy", "matplotlib", "dsa_agents"]
print([name for name in heavy if name in sys.modules])
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    value, loaded = done.stdout.splitlines()
    expected = make()(torch.ones(1, 3), torch.ones(1, 4)).item()
    assert float(value) == pytest.approx(expected, abs=1e-7)
    assert loaded == "[]"
