"""From boxes to pixels: the windows that regions are cut from, and model-ready pictures."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from dsa_env.errors import DSAError

CONTEXT = 1.25  # a window's side, in box sides
SMALLEST = 0.22  # a window's least side, in picture sides: tiny crops keep their surroundings


def region_window(
    box: NDArray[np.floating],
    *,
    context: float = CONTEXT,
    smallest: float = SMALLEST,
    aspect: float = 1.0,
) -> NDArray[np.float64]:
    """The window that a region is cut from: square in pixels, inside the picture where it fits.

    The least side keeps small and large objects apart: what is small fills less of its window.

    Args:
        box: (cx, cy, w, h) as shares of the picture, [..., 4].
        context: window side over the longer box side.
        smallest: least window side as a share of the picture's shorter side.
        aspect: the picture's width over its height.

    Returns:
        (left, top, right, bottom) as shares of the picture, [..., 4].
    """
    cx, cy, w, h = np.moveaxis(np.asarray(box, dtype=np.float64), -1, 0)
    wide, high = min(1.0, 1 / aspect), min(1.0, aspect)  # the shorter side, in shares of each
    width = np.clip(np.maximum(w, h / aspect) * context, smallest * wide, 1.0)
    height = np.clip(np.maximum(w * aspect, h) * context, smallest * high, 1.0)
    left = np.clip(cx - width / 2, 0, 1 - width)
    top = np.clip(cy - height / 2, 0, 1 - height)
    return np.stack([left, top, left + width, top + height], axis=-1)


@dataclass(frozen=True)
class Preprocess:
    """What a vision tower expects of its pictures, read from its image processor.

    Attributes:
        size: side in pixels of the square input.
        mean: mean of each channel in [0, 1].
        std: standard deviation of each channel.
        resample: Pillow's resampling filter.
        center_crop: whether the longer side is cut (CLIP) or squeezed (SigLIP).
        kept: share of the shorter side that a centre crop keeps.
        pad: whether the shorter side is padded with the mean colour instead (LLaVA).
    """

    size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    resample: int = 3
    center_crop: bool = True
    kept: float = 1.0
    pad: bool = False

    @classmethod
    def of(cls, processor: Any) -> Preprocess:
        """Reads a transformers image processor's settings.

        Raises:
            DSAError: if the input is not square or the settings are not those of a CLIP-like one.
        """
        crop = bool(getattr(processor, "do_center_crop", False))
        kept = 1.0
        if getattr(processor, "max_num_patches", None):  # NaFlex: the largest square it allows
            size = {"height": math.isqrt(processor.max_num_patches) * int(processor.patch_size)}
        else:
            size = _sides(processor.crop_size if crop else processor.size)
        sides = {value for key, value in size.items() if key != "longest_edge"}
        if len(sides) != 1:
            raise DSAError(f"the image processor's input {size} is not square; use one that is")
        side = sides.pop()
        if crop:
            kept = min(1.0, side / min(_sides(processor.size).values(), default=side))
        plain = getattr(processor, "do_normalize", True) is False
        return cls(
            side,
            (0.0,) * 3 if plain else tuple(processor.image_mean or (0.0, 0.0, 0.0)),
            (1.0,) * 3 if plain else tuple(processor.image_std or (1.0, 1.0, 1.0)),
            int(processor.resample),
            crop,
            kept,
            bool(getattr(processor, "do_pad", False)),
        )

    def squeezed(self) -> Preprocess:
        """The same, but whole pictures are squeezed: nothing is cut off, shares stay shares."""
        return replace(self, center_crop=False, kept=1.0, pad=False)

    def whole(self, image: Image.Image) -> NDArray[np.uint8]:
        """The whole picture, [size, size, 3] uint8."""
        width, height = image.size
        if self.pad and width != height:
            edge = max(width, height)
            colour = tuple(int(255 * value) for value in self.mean)
            image = ImageOps.pad(image, (edge, edge), color=colour)
            width = height = edge
        edge = min(width, height)
        if self.kept < 1:
            edge = max(1, round(edge * self.kept))
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

    def affine(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """The scale and shift [3] of each channel: what a model reads is value * scale - shift."""
        scale = (1 / (255 * np.array(self.std))).astype(np.float32)
        return scale, (np.array(self.mean) / np.array(self.std)).astype(np.float32)

    def normalize(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Pictures [..., size, size, 3] uint8 -> [..., 3, size, size] float32, standardised."""
        scale, shift = self.affine()
        return np.ascontiguousarray(np.moveaxis(pixels * scale - shift, -1, -3))


@dataclass(frozen=True)
class PicturePreparer:
    """Cuts pictures for a vision tower; knows no weights and travels between processes.

    Attributes:
        preprocess: what the tower expects.
        fine: "crops" cuts every region out; "patches" keeps the boxes and squeezes the picture
            into the square, so that each box finds its patches.
    """

    preprocess: Preprocess
    fine: Literal["crops", "patches"] = "crops"

    def prepare(
        self, image: Image.Image, boxes: NDArray[np.floating]
    ) -> dict[str, NDArray[np.generic]]:
        """One RGB picture and its boxes [r, 4] as (cx, cy, w, h) shares -> arrays.

        Returns:
            "pixels" uint8: [1, S, S, 3] the whole picture, with "crops" [1 + r, S, S, 3];
            "boxes" [r, 4] float32.
        """
        boxes = np.asarray(boxes, dtype=np.float32).reshape(-1, 4)
        if self.fine == "patches":
            pixels = self.preprocess.squeezed().whole(image)[None]
        else:
            windows = region_window(boxes, aspect=image.width / image.height)
            cuts = [self.preprocess.region(image, window) for window in windows]
            pixels = np.stack([self.preprocess.whole(image), *cuts])
        return {"pixels": pixels, "boxes": boxes}


def _sides(size: Any) -> dict[str, int]:
    return {key: int(value) for key, value in dict(size).items() if value}
