"""Small models of real classes, saved locally: no hub is needed to test loading by path."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch


def _tokenizer(folder: Path) -> None:
    from dsa_env.pretrain.encoder import build_tokenizer

    build_tokenizer(["a small red metal cube on a wooden floor"]).save_pretrained(folder)


@pytest.fixture(scope="session")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random CLIP with its tokenizer and image processor."""
    from dsa_env.pretrain.encoder import build_model, build_processor

    folder = tmp_path_factory.mktemp("clip")
    torch.manual_seed(0)
    build_model(16).save_pretrained(folder)
    build_processor().save_pretrained(folder)
    _tokenizer(folder)
    return folder


@pytest.fixture(scope="session")
def siglip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random SigLIP with its tokenizer and image processor."""
    from transformers import SiglipConfig, SiglipImageProcessorPil, SiglipModel

    folder = tmp_path_factory.mktemp("siglip")
    small = {
        "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
        "num_attention_heads": 2,
    }  # fmt: skip
    torch.manual_seed(0)
    config = SiglipConfig(
        text_config={**small, "vocab_size": 16, "max_position_embeddings": 16},
        vision_config={**small, "image_size": 32, "patch_size": 16},
    )
    SiglipModel(config).save_pretrained(folder)
    SiglipImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(folder)
    _tokenizer(folder)
    return folder
