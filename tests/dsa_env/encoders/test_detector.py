"""Detectors by local folder, of several families, and what becomes of their boxes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dsa_env.encoders.detector import RegionDetector, _without_doubles
from dsa_env.errors import DSAError


def _save_rt_detr(folder: Path) -> None:
    from dsa_env.pretrain.detector import build_detector, build_processor

    build_detector().save_pretrained(folder)
    build_processor().save_pretrained(folder)


def _save_yolos(folder: Path) -> None:
    from transformers import YolosConfig, YolosForObjectDetection, YolosImageProcessorPil

    config = YolosConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
        image_size=[64, 64], num_detection_tokens=7, num_labels=2,
    )  # fmt: skip
    YolosForObjectDetection(config).save_pretrained(folder)
    YolosImageProcessorPil(size={"height": 64, "width": 64}).save_pretrained(folder)


def _save_owlv2(folder: Path) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import (
        CLIPTokenizer,
        Owlv2Config,
        Owlv2ForObjectDetection,
        Owlv2ImageProcessorPil,
        Owlv2Processor,
    )

    small = {
        "hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 2,
        "num_attention_heads": 2,
    }  # fmt: skip
    letters = {chr(c): i for i, c in enumerate(range(97, 123))}
    ends = {f"{letter}</w>": 26 + i for letter, i in letters.items()}
    specials = {"<|startoftext|>": 52, "<|endoftext|>": 53}
    config = Owlv2Config(
        text_config={**small, "vocab_size": 54, "max_position_embeddings": 16,
                     "bos_token_id": 52, "eos_token_id": 53, "pad_token_id": 53},
        vision_config={**small, "image_size": 64, "patch_size": 16},
        projection_dim=32,
    )  # fmt: skip
    core = Tokenizer(models.BPE(letters | ends | specials, [], end_of_word_suffix="</w>"))
    core.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = CLIPTokenizer(vocab=letters | ends | specials, merges=[], model_max_length=16)
    Owlv2ForObjectDetection(config).save_pretrained(folder)
    Owlv2Processor(
        Owlv2ImageProcessorPil(size={"height": 64, "width": 64}), tokenizer
    ).save_pretrained(folder)


SAVERS = {"rt-detr": _save_rt_detr, "yolos": _save_yolos, "owlv2": _save_owlv2}


@pytest.fixture(scope="module", params=list(SAVERS))
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp(request.param)
    torch.manual_seed(0)
    SAVERS[request.param](path)
    return path


def test_boxes_are_shares_of_the_picture_best_first(folder: Path) -> None:
    detector = RegionDetector(str(folder), threshold=0.0, most=5)
    rng = np.random.default_rng(0)
    images = [Image.fromarray(rng.integers(0, 255, (96, 128, 3), dtype=np.uint8)) for _ in range(3)]
    found = detector.scored(images)
    assert len(found) == 3
    for boxes, scores in found:
        assert boxes.shape == (len(scores), 4)
        assert (np.diff(scores) <= 0).all()
        assert ((boxes >= 0) & (boxes <= 1)).all()
    assert all(len(boxes) <= 5 for boxes in detector(images))


def test_a_high_threshold_leaves_no_region(folder: Path) -> None:
    detector, image = RegionDetector(str(folder), threshold=0.0), Image.new("RGB", (64, 64))
    detector.threshold = float(detector.scored([image])[0][1].max()) + 1e-6
    (boxes,) = detector([image])
    assert boxes.shape == (0, 4)


def test_overlapping_boxes_are_one_region() -> None:
    corners = np.array([[0, 0, 0.5, 0.5], [0.01, 0, 0.51, 0.5], [0.6, 0.6, 0.9, 0.9], [0, 0, 0, 1]])
    kept = _without_doubles(corners, np.array([0.8, 0.9, 0.7, 0.95]))
    assert kept.tolist() == [1, 2]


def test_settings_and_folders_are_checked(tmp_path: Path) -> None:
    with pytest.raises(DSAError, match="cannot be loaded"):
        RegionDetector(str(tmp_path / "nowhere"))
    with pytest.raises(DSAError, match="threshold"):
        RegionDetector("embedded", threshold=1.5)
