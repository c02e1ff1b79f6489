"""Frozen object detectors that propose the regions of a picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoModelForObjectDetection,
    AutoModelForZeroShotObjectDetection,
    AutoProcessor,
)

from dsa_env.encoders import model_folder
from dsa_env.encoders.loading import loading
from dsa_env.errors import DSAError

_ZERO_SHOT = ("owlvit", "owlv2", "grounding-dino", "mm-grounding-dino", "omdet-turbo")
_OVERLAP = 0.7  # boxes that overlap more are one region


class RegionDetector:
    """Any `AutoModelForObjectDetection` (DETR, YOLOS, RT-DETR ...) or zero-shot one (OWLv2 ...).

    Attributes:
        name: the name or folder it was loaded from.
        threshold: least score of a region.
        most: regions kept per picture, best first.
        labels: what a zero-shot detector is asked for.
    """

    def __init__(
        self,
        name: str,
        *,
        threshold: float = 0.5,
        most: int = 12,
        labels: Sequence[str] = ("an object",),
        device: str = "cpu",
    ) -> None:
        """Loads a detector by hub name, local folder or "embedded".

        Raises:
            DSAError: if it cannot be loaded, is no detector, or a setting is out of range.
        """
        if not 0 <= threshold < 1 or most < 1:
            raise DSAError(
                f"threshold must lie in [0, 1) and regions be at least 1, not {threshold}, {most}"
            )
        self.name, self.threshold, self.most = name, threshold, most
        self.labels, self.device = list(labels), torch.device(device)
        source = model_folder(name, "detector")
        cure = "Give a hub name or a local folder of an object detector."
        with loading("detector", name, cure):
            self.zero_shot = AutoConfig.from_pretrained(source).model_type in _ZERO_SHOT
            model = (
                AutoModelForZeroShotObjectDetection
                if self.zero_shot
                else AutoModelForObjectDetection
            )
            self._model: Any = model.from_pretrained(source).eval().to(self.device)
            processor: Any = AutoProcessor if self.zero_shot else AutoImageProcessor
            self._processor: Any = processor.from_pretrained(source)
        self._model.requires_grad_(False)
        self.revision: str | None = getattr(self._model.config, "_commit_hash", None)

    @property
    def model_class(self) -> str:
        """The transformers class behind it."""
        return type(self._model).__name__

    def __call__(self, images: Sequence[Image.Image]) -> list[NDArray[np.float32]]:
        """Boxes of each picture, best first: [regions, 4] as (cx, cy, w, h) shares in [0, 1]."""
        return [boxes[: self.most] for boxes, _ in self.scored(images)]

    @torch.inference_mode()
    def scored(
        self, images: Sequence[Image.Image]
    ) -> list[tuple[NDArray[np.float32], NDArray[np.float32]]]:
        """Every box above the threshold with its score, best first, overlapping ones removed."""
        sizes = [(image.height, image.width) for image in images]
        if self.zero_shot:
            words = [self.labels] * len(images)
            inputs = self._processor(text=words, images=list(images), return_tensors="pt")
            outputs = self._model(**inputs.to(self.device))
            extra = {"input_ids": inputs["input_ids"]} if "grounding" in self._kind else {}
            found = self._processor.post_process_grounded_object_detection(
                outputs, threshold=self.threshold, target_sizes=sizes, **extra
            )
        else:
            inputs = self._processor(images=list(images), return_tensors="pt").to(self.device)
            found = self._processor.post_process_object_detection(
                self._model(**inputs), threshold=self.threshold, target_sizes=sizes
            )
        return [_shares(rows, size) for rows, size in zip(found, sizes, strict=True)]

    @property
    def _kind(self) -> str:
        return str(self._model.config.model_type)


def _shares(
    found: dict[str, Any], size: tuple[int, int]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """One picture's detections as centred shares of the picture, best first, without doubles."""
    height, width = size
    corners = found["boxes"].float().cpu().numpy() / [width, height, width, height]
    scores = found["scores"].float().cpu().numpy()
    corners = np.clip(corners, 0, 1)
    kept = _without_doubles(corners, scores)
    x0, y0, x1, y1 = corners[kept].T
    boxes = np.stack([(x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0], axis=1)
    return boxes.astype(np.float32), scores[kept]


def _without_doubles(
    corners: NDArray[np.floating], scores: NDArray[np.floating]
) -> NDArray[np.int64]:
    """Indices of boxes that survive greedy non-maximum suppression, best first."""
    order = np.argsort(-scores, kind="stable")
    area = np.prod(corners[:, 2:] - corners[:, :2], axis=1)
    order = order[area[order] > 0]
    kept: list[int] = []
    while len(order):
        best, order = order[0], order[1:]
        kept.append(int(best))
        low = np.maximum(corners[best, :2], corners[order, :2])
        high = np.minimum(corners[best, 2:], corners[order, 2:])
        shared = np.prod(np.clip(high - low, 0, None), axis=1)
        order = order[shared / (area[best] + area[order] - shared) <= _OVERLAP]
    return np.array(kept, dtype=np.int64)
