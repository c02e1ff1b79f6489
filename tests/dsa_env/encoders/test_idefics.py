"""IDEFICS' features are what its first cross-attention adds to a word that attends evenly."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F
from transformers import AutoTokenizer, IdeficsForVisionText2Text

from dsa_env.encoders.base import Encoder
from dsa_env.encoders.families import load_encoder
from dsa_env.errors import DSAError
from tests.dsa_env.encoders.conftest import Loaded
from tests.dsa_env.encoders.small_models import save_idefics

CORNER = np.array([[0.25, 0.25, 0.5, 0.5]], dtype=np.float32)
IN_CORNER = [1, 2, 5, 6]  # of the tokens, the first of which is the class token


def _unit(rows: torch.Tensor) -> np.ndarray:
    return F.normalize(rows, dim=-1).numpy()


def _values(encoder: Encoder, image: Image.Image) -> torch.Tensor:
    return torch.from_numpy(encoder.preprocess.normalize(encoder.preprocess.whole(image)[None]))


@torch.inference_mode()
def test_a_picture_is_what_a_word_is_given_that_attends_evenly(
    tmp_path: Path, pictures: list[Image.Image]
) -> None:
    save_idefics(tmp_path, alpha_initializer="ones")
    encoder = load_encoder(str(tmp_path))
    assert isinstance(encoder, Encoder)
    model = IdeficsForVisionText2Text.from_pretrained(tmp_path).eval().model
    values = _values(encoder, pictures[0])
    latents = model.perceiver_resampler(model.vision_model(values).last_hidden_state)
    layer = model.gated_cross_attn_layers[0]
    layer.cross_attn.q_proj.weight.zero_()  # every latent is attended to alike
    layer.alpha_dense.zero_()
    word = torch.randn(1, 1, 48)
    after = layer(
        word,
        image_hidden_states=latents,
        image_attention_mask=torch.zeros(1, 1, 1, latents.shape[1]),
        cross_attention_gate=torch.ones(1, 1),
    )
    coarse, _ = encoder.look([encoder.prepare(pictures[0], CORNER)])
    np.testing.assert_allclose(coarse, _unit(after - word)[0], atol=1e-4)


@torch.inference_mode()
def test_layers_and_patches_go_through_the_perceiver(
    loaded: Loaded, pictures: list[Image.Image]
) -> None:
    encoder = loaded("idefics", coarse="layer:2", fine="patches")
    model = IdeficsForVisionText2Text.from_pretrained(encoder.name).eval().model
    hidden = model.vision_model.pre_layrnorm(
        model.vision_model.embeddings(_values(encoder, pictures[0]))
    )
    states = [hidden]
    for block in model.vision_model.encoder.layers:
        states.append(block(states[-1], attention_mask=None))
    attention = model.gated_cross_attn_layers[0].cross_attn
    expected = [
        attention.o_proj(attention.v_proj(model.perceiver_resampler(tokens).mean(1)))
        for tokens in (states[2], states[3][:, IN_CORNER])
    ]
    coarse, (regions,) = encoder.look([encoder.prepare(pictures[0], CORNER)])
    np.testing.assert_allclose(coarse, _unit(expected[0]), atol=1e-5)
    np.testing.assert_allclose(regions, _unit(expected[1]), atol=1e-5)


@torch.inference_mode()
def test_texts_are_the_mean_of_the_input_embeddings(loaded: Loaded) -> None:
    encoder = loaded("idefics")
    model = IdeficsForVisionText2Text.from_pretrained(encoder.name)
    ids = AutoTokenizer.from_pretrained(encoder.name).convert_tokens_to_ids(["red", "cube"])
    expected = model.get_input_embeddings().weight[ids].mean(0)
    np.testing.assert_allclose(encoder.text(["red cube"])[0], _unit(expected), atol=1e-6)


def test_only_the_first_cross_attention_is_loaded(loaded: Loaded) -> None:
    model = loaded("idefics")._model.model
    assert (len(model.layers), len(model.gated_cross_attn_layers)) == (2, 1)


def test_each_latent_can_be_a_region_without_a_detector(
    loaded: Loaded, tmp_path: Path, pictures: list[Image.Image]
) -> None:
    encoder = loaded("idefics", coarse="layer:1", fine="queries")
    prepared = [encoder.prepare(image, np.zeros((0, 4))) for image in pictures]
    coarse, regions = encoder.look(prepared)
    assert not encoder.needs_boxes
    assert coarse.shape == (len(pictures), 48)
    assert [rows.shape for rows in regions] == [(6, 48)] * len(pictures)
    save_idefics(tmp_path, use_resampler=False)
    with pytest.raises(DSAError, match="has no perceiver"):
        load_encoder(str(tmp_path), fine="queries")


@pytest.mark.parametrize("fine", ["crops", "patches"])
def test_without_a_perceiver_patch_tokens_take_its_place(
    fine: str, tmp_path: Path, pictures: list[Image.Image]
) -> None:
    save_idefics(tmp_path, use_resampler=False)
    encoder = load_encoder(str(tmp_path), fine=fine)
    coarse, (regions,) = encoder.look([encoder.prepare(pictures[0], CORNER)])
    assert coarse.shape == regions.shape == (1, 48)
    assert "no perceiver" in encoder.notes["coarse"]
