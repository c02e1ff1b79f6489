"""A small world whose features say what is in the pictures, and a text encoder of counted words."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from dsa_env.bank import FeatureBank
from dsa_env.datasets.clevr import scenes_file
from dsa_env.datasets.scenes import Scene, generate_scene
from dsa_env.files import write_json
from dsa_env.logic.scene_graph import VOCABULARY

SIZES = {"train": 60, "validation": 20, "test": 20}
DISK = {"train": "train", "validation": "val", "test": "test"}
WIDTH, REGIONS = 16, 10
WORDS = [word for words in VOCABULARY.values() for word in words]


class CountedWords:
    """A text encoder: unit rows [n, 16], a text's words by their hash."""

    def text(self, texts: Sequence[str]) -> NDArray[np.float32]:
        rows = np.full((len(texts), WIDTH), 0.1, np.float32)
        for row, text in zip(rows, texts, strict=True):
            for word in text.lower().strip("?").split():
                row[crc32(word.encode()) % WIDTH] += 1
        unit: NDArray[np.float32] = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        return unit


@cache
def scenes() -> dict[str, list[Scene]]:
    return {
        split: [generate_scene(i, DISK[split]) for i in range(count)]
        for split, count in SIZES.items()
    }


def write_scenes(root: Path) -> Path:
    """The scene graphs in CLEVR's layout, without pictures."""
    for split, own in scenes().items():
        write_json(scenes_file(root, DISK[split]), {"info": {}, "scenes": own})
    return root


def small_bank(root: Path | None = None) -> FeatureBank:
    """A bank whose regions are the objects' attributes; its pictures lie below `root`."""
    everything = [(split, scene) for split, own in scenes().items() for scene in own]
    regions = np.zeros((len(everything), REGIONS, WIDTH))
    for place, (_, scene) in enumerate(everything):
        for number, thing in enumerate(scene["objects"]):
            regions[place, number, [WORDS.index(thing[name]) for name in VOCABULARY]] = 1
    files = [f"images/{DISK[split]}/{scene['image_filename']}" for split, scene in everything]
    return FeatureBank.from_arrays(
        np.eye(WIDTH)[:4],
        regions.sum(axis=1),
        regions=regions,
        region_counts=[len(scene["objects"]) for _, scene in everything],
        region_boxes=np.random.default_rng(0).random((len(everything), REGIONS, 4)),
        positives=[0, 1, 2, 3],
        splits=[split for split, _ in everything],
        image_files=files if root is None else [str(root / file) for file in files],
    )
