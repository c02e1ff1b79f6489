"""Small data sets on disk in the originals' exact formats."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

WriteJson = Callable[[Path, Any], Path]
WriteImages = Callable[[Iterable[Path]], None]


@pytest.fixture(scope="session")
def write_json() -> WriteJson:
    def write(path: Path, document: Any) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(document))
        return path

    return write


@pytest.fixture(scope="session")
def write_images() -> WriteImages:
    def write(files: Iterable[Path]) -> None:
        for number, file in enumerate(files):
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (16, 12), (number * 37 % 256, 80, 120)).save(file)

    return write
