"""How good a controller is on a split: every query once, exactly."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from dsa_agents.adapter import flatten

if TYPE_CHECKING:
    from dsa_env.controller import GranularityController
    from dsa_env.core import RetrievalCore

CHUNK = 1 << 13


def validate(controller: GranularityController, core: RetrievalCore) -> dict[str, float]:
    """Means over all queries of a core's split under the controller's deterministic choice.

    Returns:
        ``reward`` (mean of the steps of an episode), ``recall``, ``severity`` and ``granularity``
        (of the last step).
    """
    parts = [
        _episode(controller, core, np.arange(start, min(start + CHUNK, core.n_queries)))
        for start in range(0, core.n_queries, CHUNK)
    ]
    return {name: float(np.mean(np.concatenate([part[name] for part in parts]))) for name in PARTS}


PARTS = ("reward", "recall", "severity", "granularity")


@torch.no_grad()
def _episode(
    controller: GranularityController, core: RetrievalCore, query: NDArray[np.int64]
) -> dict[str, NDArray[Any]]:
    """One episode on each of the queries."""
    g = retrieved = None
    total = np.zeros(len(query))
    for _ in range(core.horizon):
        observation = torch.from_numpy(flatten(core.observe(query, g, retrieved)))
        g = controller.from_flat(observation).numpy()
        values, _, outcome = core.evaluate(query, g)
        total += values
        retrieved = outcome.retrieved
    return {
        "reward": total / core.horizon,
        "recall": outcome.recall,
        "severity": outcome.severity,
        "granularity": outcome.granularity,
    }
