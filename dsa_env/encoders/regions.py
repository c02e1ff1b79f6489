"""From boxes to pixels: the windows that regions are cut from, and model-ready pictures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dsa_env.errors import DSAError

CONTEXT = 1.25  # a window's side, in box sides
SMALLEST = 0.22  # a window's least side, in picture sides: tiny crops keep their surroundings


def region_window(
    box: NDArray[np.floating], *, context: float = CONTEXT, smallest: float = SMALLEST
) -> NDArray[np.float64]:
    """The square window that a region is cut from, inside the picture where it fits.

    The least side keeps small and large objects apart: what is small fills less of its window.

    Args:
        box: (cx, cy, w, h) as shares of a square picture, [..., 4].
        context: window side over the longer box side.
        smallest: least window side as a share of the picture.

    Returns:
        (left, top, right, bottom) as shares of the picture, [..., 4].
    """
    cx, cy, w, h = np.moveaxis(np.asarray(box, dtype=np.float64), -1, 0)
    side = np.clip(np.maximum(w, h) * context, smallest, 1.0)
    left = np.clip(cx - side / 2, 0, 1 - side)
    top = np.clip(cy - side / 2, 0, 1 - side)
    return np.stack([left, top, left + side, top + side], axis=-1)


@dataclass(frozen=True)
class Preprocess:
    """What a vision tower expects of its pictures, read from its image processor.

    Attributes:
        size: side in pixels of the square input.
        mean: mean of each channel in [0, 1].
        std: standard deviation of each channel.
        resample: Pillow's resampling filter.
        center_crop: whether the longer side is cut (CLIP) or squeezed (SigLIP).
    """

    size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    resample: int = 3
    center_crop: bool = True

    @classmethod
    def of(cls, processor: Any) -> Preprocess:
        """Reads a transformers image processor's settings.

        Raises:
            DSAError: if the input is not square or the settings are not those of a CLIP-like one.
        """
        crop = bool(getattr(processor, "do_center_crop", False))
        size = dict(processor.crop_size if crop else processor.size)
        sides = {int(v) for k, v in size.items() if k in ("height", "width", "shortest_edge") and v}
        if len(sides) != 1:
            raise DSAError(f"the image processor's input {size} is not square; use one that is")
        return cls(
            sides.pop(),
            tuple(processor.image_mean or (0.0, 0.0, 0.0)),
            tuple(processor.image_std or (1.0, 1.0, 1.0)),
            int(processor.resample),
            crop,
        )

    def whole(self, image: Image.Image) -> NDArray[np.uint8]:
        """The whole picture, [size, size, 3] uint8."""
        width, height = image.size
        edge = min(width, height)
        left, top = (width - edge) / 2, (height - edge) / 2
        cut = (left, top, left + edge, top + edge)
        box = cut if self.center_crop else (0.0, 0.0, float(width), float(height))
        return self._resize(image, box)

    def region(self, image: Image.Image, window: NDArray[np.floating]) -> NDArray[np.uint8]:
        """A window (left, top, right, bottom as shares of the picture), [size, size, 3] uint8."""
        scale = np.array([image.width, image.height] * 2)
        left, top, right, bottom = (np.asarray(window) * scale).tolist()
        return self._resize(image, (left, top, min(right, image.width), min(bottom, image.height)))

    def _resize(
        self, image: Image.Image, box: tuple[float, float, float, float]
    ) -> NDArray[np.uint8]:
        small = image.resize((self.size, self.size), Image.Resampling(self.resample), box=box)
        return np.asarray(small, dtype=np.uint8)

    def normalize(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Pictures [..., size, size, 3] uint8 -> [..., 3, size, size] float32, standardised."""
        scale = (1 / (255 * np.array(self.std))).astype(np.float32)
        shift = (np.array(self.mean) / np.array(self.std)).astype(np.float32)
        return np.ascontiguousarray(np.moveaxis(pixels * scale - shift, -1, -3))
