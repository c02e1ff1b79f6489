"""Means with bootstrap intervals over pictures and seeds, and arithmetic that keeps pairs."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from dsa_env.errors import DSAError

Floats = NDArray[np.float64]
Means = Callable[[Floats, NDArray[np.intp]], Floats]
Key = TypeVar("Key", bound=Hashable)

TRIM = 0.25
"""Share cut at each end by the interquartile mean."""
BATCH = 1 << 19
"""Clusters that are drawn at once, over all resamples of a batch; bounds the memory."""


@dataclass(frozen=True)
class Estimate:
    """A statistic of the sample (`point`) and of every resample (`draws`, [resamples]).

    Estimates of one `bootstrap_means` call saw the same resamples, so their differences and
    ratios are paired: subtracting removes what they share.
    """

    point: float
    draws: Floats

    def __sub__(self, other: Estimate) -> Estimate:
        """The paired difference."""
        return Estimate(self.point - other.point, self.draws - other.draws)

    def __truediv__(self, other: Estimate) -> Estimate:
        """The paired ratio; not a number wherever `other` is 0."""
        ratio = np.full_like(self.draws, np.nan)
        np.divide(self.draws, other.draws, out=ratio, where=other.draws != 0)
        return Estimate(self.point / other.point if other.point else math.nan, ratio)

    def interval(self, confidence: float = 0.95) -> tuple[float, float]:
        """The percentile interval (low, high); NaN where there is nothing to resample."""
        draws = self.draws[np.isfinite(self.draws)]
        if not draws.size:
            return math.nan, math.nan
        tail = (1.0 - confidence) / 2.0
        low, high = np.quantile(draws, [tail, 1.0 - tail])
        return float(low), float(high)

    def summary(self, confidence: float = 0.95) -> dict[str, float | None]:
        """``{"mean", "low", "high"}``, with None (JSON's null) where there is no number."""
        low, high = self.interval(confidence)
        numbers = {"mean": self.point, "low": low, "high": high}
        return {name: number(value) for name, value in numbers.items()}


def number(value: float) -> float | None:
    """`value` as JSON can hold it: None for NaN and infinities."""
    return float(value) if math.isfinite(value) else None


def interquartile_mean(values: Floats) -> Floats:
    """The mean over the last axis without its lowest and highest quarter.

    The cut is floor(n / 4) values at each end: nothing for up to three seeds, one of five.
    """
    trimmed: Floats = np.asarray(stats.trim_mean(values, TRIM, axis=-1), dtype=np.float64)
    return trimmed


def bootstrap_means(
    columns: Mapping[Key, NDArray[np.floating]],
    cluster: NDArray[np.integer],
    *,
    resamples: int = 2000,
    seed: int = 0,
) -> dict[Key, Estimate]:
    """The mean of every column, with bootstrap resamples that are paired across columns.

    A column holds one value per seed and query. Its statistic is the mean over the queries,
    seed by seed, then the interquartile mean of those over the seeds.

    What is resampled, with replacement: the clusters (pictures: all queries of a picture come
    or stay away together) and, independently of them, the seeds. Columns with a single row
    (policies that have no seed) take part in the first only.

    Args:
        columns: arrays [seeds, Q] or [Q]; NaN where a query does not count for the column
            (another kind, no facts). Every column has one row or the same number of seeds.
        cluster: picture of each query [Q].
        resamples: number of resamples; 0 gives points without intervals.
        seed: of the resampling.

    Returns:
        An `Estimate` for each column; its point is NaN where a column has no value at all, its
        draws are NaN with fewer than two pictures.

    Raises:
        DSAError: when the columns disagree on the number of seeds or queries.
    """
    rows = {key: np.atleast_2d(np.asarray(value, np.float64)) for key, value in columns.items()}
    seeds = max((len(row) for row in rows.values()), default=1)
    _check(rows, seeds, len(cluster))
    sums, counts, width = _by_cluster(rows, cluster)

    def means(weights: Floats, chosen: NDArray[np.intp]) -> Floats:
        """Statistics [columns, B] for cluster weights [B, C] and seeds [B, S]."""
        with np.errstate(invalid="ignore", divide="ignore"):
            value = (weights @ sums) / (weights @ counts)
        found = []
        for start, size in width:
            block = value[:, start : start + size]
            picked = np.take_along_axis(block, chosen, axis=1) if size > 1 else block
            found.append(interquartile_mean(picked))
        return np.stack(found) if found else np.empty((0, len(weights)))

    clusters = len(sums)
    points = means(np.ones((1, clusters)), np.arange(seeds)[None, :])[:, 0]
    draws = np.full((len(points), resamples), np.nan)
    if clusters > 1 and resamples > 0 and len(points):
        draws = _resample(means, clusters, seeds, resamples, seed)
    return {
        key: Estimate(float(point), draw)
        for key, point, draw in zip(rows, points, draws, strict=True)
    }


def _check(rows: Mapping[Key, Floats], seeds: int, queries: int) -> None:
    for key, row in rows.items():
        if row.ndim != 2 or row.shape[1] != queries or len(row) not in (1, seeds):
            raise DSAError(
                f"Column {key!r} has shape {row.shape}, expected [{seeds} or 1, {queries}]; "
                "give one row per seed and one value per query."
            )


def _by_cluster(
    rows: Mapping[Key, Floats], cluster: NDArray[np.integer]
) -> tuple[Floats, Floats, list[tuple[int, int]]]:
    """Sums and counts [C, all rows], and where each column's rows start and how many they are."""
    _, code = np.unique(cluster, return_inverse=True)
    clusters = int(code.max()) + 1 if len(code) else 0
    sums, counts, width, start = [], [], [], 0
    for row in rows.values():
        width.append((start, len(row)))
        start += len(row)
        for values in row:
            valid = ~np.isnan(values)
            sums.append(np.bincount(code[valid], values[valid], clusters))
            counts.append(np.bincount(code[valid], minlength=clusters).astype(np.float64))
    empty = np.empty((clusters, 0))
    if not sums:
        return empty, empty, width
    return np.stack(sums, axis=1), np.stack(counts, axis=1), width


def _resample(means: Means, clusters: int, seeds: int, resamples: int, seed: int) -> Floats:
    """Draws [columns, resamples] by `scipy.stats.bootstrap`, clusters and seeds independently."""

    def statistic(
        picked: NDArray[np.intp], chosen: NDArray[np.intp] | None = None, *, axis: int = -1
    ) -> Floats:
        batch = len(picked)
        flat = (picked + np.arange(batch)[:, None] * clusters).ravel()
        weights = np.bincount(flat, minlength=batch * clusters).reshape(batch, clusters)
        if chosen is None:
            chosen = np.zeros((batch, 1), np.intp)
        return means(weights.astype(np.float64), chosen)

    data = (np.arange(clusters),) + ((np.arange(seeds),) if seeds > 1 else ())
    with warnings.catch_warnings():  # empty columns are NaN by contract, not degenerate data
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)
        found = stats.bootstrap(
            data,
            statistic,
            n_resamples=resamples,
            batch=max(1, min(resamples, BATCH // clusters)),
            vectorized=True,
            method="percentile",
            rng=np.random.default_rng(seed),
        )
    draws: Floats = found.bootstrap_distribution
    return draws
