"""Reading pictures and preparing them for the models: what decode workers do."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dsa_env.datasets.problems import BROKEN_IMAGE, MISSING_IMAGE

if TYPE_CHECKING:
    from PIL.Image import Image

    from dsa_env.encoders.protocol import Prepared, Preparer


@dataclass(frozen=True)
class Bad:
    """A picture that cannot be used.

    Attributes:
        index: its place in the part.
        kind: one of `dsa_env.datasets.problems.KINDS`.
        detail: what is wrong with it.
    """

    index: int
    kind: str
    detail: str = ""


class BadPictureError(Exception):
    """Why a picture cannot be read."""

    def __init__(self, kind: str, detail: str = "") -> None:
        super().__init__(kind, detail)
        self.kind, self.detail = kind, detail


@dataclass(frozen=True)
class Open:
    """Request: read the pictures of a part, and prepare them for the detector."""

    files: Sequence[Path]


@dataclass(frozen=True)
class Cut:
    """Request: prepare the pictures that are open for the encoder; closes them.

    Attributes:
        boxes: of each picture that could be opened, [r, 4] as (cx, cy, w, h) shares.
    """

    boxes: Sequence[NDArray[np.float32]]


@dataclass(frozen=True)
class Made:
    """Reply to `Open` and to `Cut`.

    Attributes:
        prepared: the arrays of each picture that could be read, in order.
        places: those pictures' indices in the part.
        bad: the others.
        seconds: what preparing took, reading not counted.
    """

    prepared: list[Prepared]
    places: list[int]
    bad: list[Bad]
    seconds: float


class Decoder:
    """Answers `Open` and `Cut` requests; between the two it holds the pictures.

    Args:
        detector: the detector's preparer, None where there is no detector.
        encoder: the encoder's preparer.
    """

    def __init__(self, detector: Any, encoder: Preparer) -> None:
        self._detector, self._encoder = detector, encoder
        self._opened: dict[int, tuple[list[int], list[Image]]] = {}

    def __call__(self, number: int, request: Open | Cut) -> Made:
        """The reply to a request of conversation `number`."""
        if isinstance(request, Open):
            places, images, bad = [], [], []
            for index, file in enumerate(request.files):
                try:
                    images.append(open_picture(file))
                    places.append(index)
                except BadPictureError as error:
                    bad.append(Bad(index, error.kind, error.detail))
            made, images = self._prepare(places, images, self._for_detector)
            self._opened[number] = made.places, images
            return Made(made.prepared, made.places, bad + made.bad, made.seconds)
        places, images = self._opened.pop(number)
        boxes = iter(request.boxes)
        made, _ = self._prepare(
            places, images, lambda image: self._encoder.prepare(image, next(boxes))
        )
        return made

    def _for_detector(self, image: Image) -> Prepared:
        prepared: Prepared = self._detector.prepare(image) if self._detector else {}
        return prepared

    def _prepare(
        self, places: list[int], images: list[Image], one: Callable[[Image], Prepared]
    ) -> tuple[Made, list[Image]]:
        """Prepares pictures, and leaves out those that cannot be (too odd in size, say)."""
        started = time.perf_counter()
        made = Made([], [], [], 0.0)
        usable = []
        for place, image in zip(places, images, strict=True):
            try:
                made.prepared.append(one(image))
            except (ValueError, ArithmeticError) as error:
                made.bad.append(Bad(place, BROKEN_IMAGE, f"{image.size}: {error}"))
                continue
            made.places.append(place)
            usable.append(image)
        seconds = time.perf_counter() - started
        return Made(made.prepared, made.places, made.bad, seconds), usable


def open_picture(file: Path) -> Image:
    """A picture file as RGB, upright where its camera noted how it was held.

    Raises:
        BadPictureError: it is missing, cut off, or no picture.
    """
    from PIL import Image, ImageOps

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd files, which are read nevertheless
            with Image.open(file) as opened:
                opened.load()
                return ImageOps.exif_transpose(opened).convert("RGB")
    except FileNotFoundError:
        raise BadPictureError(MISSING_IMAGE) from None
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        reason = str(error).replace(str(file), "").replace("''", "it").strip()
        raise BadPictureError(BROKEN_IMAGE, reason or type(error).__name__) from error
