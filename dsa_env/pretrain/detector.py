"""Trains the embedded object detector: a small RT-DETR v2 from scratch."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn
from transformers import (
    RTDetrImageProcessorPil,
    RTDetrResNetConfig,
    RTDetrV2Config,
    RTDetrV2ForObjectDetection,
)

from dsa_env.datasets.scenes import PICTURE_SIZE, Scene
from dsa_env.progress import bar


@dataclass(frozen=True)
class DetectorRecipe:
    """Everything that the training of the detector depends on."""

    seed: int = 0
    pictures: int = 10_000
    epochs: int = 8
    batch: int = 32
    learning_rate: float = 1e-3


def build_detector() -> RTDetrV2ForObjectDetection:
    """The untrained detector: one class ("object"), 20 queries, 128-px pictures."""
    options: dict[str, Any] = {"out_features": ["stage2", "stage3", "stage4"]}
    backbone = RTDetrResNetConfig(
        embedding_size=16,
        hidden_sizes=[16, 32, 48, 64],
        depths=[1, 1, 1, 1],
        layer_type="basic",
        **options,
    )
    labels: dict[str, Any] = {"num_labels": 1, "id2label": {0: "object"}}
    config = RTDetrV2Config(
        backbone_config=backbone,
        encoder_hidden_dim=64,
        encoder_in_channels=[32, 48, 64],
        encoder_ffn_dim=128,
        encoder_attention_heads=4,
        hidden_expansion=0.5,
        d_model=64,
        num_queries=20,
        decoder_in_channels=[64, 64, 64],
        decoder_ffn_dim=128,
        decoder_layers=2,
        decoder_attention_heads=4,
        decoder_n_points=4,
        num_denoising=24,
        **labels,
        anchor_image_size=None,
        freeze_backbone_batch_norms=False,
    )
    return RTDetrV2ForObjectDetection(config)


def build_processor() -> RTDetrImageProcessorPil:
    """The image processor that belongs to the detector."""
    return RTDetrImageProcessorPil(size={"height": PICTURE_SIZE, "width": PICTURE_SIZE})


def _pixels(files: Sequence[Path]) -> NDArray[np.uint8]:
    """Pictures [N, 3, side, side] uint8."""
    pictures = np.empty((len(files), 3, PICTURE_SIZE, PICTURE_SIZE), dtype=np.uint8)
    for n, file in enumerate(files):
        with Image.open(file) as opened:
            pictures[n] = np.asarray(opened.convert("RGB")).transpose(2, 0, 1)
    return pictures


def _labels(scene: Scene) -> dict[str, torch.Tensor]:
    boxes = torch.tensor([item["bbox"] for item in scene["objects"]]) / PICTURE_SIZE
    centred = torch.cat([boxes[:, :2] + boxes[:, 2:] / 2, boxes[:, 2:]], dim=1)
    return {"class_labels": torch.zeros(len(boxes), dtype=torch.long), "boxes": centred}


def train_detector(
    scenes: Sequence[Scene], files: Sequence[Path], recipe: DetectorRecipe
) -> RTDetrV2ForObjectDetection:
    """Trains the detector on true boxes of the encoder split; mirrors half of the pictures."""
    torch.manual_seed(recipe.seed)
    rng = np.random.default_rng(recipe.seed)
    scenes, files = scenes[: recipe.pictures], files[: recipe.pictures]
    pictures, model = _pixels(files), build_detector()
    labels = [_labels(scene) for scene in scenes]
    optimizer = torch.optim.AdamW(model.parameters(), lr=recipe.learning_rate, weight_decay=1e-4)
    steps = recipe.epochs * (len(scenes) // recipe.batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, recipe.learning_rate, total_steps=steps, pct_start=0.1
    )
    model.train()
    with bar("training the detector", steps) as progress:
        for _ in range(recipe.epochs):
            order = rng.permutation(len(scenes))
            for start in range(0, len(order) - recipe.batch + 1, recipe.batch):
                rows = order[start : start + recipe.batch]
                mirror = rng.random(recipe.batch) < 0.5
                batch = torch.from_numpy(pictures[rows]).float() / 255
                batch[torch.from_numpy(mirror)] = batch[torch.from_numpy(mirror)].flip(-1)
                targets = [
                    _mirrored(labels[n]) if flip else labels[n]
                    for n, flip in zip(rows, mirror, strict=True)
                ]
                loss = model(pixel_values=batch, labels=targets).loss
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                nn.utils.clip_grad_norm_(model.parameters(), 0.5)
                optimizer.step()
                schedule.step()
                progress.advance()
                progress.describe(f"training the detector (loss {loss.item():.2f})")
    model.eval()
    return model


def _mirrored(label: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    boxes = label["boxes"].clone()
    boxes[:, 0] = 1 - boxes[:, 0]
    return {**label, "boxes": boxes}


def average_precision(
    truth: Sequence[NDArray[np.floating]],
    boxes: Sequence[NDArray[np.floating]],
    scores: Sequence[NDArray[np.floating]],
) -> float:
    """AP at IoU 0.5 of class-free boxes, by COCO's own evaluation (pycocotools).

    Args:
        truth: true boxes of each picture, [objects, 4] as (x, y, w, h).
        boxes: predicted boxes of each picture in the same form.
        scores: their scores.
    """
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    true_rows = [(n, box) for n, rows in enumerate(truth) for box in rows]
    with redirect_stdout(StringIO()):
        gold = COCO()
        gold.dataset = {
            "info": {},
            "images": [{"id": n} for n in range(len(truth))],
            "categories": [{"id": 1}],
            "annotations": [
                {
                    "id": i + 1,
                    "image_id": n,
                    "category_id": 1,
                    "bbox": [float(v) for v in box],
                    "area": float(box[2] * box[3]),
                    "iscrowd": 0,
                }
                for i, (n, box) in enumerate(true_rows)
            ],
        }
        gold.createIndex()
        found = gold.loadRes(
            [
                {
                    "image_id": n,
                    "category_id": 1,
                    "bbox": [float(v) for v in box],
                    "score": float(score),
                }
                for n, (rows, values) in enumerate(zip(boxes, scores, strict=True))
                for box, score in zip(rows, values, strict=True)
            ]
        )
        judge = COCOeval(gold, found, "bbox")
        judge.params.iouThrs = np.array([0.5])
        judge.evaluate()
        judge.accumulate()
    precision = judge.eval["precision"][0, :, 0, 0, -1]
    return float(precision[precision > -1].mean())
