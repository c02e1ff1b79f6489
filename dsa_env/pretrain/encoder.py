"""Trains the embedded dual encoder: scene-level whole pictures, object-level regions."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel, PreTrainedTokenizerFast

from dsa_env.datasets.captions import (
    Caption,
    mixed_caption,
    object_caption,
    relation_caption,
    scene_caption,
    scene_facts,
)
from dsa_env.datasets.scenes import Scene
from dsa_env.encoders.regions import Preprocess, region_window
from dsa_env.progress import bar

SIDE, WIDTH, DIM = 48, 128, 64
ATTENTION_TEMPERATURE = 0.05  # of the softmax over regions; banks use the same
_REGIONS = 4  # regions of a picture that a training step looks at


@dataclass(frozen=True)
class EncoderRecipe:
    """Everything that the training of the encoder depends on."""

    seed: int = 0
    epochs: int = 12
    batch: int = 192
    learning_rate: float = 2e-3
    weight_decay: float = 0.05
    mixed_share: float = 0.25  # whole pictures told by mixed captions instead of scene ones


def build_tokenizer(texts: Sequence[str]) -> PreTrainedTokenizerFast:
    """A word-level tokenizer over the captions' words."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    words = sorted({word for text in texts for word in text.replace(",", " , ").split()})
    vocabulary = {word: i for i, word in enumerate(["[PAD]", "[UNK]", "[BOS]", "[EOS]", *words])}
    core = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    core.normalizer = normalizers.Lowercase()
    core.pre_tokenizer = pre_tokenizers.Whitespace()
    core.post_processor = processors.TemplateProcessing(
        single="[BOS] $A [EOS]",
        special_tokens=[("[BOS]", vocabulary["[BOS]"]), ("[EOS]", vocabulary["[EOS]"])],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token="[PAD]",
        unk_token="[UNK]",
        bos_token="[BOS]",
        eos_token="[EOS]",
        model_max_length=48,
    )


def build_model(vocabulary: int) -> CLIPModel:
    """The untrained dual encoder: 1.2 M parameters, 9 patches a picture, 64 dimensions."""
    text = {
        "vocab_size": vocabulary,
        "hidden_size": WIDTH,
        "intermediate_size": 2 * WIDTH,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": 48,
        "pad_token_id": 0,
        "bos_token_id": 2,
        "eos_token_id": 3,
    }
    vision = {
        "hidden_size": WIDTH,
        "intermediate_size": 3 * WIDTH,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "image_size": SIDE,
        "patch_size": 16,
    }
    return CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=DIM))


def build_processor() -> CLIPImageProcessorPil:
    """The image processor that belongs to the encoder."""
    return CLIPImageProcessorPil(
        size={"shortest_edge": SIDE},
        crop_size={"height": SIDE, "width": SIDE},
        image_mean=[0.5] * 3,
        image_std=[0.25] * 3,
    )


@dataclass(frozen=True)
class Pixels:
    """Pictures and true-box regions ready for the tower.

    Attributes:
        whole: [N, SIDE, SIDE, 3] uint8.
        regions: [sum of objects, SIDE, SIDE, 3] uint8.
        starts: [N + 1] first region of each picture.
    """

    whole: NDArray[np.uint8]
    regions: NDArray[np.uint8]
    starts: NDArray[np.int64]


def cut_pixels(scenes: Sequence[Scene], files: Sequence[Path], seed: int) -> Pixels:
    """Cuts the training pixels; boxes are jittered as a detector would."""
    from PIL import Image

    preprocess = Preprocess.of(build_processor())
    rng = np.random.default_rng(seed)
    counts = [len(scene["objects"]) for scene in scenes]
    starts = np.concatenate([[0], np.cumsum(counts)])
    whole = np.empty((len(scenes), SIDE, SIDE, 3), dtype=np.uint8)
    regions = np.empty((int(starts[-1]), SIDE, SIDE, 3), dtype=np.uint8)
    with bar("cutting regions", len(scenes)) as progress:
        for n, (scene, file) in enumerate(zip(scenes, files, strict=True)):
            with Image.open(file) as opened:
                image = opened.convert("RGB")
            whole[n] = preprocess.whole(image)
            for j, item in enumerate(scene["objects"]):
                x, y, w, h = np.array(item["bbox"]) / image.width
                noise = rng.normal(0, [0.06 * w, 0.06 * h, 0.06 * w, 0.06 * h])
                box = np.array([x + w / 2, y + h / 2, w, h]) + noise
                regions[starts[n] + j] = preprocess.region(image, region_window(box))
            progress.advance()
    return Pixels(whole, regions, starts)


def contrast(similarity: Tensor, texts: Sequence[str]) -> Tensor:
    """Symmetric InfoNCE of a [B, B] logit matrix; equal captions are no negatives."""
    keys = {text: i for i, text in enumerate(texts)}
    ids = torch.tensor([keys[text] for text in texts])
    same = (ids[:, None] == ids[None, :]) & ~torch.eye(len(texts), dtype=torch.bool)
    logits = similarity.masked_fill(same, -1e4)
    target = torch.arange(len(texts))
    return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2


def attended_similarity(text: Tensor, regions: Tensor, mask: Tensor) -> Tensor:
    """Cosine of each text with each picture's attended regions: [B, D], [N, R, D] -> [B, N]."""
    scores = torch.einsum("bd,nrd->bnr", text, regions)
    weights = (scores / ATTENTION_TEMPERATURE).masked_fill(~mask, -1e4).softmax(-1)
    gram = torch.einsum("nrd,nsd->nrs", regions, regions)
    norm = torch.einsum("bnr,nrs,bns->bn", weights, gram, weights).clamp_min(1e-6).sqrt()
    return (weights * scores).sum(-1) / norm


def draw_captions(
    scene: Scene, recipe: EncoderRecipe, rng: np.random.Generator
) -> tuple[Caption, Caption]:
    """One caption for the whole picture and one for its regions."""
    if rng.random() < recipe.mixed_share:
        whole = mixed_caption(scene, rng)
    elif rng.random() < 0.12:  # single facts, as the hallucination network asks for them
        fact = str(rng.choice(list(scene_facts(scene).values())))
        whole = Caption(fact, "scene", (fact,))
    else:
        whole = scene_caption(scene, rng)
    kind = rng.random()
    if kind < 0.6:
        told: Caption | None = object_caption(scene, rng)
    elif kind < 0.85:
        told = relation_caption(scene, rng)
    else:
        told = mixed_caption(scene, rng)
    return whole, told or object_caption(scene, rng)


def _batches(
    scenes: Sequence[Scene], pixels: Pixels, recipe: EncoderRecipe, rng: np.random.Generator
) -> Iterator[tuple[list[str], list[str], NDArray[np.uint8], NDArray[np.uint8], NDArray[np.bool_]]]:
    """Whole captions, region captions, whole pictures, regions [B, R, ...] and their mask."""
    order = rng.permutation(len(scenes))
    for start in range(0, len(order) - recipe.batch + 1, recipe.batch):
        rows = order[start : start + recipe.batch]
        told = [draw_captions(scenes[n], recipe, rng) for n in rows]
        mask = np.zeros((recipe.batch, _REGIONS), dtype=bool)
        index = np.zeros((recipe.batch, _REGIONS), dtype=np.int64)
        for b, (n, (_, caption)) in enumerate(zip(rows, told, strict=True)):
            others = np.setdiff1d(np.arange(len(scenes[n]["objects"])), caption.objects)
            chosen = [*caption.objects, *rng.permutation(others)][:_REGIONS]
            index[b, : len(chosen)] = pixels.starts[n] + np.array(chosen)
            mask[b, : len(chosen)] = True
        whole_texts, region_texts = zip(*[(w.text, r.text) for w, r in told], strict=True)
        regions = pixels.regions[index[mask]]
        yield list(whole_texts), list(region_texts), pixels.whole[rows], regions, mask


def train_encoder(
    scenes: Sequence[Scene], files: Sequence[Path], recipe: EncoderRecipe
) -> tuple[CLIPModel, PreTrainedTokenizerFast]:
    """Trains the dual encoder on the encoder split.

    The whole-picture embedding is contrasted with scene-level captions (and some mixed ones), the
    region embeddings, attended by the caption as at retrieval, with object-level captions: the
    one tower learns a coarse view and a fine one.

    Args:
        scenes: scene graphs of the encoder split.
        files: their pictures.
        recipe: what the training depends on.

    Returns:
        The trained model in evaluation mode, and its tokenizer.
    """
    torch.manual_seed(recipe.seed)
    rng = np.random.default_rng(recipe.seed)
    pixels = cut_pixels(scenes, files, recipe.seed)
    corpus = [
        c.text for s in scenes[:4000] for _ in range(4) for c in draw_captions(s, recipe, rng)
    ]
    tokenizer = build_tokenizer(corpus)
    model = build_model(len(tokenizer))
    scale = nn.Parameter(torch.tensor([math.log(10.0), math.log(10.0)]))
    preprocess = Preprocess.of(build_processor())
    groups: list[dict[str, Any]] = [
        {"params": model.parameters()},
        {"params": [scale], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(
        groups,
        lr=recipe.learning_rate,
        weight_decay=recipe.weight_decay,
        betas=(0.9, 0.98),
    )
    steps = recipe.epochs * (len(scenes) // recipe.batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, recipe.learning_rate, total_steps=steps, pct_start=0.08
    )
    model.train()
    with bar("training the encoder", steps) as progress:
        for epoch in range(recipe.epochs):
            for whole_texts, region_texts, whole, regions, mask in _batches(
                scenes, pixels, recipe, rng
            ):
                images = torch.from_numpy(preprocess.normalize(np.concatenate([whole, regions])))
                tokens = tokenizer(
                    whole_texts + region_texts,
                    padding=True,
                    return_tensors="pt",
                    return_token_type_ids=False,
                )
                seen = F.normalize(model.get_image_features(images).pooler_output, dim=-1)
                read = F.normalize(model.get_text_features(**tokens).pooler_output, dim=-1)
                count = len(whole_texts)
                filled = torch.zeros(*mask.shape, DIM)
                filled[torch.from_numpy(mask)] = seen[count:]
                factors = scale.clamp(max=math.log(50.0)).exp()
                coarse = contrast(factors[0] * read[:count] @ seen[:count].T, whole_texts)
                fine = attended_similarity(read[count:], filled, torch.from_numpy(mask))
                loss = coarse + contrast(factors[1] * fine, region_texts)
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
                schedule.step()
                progress.advance()
            progress.describe(f"training the encoder (epoch {epoch + 1}, loss {loss.item():.2f})")
    return model.eval(), tokenizer
