"""Small models of real classes, saved locally: no hub is needed to test loading by path."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Protocol

import numpy as np
import pytest
from PIL import Image

from dsa_env.encoders.base import Encoder
from tests.dsa_env.encoders.small_models import SAVERS

Folders = Callable[[str], str]


class Loaded(Protocol):
    def __call__(
        self, family: str, *, coarse: str = "pooled", fine: str = "crops", dtype: str = "float32"
    ) -> Encoder: ...


@pytest.fixture(scope="session")
def folder_of(tmp_path_factory: pytest.TempPathFactory) -> Folders:
    """The folder of a small model of a family, saved on first use."""
    saved: dict[str, Path] = {}

    def folder(family: str) -> str:
        if family not in saved:
            saved[family] = tmp_path_factory.mktemp(family)
            SAVERS[family](saved[family])
        return str(saved[family])

    return folder


@pytest.fixture(scope="session")
def loaded(folder_of: Folders) -> Loaded:
    """An encoder of a small model of a family, loaded once for all tests that only use it."""
    from dsa_env.encoders.families import load_encoder

    @cache
    def load(family: str, **settings: str) -> Encoder:
        encoder = load_encoder(folder_of(family), **settings)
        assert isinstance(encoder, Encoder)
        return encoder

    return load


@pytest.fixture
def clip_folder(folder_of: Folders) -> Path:
    """A random CLIP with its tokenizer and image processor."""
    return Path(folder_of("clip"))


@pytest.fixture
def siglip_folder(folder_of: Folders) -> Path:
    """A random SigLIP with its tokenizer and image processor."""
    return Path(folder_of("siglip"))


@pytest.fixture(scope="session")
def pictures() -> list[Image.Image]:
    """Eight pictures of blurred noise, 60 x 40 pixels."""
    noise = np.random.default_rng(0).integers(0, 255, (8, 8, 12, 3), dtype=np.uint8)
    return [Image.fromarray(part).resize((60, 40)) for part in noise]


@pytest.fixture(scope="session")
def boxes() -> list[np.ndarray]:
    """Their regions, some pictures have none."""
    rng = np.random.default_rng(1)
    return [
        np.concatenate([rng.uniform(0.2, 0.8, (n, 2)), rng.uniform(0.05, 0.6, (n, 2))], axis=1)
        .astype(np.float32)
        for n in (3, 0, 2, 1, 4, 2, 0, 1)
    ]  # fmt: skip
