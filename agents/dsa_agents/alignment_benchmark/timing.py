"""Response time, measured side by side: interleaved rounds, the median, one thread."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

import numpy as np
import torch

from dsa_env.vqa.folder import VQAData
from dsa_env.vqa.model import Batch, VQAModel
from dsa_env.vqa.training import take

BATCHES = (1, 64)
WARM_UP, RUNS = 5, 3


def response_times(
    models: Mapping[str, VQAModel],
    data: VQAData,
    *,
    rounds: int,
    batches: Sequence[int] = BATCHES,
    seed: int = 0,
) -> dict[str, dict[str, float]]:
    """Milliseconds from features and program to answers: encoder of the program, fusion, head.

    Every round runs each model on the same questions, in an order that is drawn anew, so that
    whatever else the machine does falls on all alike; a round counts the fastest of three runs,
    and the result is the median of the rounds. The frozen encoders, the same for all, are not in
    it.

    Args:
        models: by name, in evaluation mode.
        data: test questions to answer.
        rounds: how often.
        batches: questions at once.
        seed: of the questions and orders.

    Returns:
        name -> {"batch 1": median ms, ...}.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        found: dict[str, dict[str, float]] = {name: {} for name in models}
        for size in batches:
            for name, value in _medians(models, data, rounds, size, seed).items():
                found[name][f"batch {size}"] = value
        return found
    finally:
        torch.set_num_threads(before)


@torch.no_grad()
def _medians(
    models: Mapping[str, VQAModel], data: VQAData, rounds: int, size: int, seed: int
) -> dict[str, float]:
    rng, names = np.random.default_rng(seed), list(models)
    times: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(-WARM_UP, rounds):
        rows = rng.integers(0, len(data.test), size)
        batch = take(data.pictures, data.test, rows)
        for place in rng.permutation(len(names)):
            model = models[names[place]]
            fastest = min(_seconds(model, batch) for _ in range(RUNS))
            if turn >= 0:
                times[names[place]].append(1e3 * fastest)
    return {name: float(np.median(values)) for name, values in times.items()}


def _seconds(model: VQAModel, batch: Batch) -> float:
    started = time.perf_counter()
    model(batch).argmax(dim=1)
    return time.perf_counter() - started
