"""The captioner's parts: labels, the conversation's form, and training as generation will read."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from dsa_env.datasets.drawing import draw, object_boxes
from dsa_env.datasets.scenes import generate_scene
from dsa_env.mllm import attach
from dsa_env.pretrain import tower as seeing
from dsa_env.pretrain.captioner import (
    Lesson,
    build_captioner,
    build_processor,
    build_tokenizer,
    hand_on,
    lesson_loss,
)

ANSWER = "a red cube, a blue sphere and a green cube"
PROMPT = "describe the picture"


@pytest.mark.parametrize("g", [0.0, 0.4, 1.0])
def test_what_is_learned_is_what_generation_reads(g: float) -> None:
    """The loss of training is that of the whole model with a granularity attached."""
    torch.manual_seed(0)
    tokenizer = build_tokenizer([ANSWER, PROMPT, "user : assistant :"])
    tower = seeing.build_tower().eval()
    model, processor = build_captioner(tower, tokenizer).eval(), build_processor(tokenizer)
    picture = draw(generate_scene(0, "pretrain"))
    with torch.no_grad():
        pixels = seeing.as_input(np.asarray(picture)[None])
        features = seeing.patch_features(tower, pixels)
        learned = lesson_loss(model, tokenizer, features, [Lesson(0, g, ((PROMPT, ANSWER),))])
        asked = _asked(processor, picture)
        whole = processor(images=[picture], text=[f"{asked} {ANSWER} [EOS]"], return_tensors="pt")
        prompt = processor(images=[picture], text=[asked], return_tensors="pt")
        labels = whole["input_ids"].clone()
        labels[:, : prompt["input_ids"].shape[1]] = -100
        with attach(model, g):
            generated = model(**whole, labels=labels).loss
    assert learned.item() == pytest.approx(generated.item(), abs=1e-5)


def test_the_turns_of_a_lesson_know_nothing_of_one_another() -> None:
    torch.manual_seed(0)
    turns = ((PROMPT, ANSWER), ("is it red?", "yes"), ("how many?", "3"))
    tokenizer = build_tokenizer([ANSWER, PROMPT, "user : assistant : is it red? yes how many? 3"])
    model = build_captioner(seeing.build_tower(), tokenizer).eval()
    features = torch.randn(2, 64, seeing.WIDTH)

    def loss(*some: tuple[str, str]) -> float:
        with torch.no_grad():
            told = lesson_loss(model, tokenizer, features[:1], [Lesson(0, 0.3, some)])
        return told.item() * sum(len(tokenizer(answer)["input_ids"]) for _, answer in some)

    assert loss(*turns) == pytest.approx(sum(loss(turn) for turn in turns), rel=1e-5)
    with torch.no_grad():  # and padding changes nothing
        both = lesson_loss(
            model, tokenizer, features, [Lesson(0, 0.3, turns), Lesson(1, 0.3, turns[1:])]
        ).item()
        words = [sum(len(tokenizer(a)["input_ids"]) for _, a in t) for t in (turns, turns[1:])]
        alone = lesson_loss(model, tokenizer, features[1:], [Lesson(1, 0.3, turns[1:])]).item()
    assert both * sum(words) == pytest.approx(loss(*turns) + alone * words[1], rel=1e-5)


def _asked(processor: object, picture: Image.Image) -> str:
    content = [{"type": "image", "image": picture}, {"type": "text", "text": PROMPT}]
    conversation = [{"role": "user", "content": content}]
    asked: str = processor.apply_chat_template(  # type: ignore[attr-defined]
        conversation, add_generation_prompt=True
    )
    assert asked == f"user : <image> {PROMPT} assistant :"
    return asked


def test_the_tokenizer_writes_captions_as_people_do() -> None:
    tokenizer = build_tokenizer([ANSWER, "is it?"])
    for text in (ANSWER, "is it?"):
        ids = tokenizer(text)["input_ids"]
        assert tokenizer.decode(ids, skip_special_tokens=True) == text


def test_a_patch_is_labelled_with_the_object_in_front_of_it() -> None:
    scene = generate_scene(3, "pretrain")
    scene["objects"] = scene["objects"][:1]
    item = scene["objects"][0]
    item["bbox"] = object_boxes(scene)[0].tolist()
    labels = seeing.patch_labels(scene)
    x, y, w, h = item["bbox"]
    row, column = int((y + h / 2) // seeing.PATCH), int((x + w / 2) // seeing.PATCH)
    words = [
        list(words)[code]
        for words, code in zip(seeing.WORDS.values(), labels[row, column, :4], strict=True)
    ]
    assert words == [item[name] for name in seeing.WORDS]
    assert labels[row, column, -1] == 0  # the nearest
    assert (labels[..., -1] == seeing.NOTHING).sum() == seeing.GRID**2 - 1
    far = labels.copy()
    far[max(0, row - 3) : row + 4, max(0, column - 3) : column + 4] = seeing.NOTHING
    assert (far == seeing.NOTHING).all()


def test_a_tower_is_taught_by_its_own_features() -> None:
    """Features that say loudly what the labels are cost nothing; whatever else they say does."""
    scene = generate_scene(3, "pretrain")
    for item, box in zip(scene["objects"], object_boxes(scene), strict=True):
        item["bbox"] = box.tolist()
    dense = torch.from_numpy(seeing.patch_labels(scene).astype(np.int64)).flatten(0, 1)[None]
    whole = torch.tensor([seeing.scene_labels(scene)])
    classes = [*seeing.DENSE, *seeing.WHOLE]
    shape, size, color, material, order = dense[0].unbind(dim=1)
    of_patches = [shape + 1, size, color, material, order + 1]
    of_scene = [told.expand(len(shape)) for told in whole[0]]
    told = torch.zeros(1, len(shape), seeing.WIDTH)
    for number, label in enumerate([*of_patches, *of_scene]):
        start = sum(classes[:number])
        told[0, torch.arange(len(shape)), start + label.clamp(min=0)] = 30
    assert seeing.tower_loss(told, dense, whole).item() < 1e-6
    assert seeing.tower_loss(told.roll(1, dims=1), dense, whole).item() > 1
    noisy = told.clone()
    noisy[..., sum(classes) :] = 10
    assert seeing.tower_loss(noisy, dense, whole).item() > 0.1


def test_the_projector_begins_by_handing_on_what_the_tower_says_equally_loud() -> None:
    torch.manual_seed(0)
    told = sum(seeing.DENSE) + sum(seeing.WHOLE)
    loudness = np.linspace(1, 15, seeing.WIDTH)
    features = np.random.default_rng(0).normal(0, loudness, (2, 50, 64, seeing.WIDTH))
    tokenizer = build_tokenizer([ANSWER, PROMPT, "user : assistant :"])
    projector = build_captioner(seeing.build_tower(), tokenizer).model.multi_modal_projector
    hand_on(projector, features.astype(np.float16))
    louder = torch.diag(torch.from_numpy(3 * loudness).float())[:told]
    with torch.no_grad():
        change = projector(louder) - projector(torch.zeros(1, seeing.WIDTH))
    length = change.norm(dim=1)
    assert length.max() < 1.2 * length.min()
    alike = (change @ change.T) / (length[:, None] * length)
    assert (alike - torch.eye(told)).abs().max() < 0.2
