"""A controller inside a model reads what the model itself knows of prompt and picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from dsa_env.controller import GranularityController
from dsa_env.errors import DSAError
from dsa_env.mllm import attach
from dsa_env.mllm.bridges import find_bridge
from dsa_env.mllm.features import picture_features, prompt_features
from tests.dsa_env.encoders.small_models import SAVERS
from tests.dsa_env.mllm.test_attachment import BATCH, FAMILIES, WORDS, inputs_for, load


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    made = {}
    for family in FAMILIES:
        made[family] = tmp_path_factory.mktemp(family)
        SAVERS[family](made[family])
    return made


def a_controller(model: Any) -> GranularityController:
    torch.manual_seed(0)
    controller = GranularityController(find_bridge(model).widths, hidden=(16,)).eval()
    with torch.no_grad():
        for value in controller.net.parameters():
            value.mul_(3)
    return controller


def expected(model: Any, controller: GranularityController, batch: int = BATCH) -> Tensor:
    """The controller's g [batch], from the features outside of any call."""
    given = inputs_for(model, batch)
    text = prompt_features(model, given["input_ids"], given["attention_mask"])
    image = picture_features(find_bridge(model).tokens(given["pixel_values"]))
    with torch.no_grad():
        chosen: Tensor = controller(text, image)
    return chosen


def run(model: Any, **settings: Any) -> Any:
    with torch.no_grad():
        return model.generate(
            **inputs_for(model), do_sample=False, max_new_tokens=3, min_new_tokens=3, **settings
        )


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    "settings", [{}, {"num_beams": 2}, {"use_cache": False}], ids=["greedy", "beams", "no cache"]
)
def test_g_inside_is_that_of_the_features_outside(
    family: str, settings: dict[str, Any], folders: dict[str, Path]
) -> None:
    model = load(folders, family)
    controller = a_controller(model)
    wanted = expected(model, controller)
    assert wanted.std() > 1e-4
    with attach(model, controller) as attachment:
        run(model, **settings)
        assert attachment.granularity is not None
        per_sample = attachment.granularity.view(BATCH, -1)
        torch.testing.assert_close(per_sample, wanted[:, None].expand_as(per_sample))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_plain_forward_pass_is_read_too(family: str, folders: dict[str, Path]) -> None:
    model = load(folders, family)
    controller = a_controller(model)
    extra = {}
    if family == "blip2-t5":
        extra = {"decoder_input_ids": torch.zeros(BATCH, 1, dtype=torch.long)}
    with attach(model, controller) as attachment, torch.no_grad():
        model(**inputs_for(model), **extra)
        assert attachment.granularity is not None
        torch.testing.assert_close(attachment.granularity, expected(model, controller))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_detached_controller_leaves_no_trace(family: str, folders: dict[str, Path]) -> None:
    model = load(folders, family)
    native = run(model).tolist()
    hooks = sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())
    with attach(model, a_controller(model)):
        run(model)
    assert "generate" not in model.__dict__
    assert run(model).tolist() == native
    assert hooks == sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


def test_a_method_of_ones_own_comes_back(folders: dict[str, Path]) -> None:
    model = load(folders, "llava")
    own = model.generate = type(model).generate.__get__(model)
    with attach(model, a_controller(model)):
        run(model)
    assert model.generate is own


@pytest.mark.parametrize("family", FAMILIES)
def test_copies_of_a_picture_are_looked_at_once(family: str, folders: dict[str, Path]) -> None:
    model = load(folders, family)
    g = [0.0, 0.4, 1.0, 0.2, 0.6, 0.9]
    given = {name: value[:2].repeat_interleave(3, 0) for name, value in inputs_for(model).items()}
    seen: list[int] = []
    tower = find_bridge(model).tower
    tower.register_forward_hook(lambda m, a, out: seen.append(len(out.last_hidden_state)))
    told = []
    for coarse in ("pooled", "layer:1"):
        for copies in (1, 3):
            with attach(model, g, coarse=coarse, copies=copies), torch.no_grad():
                told.append(model.generate(**given, do_sample=False, max_new_tokens=4).tolist())
    assert told[0] == told[1]
    assert told[2] == told[3]
    assert seen == [6, 2, 6, 2]


def test_padding_and_special_tokens_are_no_words(folders: dict[str, Path]) -> None:
    model = load(folders, "llava")
    model.generation_config.eos_token_id = [2, 3]
    given = inputs_for(model)
    words = given["input_ids"][:, -WORDS:]
    alone = prompt_features(model, words)
    torch.testing.assert_close(prompt_features(model, given["input_ids"]), alone)
    padded = F.pad(words, (4, 0), value=7)
    mask = F.pad(torch.ones_like(words), (4, 0))
    torch.testing.assert_close(prompt_features(model, padded, mask), alone)
    ended = F.pad(words, (0, 1), value=3)
    torch.testing.assert_close(prompt_features(model, ended), alone)
    embedded = model.get_input_embeddings()(words).mean(1)
    torch.testing.assert_close(alone, F.normalize(embedded, dim=-1))
    assert not prompt_features(model, given["input_ids"][:, :-WORDS]).any()


def test_flamingo_leaves_out_what_stands_around_pictures(folders: dict[str, Path]) -> None:
    model = load(folders, "idefics")
    words = inputs_for(model)["input_ids"]
    around = torch.full_like(words[:, :2], model.config.vocab_size)
    both = torch.cat([around, words], dim=1)
    torch.testing.assert_close(prompt_features(model, both), prompt_features(model, words))


@given(st.integers(1, 4), st.integers(1, 9), st.integers(1, 6), st.integers(0, 2**31))
def test_pictures_are_told_by_mean_and_spread(n: int, t: int, d: int, seed: int) -> None:
    tokens = torch.randn(n, t, d, generator=torch.Generator().manual_seed(seed))
    found = picture_features(tokens)
    assert found.shape == (n, 2 * d)
    torch.testing.assert_close(found[:, :d], F.normalize(tokens.mean(1), dim=-1))
    spread = tokens.std(1, unbiased=False)
    torch.testing.assert_close(found[:, d:], F.normalize(spread, dim=-1), atol=1e-5, rtol=1e-4)
    order = torch.randperm(t, generator=torch.Generator().manual_seed(seed))
    torch.testing.assert_close(picture_features(tokens[:, order]), found, atol=1e-5, rtol=1e-4)


def test_a_controller_of_the_picture_alone_or_the_prompt_alone_works(
    folders: dict[str, Path],
) -> None:
    model = load(folders, "llava")
    for name in ("text", "image"):
        controller = GranularityController(
            {name: find_bridge(model).widths[name]}, hidden=()
        ).eval()
        with attach(model, controller) as attachment:
            run(model)
            assert attachment.granularity is not None
            assert attachment.granularity.shape == (BATCH,)


def test_a_call_without_a_prompt_has_none(folders: dict[str, Path]) -> None:
    model = load(folders, "blip2")
    controller = a_controller(model)
    pixels = inputs_for(model)["pixel_values"]
    image = picture_features(find_bridge(model).tokens(pixels))
    with attach(model, controller) as attachment, torch.no_grad():
        model.generate(pixel_values=pixels, max_new_tokens=2)
        assert attachment.granularity is not None
        wanted = controller(torch.zeros(BATCH, find_bridge(model).widths["text"]), image)
        torch.testing.assert_close(attachment.granularity, wanted)


def test_a_controller_of_other_features_is_refused(folders: dict[str, Path]) -> None:
    model = load(folders, "llava")
    for inputs in ({"text": 4, "image": 8}, {"text": 48, "image": 96, "ambiguity": 1}):
        with pytest.raises(DSAError, match=r"own features are text \[48\] and image \[96\]"):
            attach(model, GranularityController(inputs, hidden=()))
