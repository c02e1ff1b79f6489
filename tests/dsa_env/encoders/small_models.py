"""Small random models of the real classes, each saved with its tokenizer and image processor."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

WORDS = "a small red metal cube on a wooden floor beside two large blue spheres"
SMALL = {
    "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 3, "num_attention_heads": 2,
}  # fmt: skip
VISION = {**SMALL, "image_size": 32, "patch_size": 8}
SIDE = {"height": 32, "width": 32}


def save_tokenizer(folder: Path) -> int:
    """Saves a tokenizer of a few words; returns the size of its vocabulary."""
    from dsa_env.pretrain.encoder import build_tokenizer

    tokenizer = build_tokenizer([WORDS])
    tokenizer.save_pretrained(folder)
    return len(tokenizer)


def save_clip(folder: Path, seed: int = 0) -> None:
    """`CLIPModel`, 4 x 4 patches, features of length 24."""
    from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel

    words = save_tokenizer(folder)
    torch.manual_seed(seed)
    config = CLIPConfig(
        text_config={**SMALL, "vocab_size": words, "max_position_embeddings": 16,
                     "bos_token_id": 2, "eos_token_id": 3, "pad_token_id": 0},
        vision_config=VISION,
        projection_dim=24,
    )  # fmt: skip
    _save(CLIPModel(config), folder)
    CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size=SIDE).save_pretrained(folder)


def save_siglip(folder: Path) -> None:
    """`SiglipModel`, 4 x 4 patches, features of length 32."""
    from transformers import SiglipConfig, SiglipImageProcessorPil, SiglipModel

    words = save_tokenizer(folder)
    torch.manual_seed(0)
    config = SiglipConfig(
        text_config={**SMALL, "vocab_size": words, "max_position_embeddings": 16},
        vision_config=VISION,
    )
    _save(SiglipModel(config), folder)
    SiglipImageProcessorPil(size=SIDE).save_pretrained(folder)


def save_siglip2(folder: Path) -> None:
    """`Siglip2Model` (NaFlex) for at most 20 patches: 4 x 4 is the largest square."""
    from transformers import Siglip2Config, Siglip2ImageProcessorPil, Siglip2Model

    words = save_tokenizer(folder)
    torch.manual_seed(0)
    vision = {key: value for key, value in VISION.items() if key != "image_size"}
    config = Siglip2Config(
        text_config={**SMALL, "vocab_size": words, "max_position_embeddings": 16},
        vision_config={**vision, "num_patches": 16},
    )
    _save(Siglip2Model(config), folder)
    Siglip2ImageProcessorPil(patch_size=8, max_num_patches=20).save_pretrained(folder)


def save_llava(folder: Path, clip: Path | None = None, **changes: Any) -> None:
    """`LlavaForConditionalGeneration`; its vision tower is that of `clip` where one is given."""
    from transformers import (
        CLIPImageProcessorPil,
        CLIPModel,
        LlavaConfig,
        LlavaForConditionalGeneration,
    )

    words = save_tokenizer(folder)
    torch.manual_seed(1)
    config = LlavaConfig(
        vision_config={"model_type": "clip_vision_model", **VISION},
        text_config={"model_type": "llama", **SMALL, "hidden_size": 48, "num_attention_heads": 4,
                     "num_key_value_heads": 4, "vocab_size": words},
        image_token_index=words - 1,
        **changes,
    )  # fmt: skip
    model = LlavaForConditionalGeneration(config)
    _save(model, folder)
    if clip is not None:
        tower = CLIPModel.from_pretrained(clip).vision_model
        model.model.vision_tower.load_state_dict(tower.state_dict())
        model.save_pretrained(folder)
    CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size=SIDE).save_pretrained(folder)


def _blip2_parts() -> dict[str, Any]:
    qformer = {**SMALL, "encoder_hidden_size": 32, "cross_attention_frequency": 2,
               "max_position_embeddings": 16}  # fmt: skip
    return {"vision_config": VISION, "qformer_config": qformer, "num_query_tokens": 5}


def save_blip2(folder: Path, language: str = "opt") -> None:
    """`Blip2ForConditionalGeneration` with 5 queries and an OPT or T5, features of length 48."""
    from transformers import Blip2Config, Blip2ForConditionalGeneration, BlipImageProcessorPil

    words = save_tokenizer(folder)
    torch.manual_seed(0)
    texts: dict[str, Any] = {
        "opt": {"model_type": "opt", "vocab_size": words, "hidden_size": 48, "ffn_dim": 64,
                "word_embed_proj_dim": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
                "max_position_embeddings": 32},
        "t5": {"model_type": "t5", "vocab_size": words, "d_model": 48, "d_ff": 64, "d_kv": 12,
               "num_layers": 2, "num_heads": 4},
    }  # fmt: skip
    parts = _blip2_parts()
    parts["qformer_config"]["vocab_size"] = words
    config = Blip2Config(text_config=texts[language], image_token_index=words - 1, **parts)
    _save(Blip2ForConditionalGeneration(config), folder)
    BlipImageProcessorPil(size=SIDE).save_pretrained(folder)


def save_blip2_retrieval(folder: Path) -> None:
    """`Blip2ForImageTextRetrieval` with 5 queries, features of length 24."""
    from transformers import Blip2Config, Blip2ForImageTextRetrieval, BlipImageProcessorPil

    words = save_tokenizer(folder)
    torch.manual_seed(0)
    parts = _blip2_parts()
    parts["qformer_config"] |= {"vocab_size": words, "use_qformer_text_input": True}
    config = Blip2Config(image_text_hidden_size=24, **parts)
    model = Blip2ForImageTextRetrieval(config)
    _save(model, folder)
    BlipImageProcessorPil(size=SIDE).save_pretrained(folder)


def save_idefics(folder: Path, **changes: Any) -> None:
    """`IdeficsForVisionText2Text` with 6 latents of length 32 and words of length 48."""
    from transformers import IdeficsConfig, IdeficsForVisionText2Text, IdeficsImageProcessorPil

    words = save_tokenizer(folder)
    torch.manual_seed(0)
    vision = {"embed_dim": 32, **{k: v for k, v in VISION.items() if k != "hidden_size"}}
    settings: dict[str, Any] = {
        "vocab_size": words, "additional_vocab_size": 2, "hidden_size": 48,
        "intermediate_size": 64, "num_hidden_layers": 4, "num_attention_heads": 4,
        "cross_layer_interval": 2, "use_resampler": True,
        "perceiver_config": {"use_resampler": True, "resampler_n_latents": 6,
                             "resampler_depth": 2, "resampler_n_heads": 2,
                             "resampler_head_dim": 8},
    }  # fmt: skip
    config = IdeficsConfig(vision_config=vision, **(settings | changes))
    _save(IdeficsForVisionText2Text(config), folder)
    IdeficsImageProcessorPil(image_size=32).save_pretrained(folder)


def _save(model: Any, folder: Path) -> None:
    """Saves a model whose random weights spread enough for its features to differ."""
    with torch.no_grad():
        for name, value in model.named_parameters():
            if value.ndim > 1 and "norm" not in name:
                value.normal_(std=0.15)
            elif "query_tokens" in name:
                value.normal_()
    model.save_pretrained(folder)


SAVERS = {
    "clip": save_clip,
    "siglip": save_siglip,
    "siglip2": save_siglip2,
    "llava": save_llava,
    "blip2": save_blip2,
    "blip2-t5": lambda folder: save_blip2(folder, "t5"),
    "blip2-retrieval": save_blip2_retrieval,
    "idefics": save_idefics,
}
"""How to save a small model of each family."""
