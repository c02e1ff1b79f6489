"""The rows and metrics of the table: their names, their order, and which way is better."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

BLEU, CIDER, WORDS = "bleu-4", "cider", "words"
NATIVE, FIXED, DSA = "native", "fixed", "dsa"
FULL, ORACLE = "full_information", "oracle"
ROWS: Mapping[str, tuple[str, str]] = {
    NATIVE: ("native", "The model as it is, nothing attached."),
    FIXED: (
        "best fixed g",
        "One g for every query, the best on the validation split: what a learnt g must beat.",
    ),
    DSA: ("DSA", "The trained controller attached; it chooses g for every query."),
    FULL: (
        "full information",
        "A network fitted to the whole reward curve of every training query, on the grid of g "
        "that captions were written for.",
    ),
    ORACLE: (
        "oracle",
        "The best g of each query on that grid, found with the answer in hand; part of it is luck.",
    ),
}
"""Every row: its name, and what it is."""

HALLUCINATION, SEVERITY = "hallucination_rate", "severity"
REWARD, GRANULARITY, FACTS = "reward", "granularity", "facts"
BETTER = {HALLUCINATION: -1, SEVERITY: -1, WORDS: 0, FACTS: 0, GRANULARITY: 0}
"""Whether more of a metric is better (1, where it is not said), worse (-1) or neither (0)."""
NAMES = {
    BLEU: "BLEU-4",
    CIDER: "CIDEr",
    HALLUCINATION: "hallucination rate",
    GRANULARITY: "mean g",
    WORDS: "words",
}


def order(metrics: Sequence[str]) -> list[str]:
    """Metrics in the order of the tables: recalls, n-grams, truth, reward, the rest."""
    recalls = [name for name in metrics if name.startswith("recall")]
    known = (BLEU, CIDER, HALLUCINATION, SEVERITY, REWARD, WORDS, FACTS, GRANULARITY)
    return [*recalls, *(name for name in known if name in metrics)]


def say(metric: str) -> str:
    """A metric's name as people read it."""
    return NAMES.get(metric, metric.replace("recall", "Recall"))


def sign_of(summary: Mapping[str, Any]) -> int | None:
    """1 or -1 where the interval lies on one side of 0, 0 where it does not, None without one."""
    low, high = summary["low"], summary["high"]
    if low is None or high is None:
        return None
    return int(low > 0) - int(high < 0)
