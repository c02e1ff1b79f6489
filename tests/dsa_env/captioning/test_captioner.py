"""A captioner writes what its model writes, with the granularity that it is given."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from dsa_env.captioning.captioner import Captioner, captioner_identity
from dsa_env.captioning.families import FAMILIES, find_family, own_prompts
from dsa_env.controller import GranularityController
from dsa_env.errors import DSAError

Loaded = Callable[[str], Captioner]
Folder = Callable[[str], str]
Pictures = list[Image.Image]

FAMILY_NAMES = ["blip2", "idefics", "llava"]
SHORT, LONG = "a red cube", "what is the large metal cube on ?"
SETTINGS: dict[str, Any] = {"max_new_tokens": 6}


def ask(count: int) -> list[str]:
    return [(SHORT, LONG)[i % 2] for i in range(count)]


def a_controller(captioner: Captioner) -> GranularityController:
    """One whose g differs from picture to picture and from prompt to prompt."""
    torch.manual_seed(0)
    controller = GranularityController(captioner.widths, hidden=(16,)).eval()
    with torch.no_grad():
        for value in controller.net.parameters():
            value.mul_(3)
    return controller


@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_full_granularity_writes_what_the_native_model_writes(
    family: str, captioner_of: Loaded, pictures: Pictures
) -> None:
    captioner = captioner_of(family)
    native = captioner.captions(pictures, ask(6), **SETTINGS)
    assert captioner.captions(pictures, ask(6), 1.0, **SETTINGS) == native
    assert captioner.captions(pictures, ask(6), 0.0, **SETTINGS) != native
    assert len(set(native)) > 1


@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_a_caption_is_its_own_whatever_stands_beside_it(
    family: str, captioner_of: Loaded, pictures: Pictures
) -> None:
    captioner = captioner_of(family)
    g = np.linspace(0, 1, 6)
    together = captioner.captions(pictures, ask(6), g, **SETTINGS)
    assert together == captioner.captions(pictures, ask(6), g, batch=1, **SETTINGS)
    alone = [
        captioner.captions([picture], [prompt], float(one), **SETTINGS)[0]
        for picture, prompt, one in zip(pictures, ask(6), g, strict=True)
    ]
    assert alone == together


@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_a_sweep_writes_what_each_granularity_writes(
    family: str, captioner_of: Loaded, pictures: Pictures
) -> None:
    captioner = captioner_of(family)
    grid = [0.0, 0.3, 1.0]
    swept = captioner.sweep(pictures, ask(6), grid, batch=9, **SETTINGS)
    for place, g in enumerate(grid):
        wanted = captioner.captions(pictures, ask(6), g, **SETTINGS)
        assert [row[place] for row in swept] == wanted


@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_a_controller_inside_decides_by_what_is_observed(
    family: str, captioner_of: Loaded, pictures: Pictures
) -> None:
    captioner = captioner_of(family)
    controller = a_controller(captioner)
    text, image = captioner.observe(pictures, ask(6))
    g = controller.predict({"text": text, "image": image})
    assert g.std() > 1e-3
    inside = captioner.captions(pictures, ask(6), controller, **SETTINGS)
    assert inside == captioner.captions(pictures, ask(6), g, **SETTINGS)


@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_what_is_observed_is_bounded_and_knows_prompt_and_picture(
    family: str, captioner_of: Loaded, pictures: Pictures
) -> None:
    captioner = captioner_of(family)
    text, image = captioner.observe(pictures, ask(6), batch=2)
    assert {"text": text.shape[1], "image": image.shape[1]} == captioner.widths
    for part, length in ((text, 1.0), (image, np.sqrt(2))):
        assert part.dtype == np.float32
        assert np.abs(part).max() <= 1
        np.testing.assert_allclose(np.linalg.norm(part, axis=1), length, rtol=1e-5)
    assert np.array_equal(text[0], text[2])
    assert not np.allclose(text[0], text[1])
    assert len(np.unique(image.round(4), axis=0)) == 6
    swapped = captioner.observe(pictures[::-1], ask(6))
    np.testing.assert_allclose(swapped[1], image[::-1], atol=1e-5)


def test_nothing_is_observed_of_nothing(captioner_of: Loaded) -> None:
    captioner = captioner_of("llava")
    assert captioner.captions([], []) == []
    text, image = captioner.observe([], [])
    assert {"text": text.shape, "image": image.shape} == {
        name: (0, width) for name, width in captioner.widths.items()
    }


def test_a_chat_template_is_put_around_the_prompt(captioner_of: Loaded) -> None:
    captioner = captioner_of("llava")
    assert captioner._form("a cube")[0] == "USER: <image>\na cube ASSISTANT:"
    captioner.processor.chat_template = (
        "{% for part in messages[0]['content'] %}"
        "{{ '<image>' if part['type'] == 'image' else part['text'] }}{% endfor %} metal"
    )
    try:
        assert captioner._form("a sphere")[0] == "<image>a sphere metal"
    finally:
        captioner.processor.chat_template = None


def test_questions_and_beginnings_have_their_own_form_in_blip_2() -> None:
    form = FAMILIES["blip-2"].form
    assert form("What is it?") == "Question: What is it? Answer:"
    assert form("a photo of") == "a photo of"


@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_half_precision_works(family: str, folder_of_captioner: Folder, pictures: Pictures) -> None:
    captioner = Captioner.load(folder_of_captioner(family), dtype="bf16")
    native = captioner.captions(pictures, ask(6), **SETTINGS)
    assert captioner.captions(pictures, ask(6), 1.0, **SETTINGS) == native
    text, image = captioner.observe(pictures, ask(6))
    assert text.dtype == image.dtype == np.float32
    assert len(captioner.captions(pictures, ask(6), a_controller(captioner), **SETTINGS)) == 6


def test_identity_follows_everything_that_decides_captions(
    folder_of_captioner: Folder, captioner_of: Loaded, tmp_path: Path
) -> None:
    folder = folder_of_captioner("llava")
    assert captioner_of("llava").identity == captioner_identity(folder)
    assert captioner_identity(folder, coarse="layer:1") != captioner_identity(folder)
    assert captioner_identity(folder, dtype="bfloat16") != captioner_identity(folder)
    twin = tmp_path / "twin"
    shutil.copytree(folder, twin)
    assert captioner_identity(str(twin)) == captioner_identity(folder)
    other = tmp_path / "other"
    shutil.copytree(folder, other)
    (other / "generation_config.json").write_text("{}")
    assert captioner_identity(str(other)) != captioner_identity(folder)


def test_what_cannot_work_is_refused(
    captioner_of: Loaded, pictures: Pictures, clip_folder: Path, tmp_path: Path
) -> None:
    captioner = captioner_of("llava")
    for wrong, words in (
        (lambda: captioner.captions(pictures, ["a"]), "come in pairs, got 6 and 1"),
        (lambda: captioner.captions(pictures, ask(6), [0.5, 0.5]), "one for each of 6"),
        (lambda: captioner.captions(pictures, ask(6), 2.0), "must lie in"),
        (lambda: captioner.captions(pictures, ask(6), batch=0), "batch must be at least 1"),
        (lambda: Captioner.load(str(clip_folder)), "is a 'clip' model"),
        (lambda: Captioner.load(str(tmp_path)), "cannot be loaded"),
        (lambda: Captioner.load("x", coarse="blurred"), "Unknown coarse feature"),
    ):
        with pytest.raises(DSAError, match=words):
            wrong()
    stranger = GranularityController({"text": 3, "image": 4}, hidden=())
    with pytest.raises(DSAError, match=r"The controller reads text \[3\], image \[4\], but the"):
        captioner.captions(pictures, ask(6), stranger)


def test_a_model_without_its_processor_is_refused(
    folder_of_captioner: Folder, tmp_path: Path
) -> None:
    for name in ("config.json", "model.safetensors"):
        shutil.copy(Path(folder_of_captioner("llava")) / name, tmp_path)
    with pytest.raises(DSAError, match=r"captioner .* processor"):
        Captioner.load(str(tmp_path))


def test_a_model_may_bring_its_own_prompts(folder_of_captioner: Folder, tmp_path: Path) -> None:
    folder = folder_of_captioner("llava")
    assert own_prompts(folder) == FAMILIES["llava"].prompts
    shutil.copytree(folder, tmp_path / "own")
    (tmp_path / "own" / "prompts.json").write_text('["a", "b?"]')
    assert own_prompts(str(tmp_path / "own")) == ("a", "b?")
    (tmp_path / "own" / "prompts.json").write_text('{"a": 1}')
    with pytest.raises(DSAError, match="must be a list of prompts"):
        own_prompts(str(tmp_path / "own"))


def test_a_family_is_found_by_the_configuration_alone(folder_of_captioner: Folder) -> None:
    assert find_family(folder_of_captioner("blip2")) is FAMILIES["blip-2"]
