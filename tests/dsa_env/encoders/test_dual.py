"""Dual encoders by local folder: unit features, whatever the batch, and clear refusals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F
from transformers import AutoImageProcessor, AutoModel, AutoTokenizer, ViTConfig, ViTModel

from dsa_env.encoders.base import Encoder
from dsa_env.encoders.dual import DualEncoder
from dsa_env.encoders.families import load_encoder
from dsa_env.encoders.regions import region_window
from dsa_env.errors import DSAError
from tests.dsa_env.encoders.conftest import Loaded

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


def test_siglip_reads_texts_padded_to_its_full_length_without_a_mask(siglip_folder: Path) -> None:
    encoder = DualEncoder(str(siglip_folder))
    model = AutoModel.from_pretrained(siglip_folder).eval()
    tokens = AutoTokenizer.from_pretrained(siglip_folder)(
        TEXTS, padding="max_length", max_length=16, return_tensors="pt"
    )
    with torch.inference_mode():
        raw = model.get_text_features(input_ids=tokens["input_ids"]).pooler_output
    np.testing.assert_allclose(encoder.text(TEXTS), F.normalize(raw, dim=-1).numpy(), atol=1e-5)


def _by_hand(
    encoder: Encoder, pictures: list[Image.Image], boxes: list[np.ndarray]
) -> tuple[Any, torch.Tensor, list[torch.Tensor]]:
    """The model, its squeezed input, and the patch numbers of each box, one by one."""
    squeezed = np.stack([encoder.preprocess.squeezed().whole(image) for image in pictures])
    values = torch.from_numpy(encoder.preprocess.normalize(squeezed))
    patches = []
    for cx, cy, w, h in np.concatenate(boxes):
        near = [
            row * 4 + col
            for row in range(4)
            for col in range(4)
            if abs((row + 0.5) / 4 - cy) <= h / 2 and abs((col + 0.5) / 4 - cx) <= w / 2
        ]
        patches.append(torch.tensor(near))
    return encoder._model, values, patches


BOXES = [
    np.array([[0.3, 0.3, 0.5, 0.6], [0.5, 0.5, 1, 1]], dtype=np.float32),
    np.array([[0.6, 0.7, 0.4, 0.3]], dtype=np.float32),
]


@torch.inference_mode()
def test_clips_patches_and_layers_are_what_the_hidden_states_give(loaded: Loaded) -> None:
    encoder, pictures = loaded("clip", coarse="layer:2", fine="patches"), _pictures(2)
    model, values, patches = _by_hand(encoder, pictures, BOXES)
    prepared = [encoder.prepare(*one) for one in zip(pictures, BOXES, strict=True)]
    coarse, regions = encoder.look(prepared)
    hidden = model.vision_model(values, output_hidden_states=True).hidden_states
    last = model.visual_projection(model.vision_model.post_layernorm(hidden[3]))[:, 1:]
    early = model.visual_projection(model.vision_model.post_layernorm(hidden[2]))[:, 1:]
    expected = F.normalize(early.mean(1), dim=-1).numpy()
    np.testing.assert_allclose(coarse, expected, atol=1e-5)
    rows = [last[owner][near].mean(0) for owner, near in zip((0, 0, 1), patches, strict=True)]
    expected = F.normalize(torch.stack(rows), dim=-1).numpy()
    np.testing.assert_allclose(np.concatenate(regions), expected, atol=1e-5)


@pytest.mark.parametrize("family", ["siglip", "siglip2"])
@torch.inference_mode()
def test_siglips_patches_and_layers_go_through_its_head(family: str, loaded: Loaded) -> None:
    encoder, pictures = loaded(family, coarse="layer:1", fine="patches"), _pictures(2)
    model, values, patches = _by_hand(encoder, pictures, BOXES)
    prepared = [encoder.prepare(*one) for one in zip(pictures, BOXES, strict=True)]
    coarse, regions = encoder.look(prepared)
    inputs: dict[str, Any] = {"pixel_values": values}
    if family == "siglip2":
        own = AutoImageProcessor.from_pretrained(encoder.name)(
            images=[image.resize((32, 32), encoder.preprocess.resample) for image in pictures],
            return_tensors="pt",
        )
        inputs = {name: value[:, :16] for name, value in own.items()}  # four patches are padding
    tower = model.vision_model
    output = tower(**inputs, output_hidden_states=True)
    early = tower.head(tower.post_layernorm(output.hidden_states[1]))
    np.testing.assert_allclose(coarse, F.normalize(early, dim=-1).numpy(), atol=1e-5)
    rows = [
        tower.head(output.last_hidden_state[owner][near][None])[0]
        for owner, near in zip((0, 0, 1), patches, strict=True)
    ]
    expected = F.normalize(torch.stack(rows), dim=-1).numpy()
    np.testing.assert_allclose(np.concatenate(regions), expected, atol=1e-5)
    whole = F.normalize(output.pooler_output[0], dim=-1).numpy()
    np.testing.assert_allclose(regions[0][1], whole, atol=1e-5)  # a box around everything


def test_crops_are_embedded_like_whole_pictures(loaded: Loaded) -> None:
    encoder, pictures = loaded("clip"), _pictures(2)
    prepared = [encoder.prepare(*one) for one in zip(pictures, BOXES, strict=True)]
    _, regions = encoder.look(prepared)
    window = region_window(BOXES[1][0], aspect=120 / 80)
    crop = encoder.preprocess.region(pictures[1], window)
    np.testing.assert_allclose(regions[1], encoder.pictures(crop[None]), atol=1e-5)


def test_other_dual_encoders_have_pooled_features_and_crops(tmp_path: Path) -> None:
    from transformers import AltCLIPConfig, AltCLIPModel

    from tests.dsa_env.encoders.small_models import SMALL, VISION, save_clip

    save_clip(tmp_path)
    text = {**SMALL, "vocab_size": 32, "project_dim": 24, "max_position_embeddings": 32}
    config = AltCLIPConfig(text_config=text, vision_config=VISION, projection_dim=24)
    AltCLIPModel(config).save_pretrained(tmp_path)
    encoder = load_encoder(str(tmp_path))
    assert (encoder.model_class, encoder.dim) == ("AltCLIPModel", 24)
    coarse, regions = encoder.look([encoder.prepare(_pictures(1)[0], BOXES[0])])
    assert (coarse.shape, regions[0].shape) == ((1, 24), (2, 24))
    with pytest.raises(DSAError, match="supports --coarse pooled and --regions-by crops"):
        load_encoder(str(tmp_path), fine="patches")


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
