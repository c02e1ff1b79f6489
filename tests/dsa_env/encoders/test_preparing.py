"""Detectors' preparers give, bit for bit, what the image processors give; and travel."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
from PIL import Image
from transformers import (
    AutoImageProcessor,
    DetrImageProcessorPil,
    Owlv2ImageProcessorPil,
    OwlViTImageProcessorPil,
    YolosImageProcessorPil,
)

from dsa_env.encoders import model_folder
from dsa_env.encoders.preparing import DetectorPreparer

SIDE = {"height": 48, "width": 48}
EDGES = {"shortest_edge": 40, "longest_edge": 66}
PROCESSORS: dict[str, Any] = {
    "embedded": lambda: AutoImageProcessor.from_pretrained(model_folder("embedded", "detector")),
    "detr": lambda: DetrImageProcessorPil(size=EDGES),
    "detr-padded": lambda: DetrImageProcessorPil(size=EDGES, pad_size={"height": 80, "width": 80}),
    "yolos": lambda: YolosImageProcessorPil(size=SIDE),
    "owlvit": lambda: OwlViTImageProcessorPil(size=SIDE),
    "owlv2": lambda: Owlv2ImageProcessorPil(size=SIDE),
}


@pytest.mark.parametrize("kind", list(PROCESSORS))
def test_arrays_are_the_processors_own(kind: str) -> None:
    processor = PROCESSORS[kind]()
    preparer = pickle.loads(pickle.dumps(DetectorPreparer.of(processor)))
    noise = np.random.default_rng(3).integers(0, 256, (50, 70, 3), dtype=np.uint8)
    image = Image.fromarray(noise)
    prepared = preparer.prepare(image)
    theirs = processor(images=image, return_tensors="np")
    pixels = prepared["pixels"]
    if preparer.table is not None:
        assert pixels.dtype == np.uint8
        pixels = np.stack([row[level] for row, level in zip(preparer.table, pixels, strict=True)])
    np.testing.assert_array_equal(pixels, theirs["pixel_values"][0])
    assert prepared["size"].tolist() == [50, 70]
    if "mask" in prepared:
        np.testing.assert_array_equal(prepared["mask"], theirs["pixel_mask"][0])


def test_plain_resizing_needs_no_processor_and_padding_does() -> None:
    assert DetectorPreparer.of(PROCESSORS["embedded"]()).processor is None
    assert DetectorPreparer.of(PROCESSORS["detr"]()).table is not None
    assert DetectorPreparer.of(PROCESSORS["detr-padded"]()).table is None
