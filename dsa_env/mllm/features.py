"""What a model knows of a prompt and a picture before it generates: a controller's observation."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

_SPECIAL = ("pad_token_id", "bos_token_id", "eos_token_id", "sep_token_id", "image_token_id")


@torch.no_grad()
def prompt_features(model: Any, ids: Tensor, mask: Tensor | None = None) -> Tensor:
    """The mean of the language model's input embeddings of each prompt's words, of unit length.

    Left out are padding, the model's special tokens and what stands for pictures. The words of a
    chat template count as words; they are the same in every prompt.

    Args:
        model: the generating model.
        ids: [B, n] the token ids that it reads.
        mask: [B, n] 0 where a token is padding; None: nowhere.

    Returns:
        [B, D] float32; zeros for a prompt without words.
    """
    words = _words(model, ids)
    if mask is not None:
        words &= mask.bool()
    embedded = model.get_input_embeddings()(ids).float()
    mean = (embedded * words[..., None]).sum(dim=1) / words.sum(dim=1, keepdim=True).clamp(min=1)
    return F.normalize(mean, dim=-1)


@torch.no_grad()
def picture_features(tokens: Tensor) -> Tensor:
    """The mean of a picture's tokens beside their root mean square deviation from it.

    The first half is the scene as a whole (the coarse view), the second how much its places differ
    in each direction (what the fine view adds). Either is of unit length.

    Args:
        tokens: [N, T, D] the native picture tokens.

    Returns:
        [N, 2 D] float32.
    """
    fine = tokens.float()
    mean = fine.mean(dim=1)
    spread = (fine - mean[:, None]).square().mean(dim=1).sqrt()
    return torch.cat([F.normalize(mean, dim=-1), F.normalize(spread, dim=-1)], dim=-1)


def _words(model: Any, ids: Tensor) -> Tensor:
    """[B, n] bool, which ids are words."""
    special = torch.tensor(sorted(set(_special_ids(model))), device=ids.device)
    words = ~torch.isin(ids, special)
    if getattr(model.config, "additional_vocab_size", 0):  # IDEFICS' tokens around pictures
        words &= ids < model.config.vocab_size
    return words


def _special_ids(model: Any) -> Iterator[int]:
    config = model.config
    for source in (config, config.get_text_config(), model.generation_config):
        for name in (*_SPECIAL, "image_token_index"):
            value = getattr(source, name, None)
            yield from (
                value if isinstance(value, list | tuple) else [] if value is None else [value]
            )
