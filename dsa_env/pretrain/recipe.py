"""The whole recipe: draw the encoder split, train the three models, report their quality."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from dsa_env.datasets.captions import describe, scene_caption
from dsa_env.datasets.clevr import (
    DISK_SPLITS,
    image_file,
    read_scenes,
    scenes_file,
    write_world,
)
from dsa_env.datasets.scenes import Scene
from dsa_env.encoders.detector import RegionDetector
from dsa_env.encoders.dual import DualEncoder
from dsa_env.encoders.regions import region_window
from dsa_env.errors import DSAError
from dsa_env.files import read_json, write_json
from dsa_env.pretrain import captioner as captioning
from dsa_env.pretrain import detector as detection
from dsa_env.pretrain import encoder as encoding
from dsa_env.pretrain import tower as seeing
from dsa_env.pretrain.captioner_quality import captioner_quality
from dsa_env.pretrain.lessons import PROMPTS
from dsa_env.workers import process_pool

PICTURES, HELD_OUT = 20_000, 1_000  # the encoder split; its end is kept for the report
QUICK_PICTURES, QUICK_HELD_OUT = 400, 100


def pretrain(out: Path, world: Path, *, seed: int = 0, quick: bool = False) -> dict[str, Any]:
    """Makes the embedded models from nothing but a seed.

    Args:
        out: folder for `encoder/`, `detector/`, `llava/` and `report.json`; must not exist.
        world: folder that the encoder split is drawn into; pictures there are used again.
        seed: seed of scenes, initial weights and batches.
        quick: a tiny run that shows the recipe and makes no good model.

    Returns:
        The quality report, measured on held-out pictures of the encoder split.

    Raises:
        DSAError: if `out` exists.
    """
    if out.exists():
        raise DSAError(f"{out} exists; choose another --out or remove it")
    count, held_out = (QUICK_PICTURES, QUICK_HELD_OUT) if quick else (PICTURES, HELD_OUT)
    encoder_recipe = encoding.EncoderRecipe(seed=seed)
    detector_recipe = detection.DetectorRecipe(seed=seed)
    tower_recipe = seeing.TowerRecipe(seed=seed)
    captioner_recipe = captioning.CaptionerRecipe(seed=seed)
    if quick:
        encoder_recipe = replace(encoder_recipe, epochs=1, batch=32)
        detector_recipe = replace(detector_recipe, epochs=1)
        tower_recipe = replace(tower_recipe, cycles=((1, 1e-3),), batch=32)
        captioner_recipe = replace(captioner_recipe, cycles=(captioning.Cycle(1, 32, 2e-3),))
    started = time.perf_counter()
    write_world(world, "pretrain", count, seed=seed)
    scenes, files = _pictures(world)
    # One thread each, side by side: the same weights whatever the number of cores.
    with process_pool(2) as pool:
        parts = [
            pool.submit(
                make_captioner, world, held_out, tower_recipe, captioner_recipe, out / "llava"
            ),
            pool.submit(make_detector, world, held_out, detector_recipe, out / "detector"),
            pool.submit(make_encoder, world, held_out, encoder_recipe, out / "encoder"),
        ]
        for part in parts:
            part.result()
    report = {
        "minutes": round((time.perf_counter() - started) / 60, 1),
        "pictures": {"trained": len(scenes) - held_out, "held_out": held_out},
        "recipe": {
            "encoder": asdict(encoder_recipe),
            "detector": asdict(detector_recipe),
            "tower": asdict(tower_recipe),
            "captioner": asdict(captioner_recipe),
        },
        **quality(out, scenes[-held_out:], files[-held_out:]),
        **captioner_quality(out / "llava", scenes[-held_out:], files[-held_out:]),
    }
    write_json(out / "report.json", report)
    return dict(read_json(out / "report.json"))


def _pictures(world: Path) -> tuple[list[Scene], list[Path]]:
    split = DISK_SPLITS["pretrain"]
    scenes = read_scenes(scenes_file(world, split))
    return scenes, [image_file(world, split, scene["image_filename"]) for scene in scenes]


def make_detector(
    world: Path, held_out: int, recipe: detection.DetectorRecipe, folder: Path
) -> None:
    """Trains the detector in one thread and saves it with its image processor."""
    torch.set_num_threads(1)
    scenes, files = _pictures(world)
    model = detection.train_detector(scenes[:-held_out], files[:-held_out], recipe)
    model.save_pretrained(folder)
    detection.build_processor().save_pretrained(folder)


def make_encoder(world: Path, held_out: int, recipe: encoding.EncoderRecipe, folder: Path) -> None:
    """Trains the dual encoder in one thread and saves it with tokenizer and processor."""
    torch.set_num_threads(1)
    scenes, files = _pictures(world)
    model, tokenizer = encoding.train_encoder(scenes[:-held_out], files[:-held_out], recipe)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    encoding.build_processor().save_pretrained(folder)


def make_captioner(
    world: Path,
    held_out: int,
    tower_recipe: seeing.TowerRecipe,
    recipe: captioning.CaptionerRecipe,
    folder: Path,
) -> None:
    """Trains the captioner in one thread, the vision tower first, and saves it with its processor.

    ``prompts.json`` beside it lists the prompts for captions that it knows.
    """
    torch.set_num_threads(1)
    scenes, files = _pictures(world)
    pictures = seeing.read_pictures(files[:-held_out])
    tower = seeing.train_tower(scenes[:-held_out], pictures, tower_recipe)
    features = seeing.frozen_features(tower, pictures)
    model, processor = captioning.train_captioner(scenes[:-held_out], features, tower, recipe)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    write_json(folder / "prompts.json", list(PROMPTS))


def quality(folder: Path, scenes: Sequence[Scene], files: Sequence[Path]) -> dict[str, float]:
    """What the models can do on pictures they were not trained on.

    Args:
        folder: holds `encoder/` and `detector/`.
        scenes: scene graphs with true boxes.
        files: their pictures.

    Returns:
        "detector_ap50"; "scene_recall@10", scene captions that find their picture by its coarse
        embedding; "region_phrase_accuracy", full phrases of unambiguous objects whose most
        similar true-box region is the right one.
    """
    encoder = DualEncoder(str(folder / "encoder"))
    detector = RegionDetector(str(folder / "detector"), threshold=0.01, most=100)
    images = []
    for file in files:
        with Image.open(file) as opened:
            images.append(opened.convert("RGB"))
    truth = [np.array([item["bbox"] for item in scene["objects"]]) for scene in scenes]
    boxes, scores = [], []
    for start in range(0, len(images), 100):
        for centred, score in detector.scored(images[start : start + 100]):
            corner = centred[:, :2] - centred[:, 2:] / 2
            boxes.append(np.concatenate([corner, centred[:, 2:]], axis=1) * images[0].width)
            scores.append(score)
    whole = encoder.pictures(np.stack([encoder.preprocess.whole(image) for image in images]))
    rng = np.random.default_rng(0)
    captions = encoder.text([scene_caption(scene, rng).text for scene in scenes])
    similarity = captions @ whole.T
    own = np.diag(similarity)[:, None]
    rank = 1 + (similarity > own).sum(1) + 0.5 * ((similarity == own).sum(1) - 1)
    return {
        "detector_ap50": round(detection.average_precision(truth, boxes, scores), 4),
        "scene_recall@10": round(float(np.mean(rank <= 10)), 4),
        "region_phrase_accuracy": round(_region_phrase_accuracy(encoder, scenes, images, truth), 4),
    }


def _region_phrase_accuracy(
    encoder: DualEncoder,
    scenes: Sequence[Scene],
    images: Sequence[Image.Image],
    truth: Sequence[np.ndarray],
) -> float:
    right = []
    for scene, image, boxes in zip(scenes, images, truth, strict=True):
        phrases = [
            describe(item, size=True, color=True, material=True) for item in scene["objects"]
        ]
        unique = [i for i, phrase in enumerate(phrases) if phrases.count(phrase) == 1]
        if len(phrases) < 2 or not unique:
            continue
        centred = np.concatenate([boxes[:, :2] + boxes[:, 2:] / 2, boxes[:, 2:]], axis=1)
        crops = [
            encoder.preprocess.region(image, window)
            for window in region_window(centred / image.width)
        ]
        regions = encoder.pictures(np.stack(crops))
        nearest = (encoder.text([phrases[i] for i in unique]) @ regions.T).argmax(1)
        right.extend(nearest == np.array(unique))
    return float(np.mean(right))
