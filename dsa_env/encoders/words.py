"""Text features of a language model's input embeddings: the mean over a text's tokens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from dsa_env.errors import DSAError

MEAN_NOTE = (
    "the mean of the language model's input embeddings of the text's tokens, special tokens left "
    "out: the space that projected picture tokens are read in; nothing trained the two means to "
    "meet, so cosines between texts and pictures mean little before an alignment is learned"
)


def mean_embeddings(
    texts: Sequence[str], tokenizer: Any, embed: Callable[[Tensor], Tensor], device: torch.device
) -> Tensor:
    """The mean input embedding of each text, [len(texts), D] float32.

    Texts are never padded, so what stands beside a text changes nothing.

    Args:
        texts: what to embed.
        tokenizer: a transformers tokenizer.
        embed: the model's input embedding, ids [1, n] -> [1, n, D].
        device: where the model is.

    Raises:
        DSAError: for a text that has no tokens.
    """
    rows = tokenizer(list(texts), add_special_tokens=False)["input_ids"]
    for text, row in zip(texts, rows, strict=True):
        if not row:
            raise DSAError(f"the text {text!r} has no tokens, so no embedding; leave it out")
    ids = torch.tensor([token for row in rows for token in row], device=device)
    starts = torch.tensor([0, *(len(row) for row in rows)], device=device).cumsum(0)[:-1]
    known, place = ids.unique(return_inverse=True)
    return F.embedding_bag(place, embed(known[None])[0].float(), starts, mode="mean")
