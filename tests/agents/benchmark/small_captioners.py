"""Small random LLaVA, BLIP-2 and IDEFICS with their processors, and a small bank with pictures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from tests.dsa_env.encoders.small_models import SAVERS

if TYPE_CHECKING:
    from dsa_env.bank import FeatureBank


def save_captioner(folder: Path, family: str) -> Path:
    """Saves a small model of ``"llava"``, ``"blip2"`` or ``"idefics"`` that can be prompted."""
    import transformers as hf

    SAVERS[family](folder)
    tokenizer = hf.AutoTokenizer.from_pretrained(folder)
    kinds: dict[str, Any] = {
        "llava": (hf.LlavaForConditionalGeneration, "<image>"),
        "blip2": (hf.Blip2ForConditionalGeneration, "<image>"),
        "idefics": (hf.IdeficsForVisionText2Text, None),
    }
    kind, image = kinds[family]
    model = kind.from_pretrained(folder)
    if family == "blip2":  # room for whole captions
        config = model.config
        config.text_config.max_position_embeddings = 128
        state = {name: v for name, v in model.state_dict().items() if "embed_positions" not in name}
        torch.manual_seed(0)
        model = kind(config)
        model.load_state_dict(state, strict=False)
    if image is not None:
        tokenizer.add_special_tokens({"additional_special_tokens": [image]})
        model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
        model.config.image_token_id = tokenizer.convert_tokens_to_ids(image)
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = 0
    if family == "idefics":  # its gates start shut: pictures would change nothing
        for layer in model.model.gated_cross_attn_layers:
            layer.alpha_cross_attn.data.fill_(1.0)
            layer.alpha_dense.data.fill_(1.0)
    model.save_pretrained(folder)
    pictures = hf.AutoImageProcessor.from_pretrained(folder)
    if family == "llava":
        processor: Any = hf.LlavaProcessor(
            pictures, tokenizer, patch_size=8, vision_feature_select_strategy="default",
            num_additional_image_tokens=1,
        )  # fmt: skip
    elif family == "blip2":
        processor = hf.Blip2Processor(pictures, tokenizer, num_query_tokens=5)
    else:
        processor = hf.IdeficsProcessor(pictures, tokenizer, image_size=32)
    processor.save_pretrained(folder)
    return folder


def draw_bank(folder: Path) -> FeatureBank:
    """A bank of a few drawn scenes, with pictures, facts and a hallucination network."""
    from dsa_env.build import BuildSettings, add_hallucination_detector, build_bank
    from dsa_env.datasets.clevr import draw_world

    sizes = {"train": 24, "validation": 6, "test": 12}
    world = draw_world(folder / "world", sizes, captions=2, workers=1)
    bank = build_bank(world, folder / "bank", BuildSettings(gallery_size=12), workers=1)
    add_hallucination_detector(bank)
    return bank
