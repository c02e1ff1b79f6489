"""Trains the embedded captioner: a small LLaVA that tells as much detail as its granularity."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F
from transformers import (
    CLIPImageProcessorPil,
    CLIPVisionModel,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
)

from dsa_env.datasets.scenes import PICTURE_SIZE, Scene
from dsa_env.pretrain.lessons import PROMPTS, graded_caption, questions_about
from dsa_env.pretrain.stepping import one_cycle, quick
from dsa_env.pretrain.tower import DENSE, GRID, PATCH, WHOLE
from dsa_env.progress import bar

TOKENS = GRID**2  # of a picture
WIDTH = 128  # of the language model
IMAGE = "<image>"
TEMPLATE = (
    "{% for message in messages %}{{ message['role'] }} :"
    "{% for part in message['content'] %}"
    "{{ ' <image>' if part['type'] == 'image' else ' ' + part['text'] }}{% endfor %}"
    "{% endfor %}{% if add_generation_prompt %} assistant :{% endif %}"
)
"""The conversation's form, as in ``user : <image> describe the picture assistant :``."""
SOME = 1_000  # pictures that tell how loud features are
IGNORED = -100  # a target that is not learned
HIDDEN = torch.finfo(torch.float32).min  # what a place that is not seen adds to its attention
PREFIX, PADDING = 0, -1  # the turns of what all turns see, and of nothing


@dataclass(frozen=True)
class Cycle:
    """One rise and fall of the learning rate.

    Attributes:
        epochs: how often every picture has a lesson.
        batch: lessons at once.
        learning_rate: the highest.
        left_out: chance that a caption tells no object's size, and of colour and material the
            same, in the first half of the epochs: each word is then learned at every place of a
            phrase, where the last would else wait for those before it.
    """

    epochs: int
    batch: int
    learning_rate: float
    left_out: float = 0.0


@dataclass(frozen=True)
class CaptionerRecipe:
    """Everything that the training of the captioner's projector and language model depends on."""

    seed: int = 0
    cycles: tuple[Cycle, ...] = (Cycle(6, 96, 2e-3), Cycle(6, 48, 1.5e-3, 0.4))
    weight_decay: float = 0.05
    questions: int = 1  # asked about a picture in an epoch, at most


@dataclass(frozen=True)
class Lesson:
    """What the model is asked about a picture at granularity g, and what it should answer.

    Attributes:
        picture: its number.
        g: granularity in [0, 1].
        turns: prompts with their answers, which know nothing of one another.
    """

    picture: int
    g: float
    turns: tuple[tuple[str, str], ...]


def build_tokenizer(texts: Sequence[str]) -> PreTrainedTokenizerFast:
    """A word-level tokenizer whose decoder sets commas and question marks as they are written."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers
    from tokenizers.processors import TemplateProcessing

    split = pre_tokenizers.Whitespace()
    words = sorted({word for text in texts for word, _ in split.pre_tokenize_str(text.lower())})
    special = ["[PAD]", "[UNK]", "[BOS]", "[EOS]", IMAGE]
    vocabulary = {word: i for i, word in enumerate([*special, *words])}
    core = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    core.add_special_tokens([AddedToken(word, special=True) for word in special])
    core.normalizer = normalizers.Lowercase()
    core.pre_tokenizer = split
    core.decoder = decoders.WordPiece(prefix="##", cleanup=True)
    core.post_processor = TemplateProcessing(
        single="[BOS] $A", special_tokens=[("[BOS]", vocabulary["[BOS]"])]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token="[PAD]",
        unk_token="[UNK]",
        bos_token="[BOS]",
        eos_token="[EOS]",
        padding_side="left",
        model_max_length=256,
        extra_special_tokens={"image_token": IMAGE},
    )


def build_processor(tokenizer: PreTrainedTokenizerFast) -> LlavaProcessor:
    """Pictures and conversations to what the model takes."""
    pictures = CLIPImageProcessorPil(
        size={"shortest_edge": PICTURE_SIZE},
        crop_size={"height": PICTURE_SIZE, "width": PICTURE_SIZE},
        image_mean=[0.5] * 3,
        image_std=[0.25] * 3,
    )
    return LlavaProcessor(
        image_processor=pictures,
        tokenizer=tokenizer,
        patch_size=PATCH,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=TEMPLATE,
    )


def build_captioner(
    tower: CLIPVisionModel, tokenizer: PreTrainedTokenizerFast
) -> LlavaForConditionalGeneration:
    """The captioner around a trained vision tower; projector and language model untrained."""
    text = {
        "model_type": "llama",
        "vocab_size": len(tokenizer),
        "hidden_size": WIDTH,
        "intermediate_size": 3 * WIDTH,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 4,
        "max_position_embeddings": 256,
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
    }
    image = tokenizer.convert_tokens_to_ids(IMAGE)
    assert isinstance(image, int)
    config = LlavaConfig(
        vision_config=tower.config,
        text_config=text,
        image_token_index=image,
        image_seq_length=TOKENS,
        vision_feature_layer=-1,
        vision_feature_select_strategy="default",
        tie_word_embeddings=False,
    )
    # as in the tower, the default's backward pass is slow on processors
    model: LlavaForConditionalGeneration = LlavaForConditionalGeneration._from_config(
        config, attn_implementation="eager"
    )
    model.model.vision_tower.load_state_dict(tower.state_dict())
    model.model.vision_tower.requires_grad_(False)
    for name in ("pad_token_id", "bos_token_id", "eos_token_id"):
        setattr(model.generation_config, name, text[name])
    return model


def draw_lessons(
    scenes: Sequence[Scene],
    questions: Sequence[Sequence[tuple[str, str]]],
    recipe: CaptionerRecipe,
    rng: np.random.Generator,
    left_out: float = 0.0,
) -> list[Lesson]:
    """One lesson a scene: a caption that fits a random granularity, and some questions."""
    lessons = []
    for n, scene in enumerate(scenes):
        g = float(rng.random())
        prompt = str(rng.choice(PROMPTS))
        told_of = (rng.random(3) >= left_out).tolist()
        told = (prompt, graded_caption(scene, g, prompt, told_of).text)
        chosen = rng.permutation(len(questions[n]))[: recipe.questions]
        asked = [questions[n][int(i)] for i in chosen]
        lessons.append(Lesson(n, g, (told, *asked)))
    return lessons


def blend_tokens(fine: Tensor, g: Tensor) -> Tensor:
    """Picture tokens [B, T, D] at granularities [B], as `dsa_env.mllm.attach` blends them."""
    weight = g[:, None, None]
    return weight * fine + (1 - weight) * fine.mean(dim=1, keepdim=True)


def lesson_loss(model: Any, tokenizer: Any, features: Tensor, lessons: Sequence[Lesson]) -> Tensor:
    """Cross-entropy of the words of the lessons' answers.

    A lesson is one sequence, so that its picture is read once; each turn sees the picture and
    itself, at the places it would have alone.

    Args:
        model: the captioner.
        tokenizer: its tokenizer.
        features: [B, T, W] what the projector reads of the lessons' pictures.
        lessons: B of them.
    """
    packed = [_pack(tokenizer, lesson) for lesson in lessons]
    length = max(len(one.tokens) for one in packed)
    tokens, target, turn, place = (
        torch.full((len(packed), length), value)
        for value in (tokenizer.pad_token_id, IGNORED, PADDING, 0)
    )
    for row, one in enumerate(packed):
        end = len(one.tokens)
        tokens[row, :end], target[row, :end] = torch.tensor(one.tokens), torch.tensor(one.target)
        turn[row, :end], place[row, :end] = torch.tensor(one.turn), torch.tensor(one.place)
    g = torch.tensor([lesson.g for lesson in lessons])
    seen = blend_tokens(model.model.multi_modal_projector(features), g)
    embedded = model.get_input_embeddings()(tokens)
    first = packed[0].tokens.index(model.config.image_token_id)
    embedded = torch.cat([embedded[:, :first], seen, embedded[:, first + TOKENS :]], dim=1)
    before = torch.ones(length, length, dtype=torch.bool).tril()
    visible = before & ((turn[:, None] == PREFIX) | (turn[:, None] == turn[:, :, None]))
    hidden = model.model.language_model(
        inputs_embeds=embedded,
        attention_mask=torch.where(visible, 0.0, HIDDEN)[:, None],
        position_ids=place,
        use_cache=False,
    ).last_hidden_state
    learned = target != IGNORED
    return F.cross_entropy(model.lm_head(hidden[learned]).float(), target[learned])


@dataclass(frozen=True)
class _Packed:
    """A lesson as one sequence: ids, what each should be followed by, its turn and its place."""

    tokens: list[int]
    target: list[int]
    turn: list[int]
    place: list[int]


def _pack(tokenizer: Any, lesson: Lesson) -> _Packed:
    head = tokenizer(f"user : {IMAGE}")["input_ids"]
    tokens = [*head[:-1], *([head[-1]] * TOKENS)]
    packed = _Packed(
        tokens, [IGNORED] * len(tokens), [PREFIX] * len(tokens), list(range(len(tokens)))
    )
    start = len(tokens)
    for number, (prompt, answer) in enumerate(lesson.turns, start=1):
        asked = tokenizer(f"{prompt} assistant :", add_special_tokens=False)["input_ids"]
        told = tokenizer(answer, add_special_tokens=False)["input_ids"]
        ids = [*asked, *told]
        packed.tokens.extend(ids)
        packed.target.extend([IGNORED] * (len(asked) - 1) + [*told, tokenizer.eos_token_id])
        packed.turn.extend([number] * len(ids))
        packed.place.extend(range(start, start + len(ids)))
    return packed


def _batches(
    lessons: Sequence[Lesson], batch: int, rng: np.random.Generator
) -> Iterator[list[Lesson]]:
    order = rng.permutation(len(lessons))
    for start in range(0, len(order) - batch + 1, batch):
        yield [lessons[n] for n in order[start : start + batch]]


def train_captioner(
    scenes: Sequence[Scene],
    features: NDArray[np.float16],
    tower: CLIPVisionModel,
    recipe: CaptionerRecipe,
) -> tuple[LlavaForConditionalGeneration, LlavaProcessor]:
    """Trains projector and language model on the encoder split, the tower staying as it is.

    Every lesson has a granularity drawn evenly from [0, 1]; the caption tells as much detail as
    it (`graded_caption`), so that g decides what is said.

    Args:
        scenes: N scene graphs of the encoder split.
        features: [2, N, T, W] the tower's patch features of the pictures and of their mirror
            images (what is taught knows no left and right).
        tower: the trained vision tower.
        recipe: what the training depends on.

    Returns:
        The model in evaluation mode, and its processor.
    """
    torch.manual_seed(recipe.seed)
    rng = np.random.default_rng(recipe.seed)
    questions = questions_about(scenes, recipe.seed)
    words = [f"{asked} {answer}" for told in questions for asked, answer in told]
    lessons = draw_lessons(scenes, questions, recipe, rng)
    words += [answer for lesson in lessons for _, answer in lesson.turns]
    words += ["user : assistant :", "yes no", *map(str, range(11)), *PROMPTS]
    tokenizer = build_tokenizer(words)
    model = build_captioner(tower, tokenizer)
    learned = [p for p in model.parameters() if p.requires_grad]
    hand_on(model.model.multi_modal_projector, features)
    scale = _scale(features)
    first = model.model.multi_modal_projector.linear_1.weight
    with torch.no_grad():
        first /= torch.from_numpy(scale)
    model.train()
    total = sum(cycle.epochs * (len(scenes) // cycle.batch) for cycle in recipe.cycles)
    with bar("training the captioner", total) as progress:
        for cycle in recipe.cycles:
            steps = cycle.epochs * (len(scenes) // cycle.batch)
            step = one_cycle(learned, cycle.learning_rate, recipe.weight_decay, steps, 0.1)
            for epoch in range(cycle.epochs):
                left_out = cycle.left_out if 2 * epoch < cycle.epochs else 0.0
                lessons = draw_lessons(scenes, questions, recipe, rng, left_out)
                for batch in _batches(lessons, cycle.batch, rng):
                    side = rng.integers(0, 2, len(batch))
                    seen = features[side, [lesson.picture for lesson in batch]] * scale
                    with quick():
                        loss = lesson_loss(model, tokenizer, torch.from_numpy(seen).float(), batch)
                    step(loss)
                    progress.advance()
                    progress.describe(f"training the captioner (loss {loss.item():.3f})")
    with torch.no_grad():
        first *= torch.from_numpy(scale)
    return model.eval(), build_processor(tokenizer)


@torch.no_grad()
def hand_on(projector: Any, features: NDArray[np.float16]) -> None:
    """Let an untrained projector begin by handing on all that the tower says, equally loud.

    What the tower says are the first coordinates of its features. Each gets a hidden unit, and
    that unit a direction of its own among the picture tokens. Otherwise colours, which pay first,
    drown shapes and materials, and the language model never finds those.

    Args:
        projector: of LLaVA; changed.
        features: [2, N, T, W] of the tower.
    """
    told = sum(DENSE) + sum(WHOLE)
    some = features[0, :SOME].reshape(-1, features.shape[-1])[:, :told].astype(np.float32)
    mean, std = torch.from_numpy(some.mean(axis=0)), torch.from_numpy(some.std(axis=0))
    first, second = projector.linear_1, projector.linear_2
    first.weight[:told] = 0
    first.weight[:told, :told] = torch.diag(1 / std)
    first.bias[:told] = -mean / std
    directions, _ = torch.linalg.qr(torch.randn(len(second.weight), told))
    second.weight[:, :told] = directions


def _scale(features: NDArray[np.float16]) -> NDArray[np.float32]:
    """What features [2, N, T, W] are multiplied by while the projector learns, [W].

    Loud coordinates are brought down to a deviation of one, so that the projector learns from all
    of them alike; its weights then take the scale over.
    """
    some = features[0, :SOME].reshape(-1, features.shape[-1]).astype(np.float32)
    found: NDArray[np.float32] = 1 / np.maximum(some.std(axis=0), 1)
    return found
