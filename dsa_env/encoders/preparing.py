"""A detector's view of a picture as arrays: made in any process, without weights or torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dsa_env.encoders.protocol import Prepared

_PROBES = ((37, 53), (64, 41))  # (width, height) of the pictures that shortcuts are tried on


@dataclass(frozen=True)
class DetectorPreparer:
    """Resizes pictures as an image processor does; picklable.

    Attributes:
        processor: the transformers image processor, None where Pillow alone does the same.
        size: (width, height) that Pillow resizes to when there is no processor.
        resample: Pillow's filter.
        table: [3, 256] float32, the model's input for each value of each channel; None where
            the processor does more than that, and hands over floats.
    """

    processor: Any
    size: tuple[int, int] | None = None
    resample: int = 2
    table: NDArray[np.float32] | None = None

    @classmethod
    def of(cls, processor: Any) -> DetectorPreparer:
        """The cheapest preparer that gives, bit for bit, what `processor` gives."""
        table = _value_table(processor)
        size = dict(getattr(processor, "size", None) or {})
        plain = {key for key, value in size.items() if value} == {"height", "width"}
        candidates = []
        if table is not None and plain and getattr(processor, "do_resize", False):
            edges = (int(size["width"]), int(size["height"]))
            candidates.append(cls(None, edges, int(processor.resample), table))
        if table is not None:
            candidates.append(cls(processor, table=table))
        exact = (candidate for candidate in candidates if candidate._agrees(processor))
        return next(exact, cls(processor))

    def prepare(self, image: Image.Image) -> Prepared:
        """One RGB picture -> arrays.

        Returns:
            "pixels" [3, h, w] uint8 (float32 without a table); "size" [2] int32, the picture's
            height and width; "mask" [h, w] bool where the processor pads by itself.
        """
        size = np.array([image.height, image.width], dtype=np.int32)
        if self.size is not None:
            small = image.resize(self.size, Image.Resampling(self.resample))
            return {"pixels": np.moveaxis(np.asarray(small, dtype=np.uint8), -1, 0), "size": size}
        if self.table is not None:
            raw = self.processor(
                images=image, do_rescale=False, do_normalize=False, return_tensors="np"
            )
            return {"pixels": raw["pixel_values"][0].astype(np.uint8), "size": size}
        raw = self.processor(images=image, return_tensors="np")
        prepared = {"pixels": raw["pixel_values"][0].astype(np.float32), "size": size}
        if "pixel_mask" in raw:
            prepared["mask"] = raw["pixel_mask"][0].astype(bool)
        return prepared

    def _agrees(self, processor: Any) -> bool:
        """Whether two odd pictures come out exactly as the processor makes them."""
        rng = np.random.default_rng(0)
        for width, height in _PROBES:
            noise = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
            image = Image.fromarray(noise)
            raw = processor(images=image, return_tensors="np")
            theirs = raw["pixel_values"][0]
            ours = self.prepare(image)["pixels"]
            if self.table is None or ours.shape != theirs.shape:
                return False
            values = np.stack([row[value] for row, value in zip(self.table, ours, strict=True)])
            if not np.array_equal(values, theirs) or not np.all(raw.get("pixel_mask", 1)):
                return False
        return True


def _value_table(processor: Any) -> NDArray[np.float32] | None:
    """What a processor makes of each value of each channel, [3, 256] float32."""
    ramp = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, axis=2)  # 1 x 256 pixels
    try:
        raw = processor(
            images=Image.fromarray(ramp),
            do_resize=False,
            do_pad=False,
            do_center_crop=False,
            return_tensors="np",
        )
        values = np.asarray(raw["pixel_values"][0], dtype=np.float32)
    except (TypeError, ValueError):
        return None
    return values[:, 0] if values.shape == (3, 1, 256) else None
