"""Detectors by local folder, of several families, and what becomes of their boxes."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dsa_env.encoders import detector as detector_module
from dsa_env.encoders.detector import RegionDetector, _without_doubles
from dsa_env.errors import DSAError
from tests.dsa_env.encoders.conftest import Folders


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
    edges = {"shortest_edge": 48, "longest_edge": 80}
    YolosImageProcessorPil(size=edges).save_pretrained(folder)


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


def _save_detr(folder: Path) -> None:
    from transformers import DetrConfig, DetrForObjectDetection, DetrImageProcessorPil, ResNetConfig

    backbone = ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], out_features=["stage2"]
    )
    config = DetrConfig(
        backbone_config=backbone, use_timm_backbone=False, use_pretrained_backbone=False,
        d_model=16, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=16, decoder_ffn_dim=16, num_queries=9,
        num_labels=3,
    )  # fmt: skip
    DetrForObjectDetection(config).save_pretrained(folder)
    edges = {"shortest_edge": 48, "longest_edge": 80}
    DetrImageProcessorPil(size=edges).save_pretrained(folder)


def _save_grounding_dino(folder: Path) -> None:
    from transformers import (
        BertTokenizer,
        GroundingDinoConfig,
        GroundingDinoForObjectDetection,
        GroundingDinoImageProcessorPil,
        GroundingDinoProcessor,
    )

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", "a", "cube", "sphere", "red"]
    vocabulary = {word: n for n, word in enumerate(words)}
    tokenizer = BertTokenizer(vocab=vocabulary)
    config = GroundingDinoConfig(
        text_config={"model_type": "bert", "vocab_size": len(words), "hidden_size": 16,
                     "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16},
        backbone_config={"model_type": "swin", "embed_dim": 8, "depths": [1, 1, 1],
                         "num_heads": [1, 2, 2], "window_size": 4, "image_size": 64,
                         "out_features": ["stage2", "stage3"]},
        d_model=32, encoder_layers=1, decoder_layers=2, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=16, decoder_ffn_dim=16, num_queries=9,
        num_feature_levels=3, max_text_len=24,
    )  # fmt: skip
    GroundingDinoForObjectDetection(config).save_pretrained(folder)
    edges = {"shortest_edge": 64, "longest_edge": 96}
    GroundingDinoProcessor(GroundingDinoImageProcessorPil(size=edges), tokenizer).save_pretrained(
        folder
    )


SAVERS = {
    "rt-detr": _save_rt_detr,
    "yolos": _save_yolos,
    "detr": _save_detr,
    "owlv2": _save_owlv2,
    "grounding-dino": _save_grounding_dino,
}


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


def _pictures() -> list[Image.Image]:
    rng = np.random.default_rng(0)
    sizes = [(96, 128, 3), (128, 96, 3), (100, 100, 3), (90, 160, 3)]
    return [Image.fromarray(rng.integers(0, 255, size, dtype=np.uint8)) for size in sizes]


def test_boxes_hardly_depend_on_the_batch_and_not_on_the_process(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    detector = RegionDetector(str(folder), threshold=0.0, most=3)
    prepared = [detector.preparer.prepare(image) for image in _pictures()]
    together = detector.detect(pickle.loads(pickle.dumps(prepared)))
    for many, one in zip(detector(_pictures()), together, strict=True):
        np.testing.assert_array_equal(many, one)
    monkeypatch.setattr(detector_module, "_PIXELS", 1)
    alone = detector.scored(_pictures())
    for (boxes, scores), image in zip(alone, _pictures(), strict=True):
        ((expected, theirs),) = detector.scored([image])
        np.testing.assert_array_equal(scores, theirs)
        np.testing.assert_array_equal(boxes, expected)


def test_low_precision_gives_float32_boxes(folder: Path) -> None:
    low = RegionDetector(str(folder), threshold=0.0, most=3, dtype="bf16")
    for boxes, scores in low.scored(_pictures()):
        assert boxes.dtype == scores.dtype == np.float32
        assert ((boxes >= 0) & (boxes <= 1)).all()


def test_detectors_are_frozen_and_repeat_themselves(folder: Path) -> None:
    detector = RegionDetector(str(folder), threshold=0.0)
    assert not any(module.training for module in detector._model.modules())
    assert not any(value.requires_grad for value in detector._model.parameters())
    for one, again in zip(detector(_pictures()), detector(_pictures()), strict=True):
        np.testing.assert_array_equal(one, again)


def test_padded_pictures_find_what_they_find_alone(tmp_path: Path) -> None:
    _save_detr(tmp_path)
    detector = RegionDetector(str(tmp_path), threshold=0.0)
    wide = _pictures()[3]
    ((alone, sure),) = detector.scored([wide])
    beside, scores = detector.scored([wide, _pictures()[1]])[0]
    assert len(alone) == len(beside)
    np.testing.assert_allclose(scores, sure, atol=0.05)


@pytest.mark.parametrize("saver", [_save_owlv2, _save_grounding_dino])
def test_zero_shot_detectors_look_for_the_labels(
    saver: Callable[[Path], None], tmp_path: Path
) -> None:
    torch.manual_seed(0)
    saver(tmp_path)
    cube = RegionDetector(str(tmp_path), threshold=0.0, labels=["a cube"])
    both = RegionDetector(str(tmp_path), threshold=0.0, labels=["a cube", "a red sphere"])
    assert cube.zero_shot
    (_, one), (_, two) = (detector.scored(_pictures()[:1])[0] for detector in (cube, both))
    assert one.tolist() != two.tolist()
    for wrong in ("a cube", [], ["a cube", " "]):
        with pytest.raises(DSAError, match="labels must be a list of words"):
            RegionDetector(str(tmp_path), labels=wrong)


def test_overlapping_boxes_are_one_region() -> None:
    corners = np.array([[0, 0, 0.5, 0.5], [0.01, 0, 0.51, 0.5], [0.6, 0.6, 0.9, 0.9], [0, 0, 0, 1]])
    kept = _without_doubles(corners, np.array([0.8, 0.9, 0.7, 0.95]))
    assert kept.tolist() == [1, 2]


def test_settings_and_folders_are_checked(tmp_path: Path) -> None:
    with pytest.raises(DSAError, match="cannot be loaded"):
        RegionDetector(str(tmp_path / "nowhere"))
    with pytest.raises(DSAError, match="knows its own classes; leave the labels out"):
        RegionDetector("embedded", labels=["a cube"])
    with pytest.raises(DSAError, match="threshold"):
        RegionDetector("embedded", threshold=1.5)
    with pytest.raises(DSAError, match=r"Unknown dtype 'half'.*bf16"):
        RegionDetector("embedded", dtype="half")
    with pytest.raises(DSAError, match=r"device 'tpu' cannot be used"):
        RegionDetector("embedded", device="tpu")


def test_an_encoder_is_no_detector(folder_of: Folders) -> None:
    with pytest.raises(DSAError) as error:
        RegionDetector(folder_of("clip"))
    assert "cannot be loaded" in str(error.value)
    assert "object detector" in str(error.value)
    assert "\n" not in str(error.value)
