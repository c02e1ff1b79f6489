"""What a learnt policy is held against: the best fixed g, and a world in which all is luck."""

from __future__ import annotations

import copy

import numpy as np
from numpy.typing import NDArray

from dsa_agents.policies import FixedPolicy
from dsa_env.core import RetrievalCore

Floats = NDArray[np.float64]

FINE_GRID = 501
"""Points of [0, 1] at which the best fixed g is looked for, and the curve of it drawn."""


def reward_curve(core: RetrievalCore, grid: NDArray[np.floating]) -> Floats:
    """The mean reward [len(grid)] over a split's queries when all of them use the same g."""
    query = np.arange(core.n_queries)
    same = (np.full(len(query), g, dtype=np.float32) for g in grid)
    return np.array([core.evaluate(query, g)[0].mean(dtype=np.float64) for g in same])


def best_fixed(core: RetrievalCore, points: int = FINE_GRID) -> FixedPolicy:
    """The fixed g with the highest mean reward on a split: the validation split, to be honest.

    The mean reward is exact at each of `points` equidistant g; of equally good ones the middle
    one of the first stretch is taken.
    """
    grid = np.linspace(0.0, 1.0, points)
    rewards = reward_curve(core, grid)
    good = np.flatnonzero(rewards >= rewards.max() - 1e-12)
    stretch = good[: int(np.argmax(np.append(np.diff(good) > 1, True))) + 1]
    return FixedPolicy(float(grid[stretch[(len(stretch) - 1) // 2]]))


def null_core(core: RetrievalCore, seed: int = 0) -> RetrievalCore | None:
    """The same split with every query's fine similarities swapped for another query's.

    Nothing about a query then predicts which view serves it, so what an oracle still gains here
    over the best fixed g is the luck of choosing the best of many g after the fact. None where
    the two views cannot be taken apart: a caption is written from both at once.
    """
    null = core.retrieval.null(core.bank, seed)
    if null is None:
        return None
    twin = copy.copy(core)
    twin.retrieval = null
    return twin
