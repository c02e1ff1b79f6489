"""The best g for all queries of a generating model, chosen on pictures that are not judged."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from dsa_agents.benchmark.scores import reward_of

if TYPE_CHECKING:
    from dsa_agents.run_folder import TrainConfig
    from dsa_env.bank import FeatureBank

VALIDATION = "validation"


def choose_fixed(
    bank: FeatureBank,
    model: str,
    prompts: Sequence[str],
    config: TrainConfig,
    *,
    grid: int = 11,
    pictures: int | None = None,
    seed: int = 0,
    device: str = "cpu",
) -> dict[str, Any]:
    """The g of a grid that earns most on validation pictures when all queries use it.

    Captions of the whole split are those that the environment keeps in the bank's cache folder;
    a run that was trained on this bank left them there.

    Args:
        bank: with pictures, and a validation split.
        model: ``"embedded"``, a local folder or a hub name.
        prompts: what is asked about each picture.
        config: whose reward counts.
        grid: how many g, equally far apart from 0 to 1.
        pictures: how many, drawn from the split; None for all.
        seed: of the draw.
        device: torch device of the bank's text encoder.

    Returns:
        For JSON: ``granularity``, ``pictures`` and ``rewards`` (g -> mean reward). Of equally good
        ones the smallest g.
    """
    from dsa_env.captioning.judge import Judge
    from dsa_env.captioning.written import write_captions

    chosen = np.concatenate(bank.galleries(VALIDATION))
    if pictures is not None and pictures < len(chosen):
        chosen = np.sort(np.random.default_rng(seed).choice(chosen, pictures, replace=False))
    points = np.linspace(0.0, 1.0, grid)
    told = write_captions(bank, chosen, prompts, points.tolist(), model=model).captions
    judge = Judge(bank, VALIDATION, device)
    asked = np.repeat(chosen, len(prompts))
    rewards = []
    for at, g in enumerate(points):
        captions = [row[at] for one in told for row in one]
        used = np.full(len(asked), g, dtype=np.float32)
        rewards.append(float(reward_of(config, judge(captions, asked), used).mean()))
    return {
        "granularity": float(points[int(np.argmax(rewards))]),
        "pictures": len(chosen),
        "rewards": {f"{g:.4g}": value for g, value in zip(points, rewards, strict=True)},
    }
