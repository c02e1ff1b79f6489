"""What every encoder must do, on a small model of each family's real class, loaded by path."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import BertConfig, BertModel

from dsa_env.encoders.families import FAMILIES, load_encoder
from dsa_env.encoders.protocol import FrozenEncoder
from dsa_env.errors import DSAError
from tests.dsa_env.encoders.conftest import Folders, Loaded
from tests.dsa_env.encoders.small_models import SAVERS

TEXTS = ["a small red cube", "a cube", "two large blue spheres beside a wooden floor", "red metal"]
CLASSES = {
    "clip": "CLIPModel",
    "siglip": "SiglipModel",
    "siglip2": "Siglip2Model",
    "llava": "LlavaForConditionalGeneration",
    "blip2": "Blip2ForConditionalGeneration",
    "blip2-t5": "Blip2ForConditionalGeneration",
    "blip2-retrieval": "Blip2ForImageTextRetrieval",
    "idefics": "IdeficsForVisionText2Text",
}
KINDS = [("pooled", "crops"), ("layer:1", "patches")]


@pytest.fixture(params=list(SAVERS))
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def _assert_unit(rows: np.ndarray, dim: int) -> None:
    assert rows.dtype == np.float32
    assert rows.shape[1] == dim
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)


@pytest.mark.parametrize(("coarse", "fine"), KINDS)
def test_texts_and_pictures_share_one_space_whatever_the_batch(
    family: str,
    coarse: str,
    fine: str,
    loaded: Loaded,
    pictures: list[Image.Image],
    boxes: list[np.ndarray],
) -> None:
    encoder = loaded(family, coarse=coarse, fine=fine)
    assert encoder.model_class == CLASSES[family]
    prepared = [encoder.prepare(*one) for one in zip(pictures, boxes, strict=True)]
    seen, regions = encoder.look(prepared)
    assert seen.shape == (len(pictures), encoder.dim)
    assert [len(rows) for rows in regions] == [len(rows) for rows in boxes]
    read = encoder.text(TEXTS)
    assert len(read) == len(TEXTS)
    for rows in (seen, read, np.concatenate(regions)):
        _assert_unit(rows, encoder.dim)
    alone = [encoder.look([one]) for one in prepared]
    np.testing.assert_allclose(seen, np.concatenate([one for one, _ in alone]), atol=1e-5)
    for many, (_, (one,)) in zip(regions, alone, strict=True):
        np.testing.assert_allclose(many, one, atol=1e-5)
    assert np.ptp(seen, axis=0).max() > 0.05  # pictures differ in their features
    again, _ = encoder.look(prepared)
    np.testing.assert_array_equal(seen, again)


def test_what_stands_beside_a_text_changes_nothing(family: str, loaded: Loaded) -> None:
    encoder = loaded(family)
    alone = np.concatenate([encoder.text([text]) for text in TEXTS])
    np.testing.assert_allclose(encoder.text(TEXTS), alone, atol=1e-5)
    assert encoder.text([]).shape == (0, encoder.dim)
    assert encoder.text(["a cube " * 300]).shape == (1, encoder.dim)


def test_models_are_frozen(family: str, loaded: Loaded, pictures: list[Image.Image]) -> None:
    encoder = loaded(family)
    model = encoder._model
    assert not any(module.training for module in model.modules())
    assert not any(value.requires_grad for value in model.parameters())
    with torch.enable_grad():
        encoder.look([encoder.prepare(pictures[0], np.zeros((0, 4)))])
    assert all(value.grad is None for value in model.parameters())


def test_low_precision_is_near_float32_and_comes_out_as_float32(
    family: str, loaded: Loaded, pictures: list[Image.Image], boxes: list[np.ndarray]
) -> None:
    exact = loaded(family, fine="patches")
    low = loaded(family, fine="patches", dtype="bf16")
    assert low._model.dtype == torch.bfloat16
    prepared = [exact.prepare(*one) for one in zip(pictures, boxes, strict=True)]
    (seen, regions), (rough, areas) = exact.look(prepared), low.look(prepared)
    for many, one in ((seen, rough), *zip(regions, areas, strict=True)):
        assert one.dtype == np.float32
        np.testing.assert_allclose(one, many, atol=0.05)
    np.testing.assert_allclose(low.text(TEXTS), exact.text(TEXTS), atol=0.05)


@pytest.mark.parametrize("fine", ["crops", "patches"])
def test_the_preparer_travels_without_the_model(
    family: str, fine: str, loaded: Loaded, pictures: list[Image.Image], boxes: list[np.ndarray]
) -> None:
    encoder = loaded(family, coarse="pooled", fine=fine)
    there = pickle.dumps(encoder.preparer)
    assert len(there) < 5_000
    ours = encoder.prepare(pictures[0], boxes[0])
    theirs = pickle.loads(there).prepare(pictures[0], boxes[0])
    assert ours.keys() == theirs.keys()
    for key, value in ours.items():
        np.testing.assert_array_equal(value, theirs[key])


def test_notes_say_what_the_features_are(family: str, loaded: Loaded) -> None:
    for coarse, fine in KINDS:
        notes = loaded(family, coarse=coarse, fine=fine).notes
        assert set(notes) == {"text", "coarse", "fine"}
        assert all("\n" not in note and len(note) > 40 for note in notes.values())
        assert ("layer 1" in notes["coarse"]) == (coarse == "layer:1")
        assert ("inside each box" in notes["fine"]) == (fine == "patches")


def test_nothing_to_look_at_gives_nothing(loaded: Loaded) -> None:
    encoder = loaded("clip")
    coarse, regions = encoder.look([])
    assert coarse.shape == (0, encoder.dim)
    assert regions == []


def test_layers_count_from_both_ends(family: str, folder_of: Folders) -> None:
    encoder = load_encoder(folder_of(family), coarse="layer:-1")
    assert "layer 3" in encoder.notes["coarse"]
    with pytest.raises(DSAError, match=r"no layer 4; choose layer:0 .* to layer:3 .* layer:-4"):
        load_encoder(folder_of(family), coarse="layer:4")


def test_names_of_features_types_and_devices_are_checked(folder_of: Folders) -> None:
    clip = folder_of("clip")
    with pytest.raises(DSAError, match=r"coarse feature 'layer'\. Available: .pooled."):
        load_encoder(clip, coarse="layer")
    with pytest.raises(DSAError, match="Did you mean 'patches'"):
        load_encoder(clip, fine="patch")
    with pytest.raises(DSAError, match="Unknown region feature 'queries'"):
        load_encoder(clip, fine="queries")
    with pytest.raises(DSAError, match=r"Unknown dtype 'int8'.*bf16"):
        load_encoder(clip, dtype="int8")
    with pytest.raises(DSAError, match=r"device 'gpu' cannot be used.*--device cpu"):
        load_encoder(clip, device="gpu")
    with pytest.raises(DSAError, match="one kind of text features"):
        load_encoder(clip, text="embeddings")


def _assert_one_line(error: pytest.ExceptionInfo[DSAError], *parts: str) -> None:
    message = str(error.value)
    assert "\n" not in message
    assert all(part in message for part in parts), message


def test_a_folder_without_a_model_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(DSAError) as error:
        load_encoder(str(tmp_path / "nowhere"))
    _assert_one_line(error, "cannot be loaded", "nowhere", "Give a hub name")
    (tmp_path / "config.json").write_text("{broken")
    with pytest.raises(DSAError) as error:
        load_encoder(str(tmp_path))
    _assert_one_line(error, "cannot be loaded")


def test_a_model_of_another_kind_is_refused_with_what_there_is(tmp_path: Path) -> None:
    config = BertConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16
    )
    BertModel(config).save_pretrained(tmp_path)
    with pytest.raises(DSAError) as error:
        load_encoder(str(tmp_path))
    _assert_one_line(error, "'bert'", *FAMILIES)


@pytest.mark.parametrize("family", ["clip", "llava", "blip2", "idefics"])
def test_folders_saved_by_a_processor_are_read(
    family: str, folder_of: Folders, loaded: Loaded, tmp_path: Path
) -> None:
    from transformers import (
        AutoImageProcessor,
        AutoTokenizer,
        Blip2Processor,
        CLIPProcessor,
        IdeficsProcessor,
        LlavaProcessor,
    )

    processor: Any = {
        "clip": CLIPProcessor, "llava": LlavaProcessor, "blip2": Blip2Processor,
        "idefics": IdeficsProcessor,
    }[family]  # fmt: skip
    source = Path(folder_of(family))
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).write_bytes((source / name).read_bytes())
    parts = (AutoImageProcessor.from_pretrained(source), AutoTokenizer.from_pretrained(source))
    processor(*parts).save_pretrained(tmp_path)
    encoder = load_encoder(str(tmp_path))
    assert encoder.preparer == loaded(family).preparer
    np.testing.assert_array_equal(encoder.text(TEXTS), loaded(family).text(TEXTS))


@pytest.mark.parametrize("family", ["clip", "blip2"])
@pytest.mark.parametrize("missing", ["tokenizer", "preprocessor"])
def test_a_model_without_tokenizer_or_image_processor_is_refused(
    family: str, missing: str, folder_of: Folders, tmp_path: Path
) -> None:
    for file in Path(folder_of(family)).iterdir():
        if not file.name.startswith(missing):
            (tmp_path / file.name).write_bytes(file.read_bytes())
    with pytest.raises(DSAError) as error:
        load_encoder(str(tmp_path))
    _assert_one_line(error, "tokenizer" if missing == "tokenizer" else "image processor")


def test_a_checkpoint_without_all_weights_is_refused(folder_of: Folders, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    for file in Path(folder_of("clip")).iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    weights = load_file(tmp_path / "model.safetensors")
    del weights["visual_projection.weight"]
    save_file(weights, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(DSAError) as error:
        load_encoder(str(tmp_path))
    _assert_one_line(error, "lacks 1 weights", "visual_projection.weight")


def test_a_processor_of_another_size_is_refused(folder_of: Folders, tmp_path: Path) -> None:
    from transformers import CLIPImageProcessorPil

    for file in Path(folder_of("clip")).iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    side = {"height": 48, "width": 48}
    CLIPImageProcessorPil(size={"shortest_edge": 48}, crop_size=side).save_pretrained(tmp_path)
    with pytest.raises(DSAError, match=r"reads pictures of 32 pixels.*makes 48"):
        load_encoder(str(tmp_path))


def test_features_that_are_not_finite_are_refused(
    folder_of: Folders, pictures: list[Image.Image]
) -> None:
    encoder = load_encoder(folder_of("clip"), dtype="fp16")
    encoder._model.visual_projection.weight.fill_(torch.inf)  # type: ignore[attr-defined]
    with pytest.raises(DSAError, match="not finite in float16; take a dtype"):
        encoder.look([encoder.prepare(pictures[0], np.zeros((0, 4)))])


def test_embedded_is_an_encoder_like_any_other() -> None:
    encoder: FrozenEncoder = load_encoder("embedded", fine="patches")
    assert (encoder.model_class, encoder.dim, encoder.needs_boxes) == ("CLIPModel", 64, True)
