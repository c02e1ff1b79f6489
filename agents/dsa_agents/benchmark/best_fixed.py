"""The best g for all queries of a generating model, chosen on pictures that are not judged."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dsa_agents.benchmark.data import make_queries
from dsa_agents.benchmark.scores import reward_of
from dsa_agents.benchmark.writing import write_captions

if TYPE_CHECKING:
    from dsa_agents.benchmark.plan import Plan
    from dsa_agents.run_folder import TrainConfig
    from dsa_env.bank import FeatureBank
    from dsa_env.captioning.captioner import Captioner

VALIDATION = "validation"


def choose_fixed(
    bank: FeatureBank,
    captioner: Captioner,
    config: TrainConfig,
    plan: Plan,
    folder: Path,
    *,
    title: str,
    progress: bool = True,
) -> dict[str, Any]:
    """The g of a grid that earns most on validation pictures when all queries use it.

    Args:
        bank: with a validation split.
        captioner: the model.
        config: whose reward counts.
        plan: how many pictures and which grid.
        folder: where its captions are kept.
        title: of the progress bars.
        progress: show them.

    Returns:
        For JSON: ``granularity``, ``pictures`` and ``rewards`` (g -> mean reward).
    """
    from dsa_env.captioning.judge import Judge

    prompts = plan.prompts or captioner.prompts
    queries = make_queries(bank, VALIDATION, prompts, plan.fixed_pictures, plan.seed)
    judge = Judge(bank, VALIDATION, plan.device)
    write = partial(
        write_captions,
        captioner,
        queries,
        batch=plan.batch,
        max_new_tokens=plan.max_new_tokens,
        progress=progress,
    )
    grid = [round(float(g), 4) for g in np.linspace(0.0, 1.0, plan.grid)]
    rewards = {}
    for g in grid:
        written = write(g, folder / f"{VALIDATION}-{g:g}", title=f"{title}, g = {g:g}")
        values = reward_of(config, judge(written.captions, queries.images), written.granularity)
        rewards[g] = float(values.mean())
    best = max(rewards, key=lambda g: rewards[g])
    return {
        "granularity": best,
        "pictures": len(np.unique(queries.images)),
        "rewards": {f"{g:g}": value for g, value in rewards.items()},
    }
