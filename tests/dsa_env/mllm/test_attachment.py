"""Attaching: native at g = 1, blended elsewhere, and gone without a trace."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import (
    Blip2ForConditionalGeneration,
    IdeficsForVisionText2Text,
    LlavaForConditionalGeneration,
)

from dsa_env.controller import GranularityController
from dsa_env.errors import DSAError
from dsa_env.mllm import attach
from dsa_env.mllm.bridges import find_bridge
from tests.dsa_env.encoders.small_models import SAVERS

CLASSES: dict[str, Any] = {
    "llava": LlavaForConditionalGeneration,
    "blip2": Blip2ForConditionalGeneration,
    "blip2-t5": Blip2ForConditionalGeneration,
    "idefics": IdeficsForVisionText2Text,
}
FAMILIES = sorted(CLASSES)
BATCH, WORDS = 3, 5


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    made = {}
    for family in FAMILIES:
        made[family] = tmp_path_factory.mktemp(family)
        SAVERS[family](made[family])
    return made


def load(folders: dict[str, Path], family: str, dtype: torch.dtype = torch.float32) -> Any:
    model = CLASSES[family].from_pretrained(folders[family], dtype=dtype).eval()
    if family == "blip2-t5":
        model.language_model.generation_config.decoder_start_token_id = 0
    if family == "idefics":  # its gates start shut: pictures would change nothing
        for layer in model.model.gated_cross_attn_layers:
            layer.alpha_cross_attn.data.fill_(1.0)
            layer.alpha_dense.data.fill_(1.0)
    return model


def inputs_for(model: Any, batch: int = BATCH) -> dict[str, Tensor]:
    """Pictures and a prompt for a small model, the same every time."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randn(batch, 3, 32, 32, generator=generator).to(model.dtype)
    words = torch.randint(4, 8, (batch, WORDS), generator=generator)
    if isinstance(model, IdeficsForVisionText2Text):
        return {
            "pixel_values": pixels[:, None],
            "input_ids": words,
            "attention_mask": torch.ones_like(words),
            "image_attention_mask": torch.ones(batch, WORDS, 1, dtype=torch.long),
        }
    places = 16 if isinstance(model, LlavaForConditionalGeneration) else 5
    image = torch.full((batch, places), model.config.image_token_index)
    ids = torch.cat([image, words], dim=1)
    return {"pixel_values": pixels, "input_ids": ids, "attention_mask": torch.ones_like(ids)}


def write(model: Any, batch: int = BATCH, **settings: Any) -> list[list[int]]:
    """What the model writes, without the prompt."""
    given = inputs_for(model, batch)
    settings = {"do_sample": False, "max_new_tokens": 6, "min_new_tokens": 6} | settings
    with torch.no_grad():
        tokens: Tensor = model.generate(**given, **settings)
    return tokens[:, -6:].tolist()


def logits(model: Any) -> Tensor:
    extra = {}
    if model.config.model_type == "blip-2" and model.language_model.config.is_encoder_decoder:
        extra = {"decoder_input_ids": torch.zeros(BATCH, 1, dtype=torch.long)}
    with torch.no_grad():
        found: Tensor = model(**inputs_for(model), **extra).logits
    return found


@pytest.mark.parametrize("family", FAMILIES)
def test_full_granularity_writes_what_the_native_model_writes(
    family: str, folders: dict[str, Path]
) -> None:
    model = load(folders, family)
    native, native_logits = write(model), logits(model)
    with attach(model, 1.0):
        assert write(model) == native
        torch.testing.assert_close(logits(model), native_logits, rtol=0, atol=0)
    with attach(model, 0.0):
        assert not torch.allclose(logits(model), native_logits)


@pytest.mark.parametrize("family", FAMILIES)
def test_detaching_leaves_no_trace(family: str, folders: dict[str, Path]) -> None:
    model = load(folders, family)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    native = logits(model)
    hooks = sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())
    with attach(model, 0.3, coarse="layer:1"):
        assert not torch.equal(logits(model), native)
    torch.testing.assert_close(logits(model), native, rtol=0, atol=0)
    assert hooks == sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), name


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("coarse", ["pooled", "layer:0", "layer:1"])
def test_tokens_are_the_blend_of_the_two_views(
    family: str, coarse: str, folders: dict[str, Path]
) -> None:
    model = load(folders, family)
    module = find_bridge(model).module
    seen: list[Tensor] = []

    def tokens(g: float) -> Tensor:
        with attach(model, g, coarse=coarse):
            handle = module.register_forward_hook(lambda m, a, out: seen.append(out.clone()))
            logits(model)
            handle.remove()
        return seen.pop()

    fine, rough, mixed = tokens(1.0), tokens(0.0), tokens(0.25)
    torch.testing.assert_close(mixed, 0.25 * fine + 0.75 * rough, rtol=1e-5, atol=1e-6)
    if coarse == "pooled":
        torch.testing.assert_close(rough, fine.mean(1, keepdim=True).expand_as(fine))
    else:
        assert rough.std(dim=1).max() > 1e-4  # places differ
        assert not torch.allclose(rough, fine)


def test_an_early_layer_of_llava_is_that_of_its_hidden_states(folders: dict[str, Path]) -> None:
    model = load(folders, "llava")
    pixels = inputs_for(model)["pixel_values"]
    with torch.no_grad():
        states = model.model.vision_tower(pixels, output_hidden_states=True).hidden_states
        fed, early = states[model.config.vision_feature_layer][:, 1:], states[1][:, 1:]
        scale = fed.norm(dim=-1).mean(1) / early.norm(dim=-1).mean(1)
        wanted = model.model.multi_modal_projector(early * scale[:, None, None])
    seen: list[Tensor] = []
    with attach(model, 0.0, coarse="layer:1"):
        model.model.multi_modal_projector.register_forward_hook(lambda m, a, out: seen.append(out))
        logits(model)
    torch.testing.assert_close(seen[0], wanted)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_sample_has_its_own_granularity_alone_in_a_batch_and_with_beams(
    family: str, folders: dict[str, Path]
) -> None:
    model = load(folders, family)
    each = [1.0, 0.0, 0.5]
    with attach(model, each) as attachment:
        together = write(model)
        assert attachment.granularity is not None
        assert attachment.granularity.tolist() == each
    for place, g in enumerate(each):
        with attach(model, g):
            assert write(model)[place] == together[place]
    beams = {"num_beams": 2}
    native = write(model, **beams)
    with attach(model, torch.ones(BATCH)) as attachment:
        assert write(model, **beams) == native
    with attach(model, each):
        assert write(model, **beams)[0] == native[0]


@pytest.mark.parametrize("family", FAMILIES)
def test_sampling_and_half_precision_work(family: str, folders: dict[str, Path]) -> None:
    model = load(folders, family, torch.bfloat16)
    settings = {"do_sample": True, "num_return_sequences": 2}
    torch.manual_seed(0)
    native = write(model, **settings)
    with attach(model, 1.0):
        torch.manual_seed(0)
        assert write(model, **settings) == native
    with attach(model, [0.2, 0.4, 0.6]) as attachment:
        assert len(write(model, **settings)) == 2 * BATCH
        assert attachment.granularity is not None
        assert set(attachment.granularity.tolist()) == set(torch.tensor([0.2, 0.4, 0.6]).tolist())


def test_a_controller_decides_from_its_features(folders: dict[str, Path]) -> None:
    model = load(folders, "llava")
    torch.manual_seed(0)
    controller = GranularityController({"text": 4, "image": 8}, hidden=(16,)).eval()
    text, image = torch.randn(BATCH, 4), torch.randn(BATCH, 8)
    chosen = controller(text, image).detach()
    with attach(model, controller, text=text, image=image) as attachment:
        found = write(model)
        assert attachment.granularity is not None
        torch.testing.assert_close(attachment.granularity, chosen)
    with attach(model, chosen):
        assert write(model) == found


def test_a_function_decides_from_the_tokens(folders: dict[str, Path]) -> None:
    model = load(folders, "blip2")
    with attach(model, lambda fine: (fine[:, 0, 0] > 0).float()) as attachment:
        write(model)
        assert attachment.granularity is not None
        assert set(attachment.granularity.tolist()) <= {0.0, 1.0}


def test_flamingo_without_a_perceiver_is_blended_too(tmp_path: Path) -> None:
    SAVERS["idefics"](tmp_path, use_resampler=False)  # type: ignore[call-arg]
    model = IdeficsForVisionText2Text.from_pretrained(tmp_path).eval()
    native = write(model)
    with attach(model, 1.0):
        assert write(model) == native
    with attach(model, 0.0, coarse="layer:1"):
        assert write(model)


def test_what_cannot_work_is_refused(folders: dict[str, Path]) -> None:
    model = load(folders, "llava")
    controller = GranularityController({"text": 4, "image": 8}, hidden=())
    for wanted, words in (
        (1.5, "must lie in"),
        (float("nan"), "must lie in"),
        ("much", "number in"),
        ([[0.5]], "one number per sample"),
        (controller, "give the features of text and image"),
    ):
        with pytest.raises(DSAError, match=words):
            attach(model, wanted)  # type: ignore[arg-type]
    with pytest.raises(DSAError, match="for a controller"):
        attach(model, 0.5, text=torch.zeros(1, 4))
    with pytest.raises(DSAError, match="Unknown coarse feature"):
        attach(model, 0.5, coarse="blurred")
    with pytest.raises(DSAError, match="layer:0"):
        attach(model, 0.5, coarse="layer:9")
    with pytest.raises(DSAError, match="LlavaForConditionalGeneration"):
        attach(torch.nn.Linear(1, 1), 0.5)
    with attach(model, 0.5), pytest.raises(DSAError, match="attached to this model already"):
        attach(model, 0.5)
    with attach(model, [0.5, 0.5]), pytest.raises(DSAError, match="2 granularities do not fit 3"):
        write(model)
    attach(model, 0.5).detach()
