"""The benchmark's results: rows, paired differences, what predicts a gain, and sentences."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dsa_agents.benchmark.metrics import (
    CIDER,
    DSA,
    FIXED,
    FULL,
    GRANULARITY,
    HALLUCINATION,
    NATIVE,
    ORACLE,
    REWARD,
    ROWS,
    order,
)
from dsa_agents.benchmark.regression import regress_gain
from dsa_agents.benchmark.scores import Columns, estimate_rows
from dsa_agents.benchmark.sentences import sentences
from dsa_agents.statistics import Estimate

PAIRS = ((DSA, NATIVE), (DSA, FIXED), (FIXED, NATIVE), (FULL, FIXED), (ORACLE, FIXED))
EXPLAINED = (REWARD, HALLUCINATION, CIDER)
"""What gains are explained beside the gain in Recall."""


@dataclass(frozen=True)
class Findings:
    """What was found of one model.

    Attributes:
        about: for JSON: path, class, parameters, the controller, and notes in words.
        rows: row -> metric -> [Q] or [seeds, Q]; the metrics of `text_columns` and those that
            the judge has.
        cluster: picture of each query [Q].
        properties: of `query_properties`, [Q] each.
        cost: of `dsa_agents.benchmark.overhead`; None where it was not measured.
    """

    about: dict[str, Any]
    rows: Mapping[str, Columns] = field(default_factory=dict)
    cluster: NDArray[np.integer] = field(default_factory=lambda: np.empty(0, np.int64))
    properties: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    cost: dict[str, Any] | None = None


def document(
    findings: Mapping[str, Findings],
    *,
    recall: str = "recall@10",
    resamples: int = 2000,
    seed: int = 0,
) -> dict[str, Any]:
    """Everything that was found, ready for JSON.

    Args:
        findings: model -> what was found.
        recall: the name of the metric of retrieval.
        resamples: of the bootstrap.
        seed: of the resampling.

    Returns:
        ``recall``; ``models``: for each its `Findings.about`, ``rows`` (row -> ``label`` and
        ``metrics``, each ``{"mean", "low", "high"}``), ``differences`` (``"dsa-native"`` and so on
        -> metric -> the same), ``relative`` (likewise, as a share of the second), ``regression``
        (difference -> metric -> `regress_gain`) and ``cost``; and ``sentences``.
    """
    models = {name: _model(one, recall, resamples, seed) for name, one in findings.items()}
    told = [text for name, one in models.items() for text in sentences(name, one, recall)]
    return {"recall": recall, "models": models, "sentences": told}


def _model(one: Findings, recall: str, resamples: int, seed: int) -> dict[str, Any]:
    estimates = estimate_rows(one.rows, one.cluster, resamples=resamples, seed=seed)
    pairs = [(a, b) for a, b in PAIRS if a in one.rows and b in one.rows]
    return {
        **one.about,
        "queries": len(one.cluster),
        "pictures": len(np.unique(one.cluster)),
        "rows": {
            row: {"label": ROWS[row][0], "metrics": _metrics(estimates, row)} for row in one.rows
        },
        "differences": {
            f"{a}-{b}": _differences(estimates, a, b, relative=False) for a, b in pairs
        },
        "relative": {f"{a}-{b}": _differences(estimates, a, b, relative=True) for a, b in pairs},
        "regression": {f"{a}-{b}": _explain(one, a, b, recall) for a, b in pairs if a == DSA},
        "cost": one.cost,
    }


def _metrics(estimates: Mapping[tuple[str, str], Estimate], row: str) -> dict[str, Any]:
    names = order([metric for which, metric in estimates if which == row])
    return {name: estimates[row, name].summary() for name in names}


def _differences(
    estimates: Mapping[tuple[str, str], Estimate], first: str, second: str, *, relative: bool
) -> dict[str, Any]:
    """First less second in every metric that both have; as a share of second."""
    names = order([metric for which, metric in estimates if which == first])
    found = {}
    for name in names:
        if (second, name) not in estimates or (relative and name == GRANULARITY):
            continue
        difference = estimates[first, name] - estimates[second, name]
        found[name] = (difference / estimates[second, name] if relative else difference).summary()
    return found


def _explain(one: Findings, first: str, second: str, recall: str) -> dict[str, Any]:
    """The regressions of what a row has more than another, metric by metric."""
    found = {}
    for name in (recall, *EXPLAINED):
        if name in one.rows[first] and name in one.rows[second]:
            more, less = (
                np.atleast_2d(one.rows[row][name]).mean(axis=0) for row in (first, second)
            )
            found[name] = regress_gain(more - less, one.properties, one.cluster)
    return found
