"""LLaVA's features against the model's own parts, and which texts its pictures may meet."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F
from transformers import AutoTokenizer, LlavaForConditionalGeneration

from dsa_env.encoders.families import load_encoder
from dsa_env.encoders.llava import LlavaEncoder
from dsa_env.errors import DSAError
from tests.dsa_env.encoders.conftest import Folders, Loaded
from tests.dsa_env.encoders.small_models import save_clip, save_llava

WHOLE = np.array([[0.5, 0.5, 1, 1]], dtype=np.float32)
CORNER = np.array([[0.25, 0.25, 0.5, 0.5]], dtype=np.float32)
IN_CORNER = [0, 1, 4, 5]


def _unit(rows: torch.Tensor) -> np.ndarray:
    return F.normalize(rows, dim=-1).numpy()


def _values(encoder: LlavaEncoder, image: Image.Image) -> torch.Tensor:
    squeezed = encoder.preprocess.squeezed().whole(image)
    return torch.from_numpy(encoder.preprocess.normalize(squeezed[None]))


@torch.inference_mode()
def test_pooled_and_patches_are_the_tokens_the_language_model_gets(
    loaded: Loaded, pictures: list[Image.Image]
) -> None:
    encoder = loaded("llava", fine="patches")
    model = LlavaForConditionalGeneration.from_pretrained(encoder.name).eval()
    coarse, (regions,) = encoder.look(
        [encoder.prepare(pictures[0], np.concatenate([WHOLE, CORNER]))]
    )
    (tokens,) = model.get_image_features(_values(encoder, pictures[0])).pooler_output
    np.testing.assert_allclose(coarse, _unit(tokens.mean(0))[None], atol=1e-5)
    np.testing.assert_allclose(regions[0], coarse[0], atol=1e-5)
    np.testing.assert_allclose(regions[1], _unit(tokens[IN_CORNER].mean(0)), atol=1e-5)


@torch.inference_mode()
def test_an_early_layer_is_projected_at_the_norm_the_projector_expects(
    loaded: Loaded, pictures: list[Image.Image]
) -> None:
    encoder = loaded("llava", coarse="layer:1", fine="patches")
    model = LlavaForConditionalGeneration.from_pretrained(encoder.name).eval().model
    coarse, _ = encoder.look([encoder.prepare(pictures[0], WHOLE)])
    hidden = model.vision_tower(_values(encoder, pictures[0]), output_hidden_states=True)
    early, expected = (hidden.hidden_states[layer][:, 1:] for layer in (1, -2))
    early = early * expected.norm(dim=-1).mean() / early.norm(dim=-1).mean()
    np.testing.assert_allclose(coarse, _unit(model.multi_modal_projector(early).mean(1)), atol=1e-5)


@torch.inference_mode()
def test_texts_are_the_mean_of_the_input_embeddings(loaded: Loaded) -> None:
    encoder = loaded("llava")
    model = LlavaForConditionalGeneration.from_pretrained(encoder.name)
    ids = AutoTokenizer.from_pretrained(encoder.name).convert_tokens_to_ids(["red", "cube", "red"])
    expected = model.get_input_embeddings().weight[ids].mean(0)
    np.testing.assert_allclose(encoder.text(["red cube red"])[0], _unit(expected), atol=1e-6)
    with pytest.raises(DSAError, match="'' has no tokens"):
        encoder.text(["red", ""])


def test_the_language_models_layers_are_not_loaded(loaded: Loaded) -> None:
    model = loaded("llava")._model
    assert len(model.model.language_model.layers) == 0
    assert len(model.model.vision_tower.encoder.layers) == 3


@torch.inference_mode()
def test_with_its_clip_everything_lies_in_clips_space(
    folder_of: Folders, tmp_path: Path, pictures: list[Image.Image], boxes: list[np.ndarray]
) -> None:
    clip = folder_of("clip")
    save_llava(tmp_path, Path(clip))
    ours = load_encoder(str(tmp_path), text=f"clip:{clip}")
    theirs = load_encoder(clip)
    prepared = [ours.prepare(*one) for one in zip(pictures, boxes, strict=True)]
    (coarse, regions), (expected, crops) = ours.look(prepared), theirs.look(prepared)
    np.testing.assert_allclose(coarse, expected, atol=1e-5)
    np.testing.assert_allclose(np.concatenate(regions), np.concatenate(crops), atol=1e-5)
    np.testing.assert_array_equal(ours.text(["a red cube"]), theirs.text(["a red cube"]))
    assert ours.dim == 24
    assert "text tower of CLIP" in ours.notes["text"]

    patches = load_encoder(str(tmp_path), text=f"clip:{clip}", fine="patches", coarse="layer:1")
    seen, (region,) = patches.look([patches.prepare(pictures[0], CORNER)])
    assert isinstance(patches, LlavaEncoder)
    model = theirs._model  # type: ignore[attr-defined]
    hidden = model.vision_model(
        _values(patches, pictures[0]), output_hidden_states=True
    ).hidden_states[-2][:, 1:]
    tokens = model.visual_projection(model.vision_model.post_layernorm(hidden))
    np.testing.assert_allclose(region[0], _unit(tokens[0, IN_CORNER].mean(0)), atol=1e-5)
    assert seen.shape == (1, 24)


def test_texts_of_a_clip_with_another_tower_are_refused(folder_of: Folders, tmp_path: Path) -> None:
    llava = folder_of("llava")
    save_clip(tmp_path, seed=7)
    with pytest.raises(DSAError, match=r"is not that of .* in different spaces; give the CLIP"):
        load_encoder(llava, text=f"clip:{tmp_path}")
    with pytest.raises(DSAError, match="is a 'siglip' model; give"):
        load_encoder(llava, text=f"clip:{folder_of('siglip')}")
    for wrong in ("clip", "clip:", "words", "embeddings:x"):
        with pytest.raises(DSAError, match="Unknown text feature"):
            load_encoder(llava, text=wrong)


@torch.inference_mode()
def test_projectors_of_several_layers_read_them_side_by_side(
    tmp_path: Path, pictures: list[Image.Image]
) -> None:
    save_llava(tmp_path, vision_feature_layer=[-2, 1])
    encoder = load_encoder(str(tmp_path), fine="patches")
    assert isinstance(encoder, LlavaEncoder)
    model = LlavaForConditionalGeneration.from_pretrained(tmp_path).eval()
    (tokens,) = model.get_image_features(
        _values(encoder, pictures[0]), output_hidden_states=True
    ).pooler_output
    coarse, _ = encoder.look([encoder.prepare(pictures[0], WHOLE)])
    np.testing.assert_allclose(coarse[0], _unit(tokens.mean(0)), atol=1e-5)
    with pytest.raises(DSAError, match="reads 2 layers at once"):
        load_encoder(str(tmp_path), coarse="layer:1")
