"""The exact oracle beside grids of g in the same language."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dsa_env.core import RetrievalCore
from dsa_env.curves.breakpoints import curves
from dsa_env.curves.jit import compiled
from dsa_env.oracle import best_granularity
from dsa_env.retrieval.retrieval import OutcomeCurves
from dsa_env.rewards import ClippedReward

from .measure import Contender, Row, in_turns

QUERIES, CANDIDATES, K = 10_000, 128, 10
ROUNDS = 5


@dataclass(frozen=True)
class Problem:
    """Similarity components [Q, K], which candidates are positive, and each one's severity."""

    fine: NDArray[np.float32]
    coarse: NDArray[np.float32]
    cross: NDArray[np.float32]
    positive: NDArray[np.bool_]
    severity: NDArray[np.float32]


def rows(bank: str) -> list[Row]:
    """The rows of the table that are about the oracle."""
    problem = from_bank(bank)
    weights = weights_of(ClippedReward())
    grids = {n: np.linspace(0, 1, n) for n in (101, 1001)}
    parts = vars(problem).values()
    found = in_turns(
        {
            "exact": once(lambda: exact(problem)),
            "grid": once(lambda: on_grid(*parts, grids[101], K, weights)),
        },
        ROUNDS,
    )
    best = exact(problem)
    coarse, dense = (on_grid(*parts, grid, K, weights) for grid in grids.values())
    seconds = {name: 1 / found.median(name) for name in found.rates}
    row = found.row("exact oracle / 101-point grid", "grid", "exact", 2)
    beaten = int((dense > best).sum())
    about = (
        f"{QUERIES:,} queries x {CANDIDATES} candidates of the text to image train split, "
        "severities drawn at random, from similarity components to the best reward"
    )
    return [
        Row(row.title, seconds["exact"], seconds["grid"], "s", row.ratio, 2, row.spread,
            f"time, less is better; {about}; the grid is compiled by numba too", at_most=True),
        Row("queries for which a 1001-point grid beats the exact oracle", beaten, QUERIES, "",
            beaten / QUERIES, 0, None, "rewards compared to the bit", at_most=True),
        Row("queries for which the exact oracle beats a 101-point grid",
            int((best > coarse).sum()), QUERIES, "", float((best > coarse).mean()), None, None,
            f"a 1001-point grid misses the optimum for {int((best > dense).sum()):,} of them"),
    ]  # fmt: skip


def from_bank(bank: str, queries: int = QUERIES, candidates: int = CANDIDATES) -> Problem:
    """The first queries and candidates of a split; where no positive is among them, the first."""
    retrieval = RetrievalCore(bank).retrieval
    part = np.index_exp[:queries, :candidates]
    positive = retrieval.positive[part].copy()
    positive[~positive.any(axis=1), 0] = True
    severity = np.random.default_rng(0).random(positive.shape, dtype=np.float32)
    fine, coarse, cross = (
        np.ascontiguousarray(table[part])
        for table in (retrieval.fine, retrieval.coarse, retrieval.cross)
    )
    return Problem(fine, coarse, cross, positive, severity)


def exact(problem: Problem) -> NDArray[np.float64]:
    """The best reward [Q] over all g, from exact breakpoints."""
    valid = np.ones_like(problem.positive)
    found = curves(problem.fine, problem.coarse, problem.cross, problem.positive, valid)
    severity = problem.severity[found.query, found.top]
    packed = (found.indptr, found.start, found.rank, found.top)
    nothing: Any = np.empty(0)
    outcomes = OutcomeCurves(*packed, found.top, severity, severity, nothing, nothing)
    return best_granularity(outcomes, ClippedReward(), K)[0]


@compiled
def on_grid(
    fine: NDArray[np.float32],
    coarse: NDArray[np.float32],
    cross: NDArray[np.float32],
    positive: NDArray[np.bool_],
    severity: NDArray[np.float32],
    grid: NDArray[np.float64],
    k: int,
    weights: tuple[np.float32, ...],
) -> NDArray[np.float64]:
    """The best reward [Q] over the points of a grid, one after the other."""
    queries, candidates = fine.shape
    best = np.full(queries, -np.inf)
    score = np.empty(candidates)
    for q in range(queries):
        for g in grid:
            h = 1.0 - g
            for j in range(candidates):
                length = g * g + 2.0 * g * h * cross[q, j] + h * h
                score[j] = (g * fine[q, j] + h * coarse[q, j]) / np.sqrt(length)
            top, relevant = 0, -np.inf
            for j in range(candidates):
                if score[j] > score[top]:
                    top = j
                if positive[q, j]:
                    relevant = max(relevant, score[j])
            rank = np.float32(1)
            for j in range(candidates):
                if not positive[q, j]:
                    if score[j] > relevant:
                        rank += np.float32(1)
                    elif score[j] == relevant:
                        rank += np.float32(0.5)
            alpha, beta, low, high = weights
            value = alpha * np.float32(rank <= k) + beta * -severity[q, top]
            best[q] = max(best[q], min(max(value, low), high))
    return best


def weights_of(reward: ClippedReward) -> tuple[np.float32, ...]:
    """A reward's weights and bounds as `on_grid` takes them."""
    given = reward.alpha, reward.beta, reward.low, reward.high
    return tuple(np.float32(value) for value in given)


def once(function: Any) -> Contender:
    """One call a round."""

    def run() -> int:
        function()
        return 1

    return Contender(run, 0.0)


def seconds_for(problem: Problem) -> float:
    """Seconds of the exact oracle, once warm."""
    exact(problem)
    started = time.perf_counter()
    exact(problem)
    return time.perf_counter() - started
