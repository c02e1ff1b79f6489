"""Frozen object detectors that propose the regions of a picture."""

from __future__ import annotations

from collections.abc import Sequence
from inspect import signature
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoModelForObjectDetection,
    AutoModelForZeroShotObjectDetection,
    AutoProcessor,
)

from dsa_env.encoders import model_folder
from dsa_env.encoders.loading import frozen, loading
from dsa_env.encoders.preparing import DetectorPreparer
from dsa_env.encoders.protocol import Prepared
from dsa_env.errors import DSAError

_ZERO_SHOT = ("owlvit", "owlv2", "grounding-dino", "mm-grounding-dino", "omdet-turbo")
_CURE = "Give a hub name or a local folder of an object detector."
_OVERLAP = 0.7  # boxes that overlap more are one region
_PIXELS = 2**23  # most pixels in one forward pass


class RegionDetector:
    """Any `AutoModelForObjectDetection` (DETR, YOLOS, RT-DETR ...) or zero-shot one (OWLv2 ...).

    Attributes:
        name: the name or folder it was loaded from.
        threshold: least score of a region.
        most: regions kept per picture, best first.
        labels: what a zero-shot detector is asked for.
        zero_shot: whether it looks for `labels`; other detectors know their own classes.
        preparer: turns pictures into arrays without the weights; picklable.
        revision: commit of a model from the hub.
    """

    def __init__(
        self,
        name: str,
        *,
        threshold: float = 0.5,
        most: int = 12,
        labels: Sequence[str] | None = None,
        device: str = "cpu",
        dtype: str = "float32",
    ) -> None:
        """Loads a detector by hub name, local folder or "embedded".

        Args:
            name: which model.
            threshold: least score of a region, in [0, 1).
            most: most regions of a picture.
            labels: words that a zero-shot detector looks for, "an object" by default.
            device: torch device.
            dtype: "float32", "bf16" or "fp16", of the model; boxes are float32.

        Raises:
            DSAError: if it cannot be loaded, is no detector, a setting is out of range, or
                labels are given to a detector that knows its own classes.
        """
        if not 0 <= threshold < 1 or most < 1:
            raise DSAError(
                f"threshold must lie in [0, 1) and regions be at least 1, not {threshold}, {most}"
            )
        words = ["an object"] if labels is None else labels
        if isinstance(words, str) or not words or not all(word.strip() for word in words):
            raise DSAError(
                f"labels must be a list of words such as a dog, a car, not {labels!r}; "
                "they are what a zero-shot detector looks for"
            )
        self.name, self.threshold, self.most = name, threshold, most
        self.labels = list(words)
        source = model_folder(name, "detector")
        with loading("detector", name, _CURE):
            self.zero_shot = AutoConfig.from_pretrained(source).model_type in _ZERO_SHOT
            if labels is not None and not self.zero_shot:
                raise DSAError(
                    f"the detector {name!r} knows its own classes; leave the labels out, or take "
                    "a zero-shot detector such as OWLv2 or Grounding DINO"
                )
            model = (
                AutoModelForZeroShotObjectDetection
                if self.zero_shot
                else AutoModelForObjectDetection
            )
            self._model: Any = frozen(model, source, name, dtype, device)
            processor: Any = AutoProcessor if self.zero_shot else AutoImageProcessor
            self._processor: Any = processor.from_pretrained(source)
            images = self._processor.image_processor if self.zero_shot else self._processor
            self.preparer = DetectorPreparer.of(images)
        self.device = cast(torch.device, self._model.device)
        table = self.preparer.table
        self._table = None if table is None else torch.from_numpy(table).flatten().to(self.device)
        self.revision: str | None = getattr(self._model.config, "_commit_hash", None)

    @property
    def model_class(self) -> str:
        """The transformers class behind it."""
        return type(self._model).__name__

    def __call__(self, images: Sequence[Image.Image]) -> list[NDArray[np.float32]]:
        """Boxes of each picture, best first: [regions, 4] as (cx, cy, w, h) shares in [0, 1]."""
        return self.detect([self.preparer.prepare(image) for image in images])

    def detect(self, prepared: Sequence[Prepared]) -> list[NDArray[np.float32]]:
        """The same, of pictures that `preparer` prepared, in whatever process."""
        return [boxes[: self.most] for boxes, _ in self._scored(prepared)]

    def scored(
        self, images: Sequence[Image.Image]
    ) -> list[tuple[NDArray[np.float32], NDArray[np.float32]]]:
        """Every box above the threshold with its score, best first, overlapping ones removed."""
        return self._scored([self.preparer.prepare(image) for image in images])

    @torch.inference_mode()
    def _scored(
        self, prepared: Sequence[Prepared]
    ) -> list[tuple[NDArray[np.float32], NDArray[np.float32]]]:
        if not prepared:
            return []
        area = max(int(np.prod(one["pixels"].shape[1:])) for one in prepared)
        block = max(1, _PIXELS // area)
        found = []
        for start in range(0, len(prepared), block):
            found.extend(self._block(prepared[start : start + block]))
        return found

    def _block(
        self, prepared: Sequence[Prepared]
    ) -> list[tuple[NDArray[np.float32], NDArray[np.float32]]]:
        sizes = [(int(height), int(width)) for height, width in (one["size"] for one in prepared)]
        inputs = self._stack(prepared)
        if self.zero_shot:
            inputs |= self._words(len(prepared))
            outputs = _in_float32(self._model(**inputs))
            extra = {"input_ids": inputs["input_ids"]} if "grounding" in self._kind else {}
            rows = self._processor.post_process_grounded_object_detection(
                outputs, threshold=self.threshold, target_sizes=sizes, **extra
            )
        else:
            rows = self._processor.post_process_object_detection(
                _in_float32(self._model(**inputs)), threshold=self.threshold, target_sizes=sizes
            )
        return [_shares(found, size) for found, size in zip(rows, sizes, strict=True)]

    def _stack(self, prepared: Sequence[Prepared]) -> dict[str, Tensor]:
        """One block's input: padded to the largest picture, with a mask if any was."""
        height, width = np.max([one["pixels"].shape[1:] for one in prepared], axis=0)
        pixels = np.zeros((len(prepared), 3, height, width), dtype=prepared[0]["pixels"].dtype)
        mask = np.zeros((len(prepared), height, width), dtype=np.bool_)
        for n, one in enumerate(prepared):
            rows, columns = one["pixels"].shape[1:]
            pixels[n, :, :rows, :columns] = one["pixels"]
            mask[n, :rows, :columns] = one.get("mask", True)
        values = torch.from_numpy(pixels).to(self.device)
        if self._table is not None:
            index = values.int() + 256 * torch.arange(3, device=self.device)[:, None, None].int()
            values = self._table.index_select(0, index.flatten()).view(values.shape)
        if mask.all():
            return {"pixel_values": values.to(self._model.dtype)}
        seen = torch.from_numpy(mask).to(self.device)
        inputs = {"pixel_values": (values * seen[:, None]).to(self._model.dtype)}
        if "pixel_mask" in signature(self._model.forward).parameters:
            inputs["pixel_mask"] = seen.long()
        return inputs

    def _words(self, count: int) -> dict[str, Tensor]:
        """The tokens of `labels` for `count` pictures."""
        tokens = self._processor(text=[self.labels] * count, return_tensors="pt")
        return dict(tokens.to(self.device))

    @property
    def _kind(self) -> str:
        return str(self._model.config.model_type)


def _in_float32(outputs: Any) -> Any:
    """Scores and boxes in float32, whatever the model computes in."""
    for name in ("logits", "pred_boxes"):
        if outputs.get(name) is not None:
            outputs[name] = outputs[name].float()
    return outputs


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
