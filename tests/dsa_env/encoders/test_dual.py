"""Dual encoders by local folder: unit features, whatever the batch, and clear refusals."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoImageProcessor, AutoModel, ViTConfig, ViTModel

from dsa_env.encoders.dual import DualEncoder
from dsa_env.errors import DSAError

TEXTS = ["a small red cube", "a cube", "a wooden floor on a metal cube"]


@pytest.fixture(params=["clip_folder", "siglip_folder"])
def folder(request: pytest.FixtureRequest) -> Path:
    return request.getfixturevalue(request.param)


def _pictures(count: int = 5) -> list[Image.Image]:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 255, (count, 40, 60, 3), dtype=np.uint8)
    return [Image.fromarray(picture).resize((120, 80)) for picture in pixels]


def test_features_are_unit_float32_and_do_not_depend_on_the_batch(folder: Path) -> None:
    encoder = DualEncoder(str(folder))
    pixels = np.stack([encoder.preprocess.whole(image) for image in _pictures()])
    for many, one in (
        (encoder.text(TEXTS), encoder.text(TEXTS, batch=1)),
        (encoder.pictures(pixels), encoder.pictures(pixels, batch=1)),
    ):
        assert many.dtype == np.float32
        assert many.shape[1] == encoder.dim
        np.testing.assert_allclose(np.linalg.norm(many, axis=1), 1, atol=1e-5)
        np.testing.assert_allclose(many, one, atol=1e-5)


def test_pictures_are_prepared_as_the_models_own_processor_does(folder: Path) -> None:
    encoder = DualEncoder(str(folder))
    image = _pictures(1)[0]
    theirs = AutoImageProcessor.from_pretrained(folder)(images=image, return_tensors="np")
    ours = encoder.preprocess.normalize(encoder.preprocess.whole(image))
    # they round the resized picture to whole pixels before the crop, we resize the crop at once
    assert np.abs(ours - theirs["pixel_values"][0]).mean() < 0.1


def test_features_are_the_models_own(clip_folder: Path) -> None:
    encoder = DualEncoder(str(clip_folder))
    pixels = np.stack([encoder.preprocess.whole(image) for image in _pictures(2)])
    model = AutoModel.from_pretrained(clip_folder).eval()
    with torch.inference_mode():
        values = torch.from_numpy(encoder.preprocess.normalize(pixels))
        raw = model.get_image_features(pixel_values=values).pooler_output.numpy()
    expected = raw / np.linalg.norm(raw, axis=1, keepdims=True)
    np.testing.assert_allclose(encoder.pictures(pixels), expected, atol=1e-5)


def test_long_texts_are_cut_not_refused(folder: Path) -> None:
    encoder = DualEncoder(str(folder))
    assert encoder.text(["cube " * 500]).shape == (1, encoder.dim)


def test_no_regions_make_no_features(clip_folder: Path) -> None:
    encoder = DualEncoder(str(clip_folder))
    assert encoder.pictures(np.empty((0, 48, 48, 3), dtype=np.uint8)).shape == (0, encoder.dim)


def test_what_is_no_dual_encoder_is_refused(tmp_path: Path, clip_folder: Path) -> None:
    with pytest.raises(DSAError, match="cannot be loaded"):
        DualEncoder(str(tmp_path / "nowhere"))
    vit = ViTModel(
        ViTConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16)
    )
    vit.save_pretrained(tmp_path)
    for name in ("tokenizer.json", "tokenizer_config.json", "preprocessor_config.json"):
        (tmp_path / name).write_bytes((clip_folder / name).read_bytes())
    with pytest.raises(DSAError, match="no dual encoder"):
        DualEncoder(str(tmp_path))
