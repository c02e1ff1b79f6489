"""BLIP-2's features against the model's own outputs, with a language model and with ITC heads."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F
from transformers import (
    AutoTokenizer,
    Blip2ForConditionalGeneration,
    Blip2ForImageTextRetrieval,
)

from dsa_env.encoders.base import Encoder
from dsa_env.encoders.families import load_encoder
from dsa_env.errors import DSAError
from tests.dsa_env.encoders.conftest import Folders, Loaded

WHOLE = np.array([[0.5, 0.5, 1, 1]], dtype=np.float32)
CORNER = np.array([[0.25, 0.25, 0.5, 0.5]], dtype=np.float32)
IN_CORNER = [1, 2, 5, 6]  # of the tokens, the first of which is the class token


def _unit(rows: torch.Tensor) -> np.ndarray:
    return F.normalize(rows, dim=-1).numpy()


def _values(encoder: Encoder, image: Image.Image) -> torch.Tensor:
    return torch.from_numpy(encoder.preprocess.normalize(encoder.preprocess.whole(image)[None]))


@pytest.mark.parametrize("family", ["blip2", "blip2-t5"])
@torch.inference_mode()
def test_generation_features_are_what_the_language_model_is_given(
    family: str, loaded: Loaded, pictures: list[Image.Image]
) -> None:
    encoder = loaded(family)
    model = Blip2ForConditionalGeneration.from_pretrained(encoder.name).eval()
    coarse, _ = encoder.look([encoder.prepare(pictures[0], WHOLE)])
    given = model.get_image_features(_values(encoder, pictures[0])).pooler_output
    np.testing.assert_allclose(coarse, _unit(given.mean(1)), atol=1e-5)
    ids = AutoTokenizer.from_pretrained(encoder.name).convert_tokens_to_ids(["red", "cube"])
    words = model.language_model.get_input_embeddings().weight[ids].mean(0)
    np.testing.assert_allclose(encoder.text(["red cube"])[0], _unit(words), atol=1e-6)
    assert "no ITC heads" in encoder.notes["text"]


@torch.inference_mode()
def test_retrieval_features_are_those_that_itc_compares(
    loaded: Loaded, pictures: list[Image.Image]
) -> None:
    encoder = loaded("blip2-retrieval")
    model = Blip2ForImageTextRetrieval.from_pretrained(encoder.name).eval()
    tokens = AutoTokenizer.from_pretrained(encoder.name)("a red cube", return_tensors="pt")
    output = model(
        pixel_values=_values(encoder, pictures[0]),
        input_ids=tokens["input_ids"],
        attention_mask=tokens["attention_mask"],
    )
    coarse, _ = encoder.look([encoder.prepare(pictures[0], WHOLE)])
    np.testing.assert_allclose(coarse, _unit(output.image_embeds.mean(1)), atol=1e-5)
    np.testing.assert_allclose(encoder.text(["a red cube"]), output.text_embeds, atol=1e-5)


@torch.inference_mode()
def test_queries_about_a_box_see_its_patches_alone(
    loaded: Loaded, pictures: list[Image.Image]
) -> None:
    encoder = loaded("blip2", fine="patches")
    model = Blip2ForConditionalGeneration.from_pretrained(encoder.name).eval()
    _, (regions,) = encoder.look([encoder.prepare(pictures[0], CORNER)])
    tokens = model.vision_model(_values(encoder, pictures[0])).last_hidden_state[:, IN_CORNER]
    asked = model.qformer(query_embeds=model.query_tokens, encoder_hidden_states=tokens)
    given = model.language_projection(asked.last_hidden_state).mean(1)
    np.testing.assert_allclose(regions, _unit(given), atol=1e-5)


@torch.inference_mode()
def test_an_early_layer_goes_through_the_last_norm(
    loaded: Loaded, pictures: list[Image.Image]
) -> None:
    encoder = loaded("blip2", coarse="layer:0")
    model = Blip2ForConditionalGeneration.from_pretrained(encoder.name).eval()
    coarse, _ = encoder.look([encoder.prepare(pictures[0], WHOLE)])
    seen = model.vision_model(_values(encoder, pictures[0]), output_hidden_states=True)
    tokens = model.vision_model.post_layernorm(seen.hidden_states[0])
    asked = model.qformer(query_embeds=model.query_tokens, encoder_hidden_states=tokens)
    given = model.language_projection(asked.last_hidden_state).mean(1)
    np.testing.assert_allclose(coarse, _unit(given), atol=1e-5)


@pytest.mark.parametrize("family", ["blip2", "blip2-retrieval"])
def test_each_query_can_be_a_region_without_a_detector(
    family: str, loaded: Loaded, pictures: list[Image.Image]
) -> None:
    encoder = loaded(family, fine="queries")
    assert not encoder.needs_boxes
    assert "each of the Q-Former's queries" in encoder.notes["fine"]
    prepared = [encoder.prepare(image, np.zeros((0, 4))) for image in pictures]
    coarse, regions = encoder.look(prepared)
    expected, _ = loaded(family).look(prepared)
    np.testing.assert_allclose(coarse, expected, atol=1e-6)
    assert [rows.shape for rows in regions] == [(5, encoder.dim)] * len(pictures)
    if family == "blip2-retrieval":  # unit rows: their mean is the coarse view
        means = np.array([rows.mean(0) / np.linalg.norm(rows.mean(0)) for rows in regions])
        np.testing.assert_allclose(means, coarse, atol=1e-5)
    ((alone,),) = (encoder.look(prepared[3:4])[1],)
    np.testing.assert_allclose(regions[3], alone, atol=1e-5)


def test_the_language_models_layers_are_not_loaded(loaded: Loaded) -> None:
    assert len(loaded("blip2")._model.language_model.model.decoder.layers) == 0
    assert len(loaded("blip2-t5")._model.language_model.encoder.block) == 0


def test_a_checkpoint_that_says_it_has_itc_heads_but_has_none_is_refused(
    folder_of: Folders, tmp_path: Path
) -> None:
    for file in Path(folder_of("blip2")).iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    config = json.loads((tmp_path / "config.json").read_text())
    config["architectures"] = ["Blip2ForImageTextRetrieval"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(DSAError, match=r"lacks \d+ weights of Blip2ForImageTextRetrieval"):
        load_encoder(str(tmp_path))
