"""Metrics of generated captions and answers: how much they say, and how much of it is true."""

from __future__ import annotations

from dsa_env.metrics.bleu import bleu
from dsa_env.metrics.chair import Chair, chair
from dsa_env.metrics.cider import Cider
from dsa_env.metrics.pope import Pope, pope, read_pope
from dsa_env.metrics.rouge import rouge_l
from dsa_env.metrics.semantic import SemanticHallucination, semantic_hallucination
from dsa_env.metrics.tokens import tokenise

__all__ = [
    "Chair",
    "Cider",
    "Pope",
    "SemanticHallucination",
    "bleu",
    "chair",
    "pope",
    "read_pope",
    "rouge_l",
    "semantic_hallucination",
    "tokenise",
]
