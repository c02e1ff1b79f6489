"""A drawn bank with pictures, and small random models that can be prompted."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from PIL import Image

from dsa_env.bank import FeatureBank
from dsa_env.captioning.captioner import Captioner
from tests.agents.benchmark.small_captioners import draw_bank, save_captioner
from tests.dsa_env.encoders.small_models import save_clip


@pytest.fixture(scope="session")
def drawn_bank(tmp_path_factory: pytest.TempPathFactory) -> FeatureBank:
    """24 pictures to train on, 6 to validate and 12 to test, two captions each."""
    return draw_bank(tmp_path_factory.mktemp("drawn"))


@pytest.fixture(scope="session")
def folder_of_captioner(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """The folder of a small model of ``"llava"``, ``"blip2"`` or ``"idefics"``."""

    @cache
    def folder(family: str) -> str:
        return str(save_captioner(tmp_path_factory.mktemp(family), family))

    return folder


@pytest.fixture(scope="session")
def captioner_of(folder_of_captioner: Callable[[str], str]) -> Callable[[str], Captioner]:
    """The same, loaded once."""
    return cache(lambda family: Captioner.load(folder_of_captioner(family)))


@pytest.fixture(scope="session")
def llava(folder_of_captioner: Callable[[str], str]) -> str:
    """The folder of a small LLaVA."""
    return folder_of_captioner("llava")


@pytest.fixture
def clip_folder(tmp_path: Path) -> Path:
    """A random CLIP, which writes nothing."""
    save_clip(tmp_path / "clip")
    return tmp_path / "clip"


@pytest.fixture(scope="session")
def pictures(drawn_bank: FeatureBank) -> list[Image.Image]:
    """Six pictures of the drawn bank."""
    files = [drawn_bank.image_path(i) for i in range(6)]
    return [Image.open(file).convert("RGB") for file in files if isinstance(file, Path)]
