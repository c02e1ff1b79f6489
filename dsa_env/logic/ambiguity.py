"""How ambiguous a bank's texts are: a number that a query has before any scene is seen."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dsa_env.errors import DSAError
from dsa_env.logic.grammar import MOST
from dsa_env.logic.parser import count_readings

GROUPS = ("not read", "one reading", "several readings")


def reading_counts(texts: Sequence[str] | None) -> NDArray[np.int16]:
    """How many readings each text has; looks at the words alone, so nothing can leak.

    Args:
        texts: [T], such as `FeatureBank.texts`.

    Returns:
        [T] int16; 0 where the grammar cannot read a text.

    Raises:
        DSAError: for None, a bank without texts.
    """
    if texts is None:
        raise DSAError("This bank holds no texts, so no readings can be counted; pass texts=.")
    known = {text: count_readings(text) for text in dict.fromkeys(texts)}
    return np.array([known[text] for text in texts], dtype=np.int16)


def ambiguity_feature(counts: ArrayLike) -> NDArray[np.float32]:
    """The numbers of readings as a feature for observations.

    log2(1 + n) / log2(1 + `MOST`): 0 for a text that was not read, 0.125 for one reading, 0.198
    for two, 1 for the most.

    Args:
        counts: integers of any shape, at least 0.

    Returns:
        float32 in [0, 1], of the same shape.
    """
    n = np.asarray(counts, dtype=np.float64)
    feature: NDArray[np.float32] = np.clip(np.log2(1 + n) / math.log2(1 + MOST), 0, 1).astype(
        np.float32
    )
    return feature


def group_of(counts: ArrayLike) -> NDArray[np.int8]:
    """The group of each number of readings: a code into `GROUPS`, [...] int8."""
    group: NDArray[np.int8] = np.clip(counts, 0, len(GROUPS) - 1).astype(np.int8)
    return group


def by_ambiguity(
    counts: ArrayLike, values: Mapping[str, ArrayLike]
) -> dict[str, dict[str, float | int]]:
    """Means of per-query values in each group of ambiguity.

    Args:
        counts: [Q] numbers of readings.
        values: metric -> [Q] values; NaN stands for no value.

    Returns:
        Group -> {"queries": how many, metric: mean, ...}; groups without queries are left out, and
        so is the mean of nothing.

    Raises:
        DSAError: for values of another shape.
    """
    group = group_of(counts)
    result: dict[str, dict[str, float | int]] = {}
    for code, name in enumerate(GROUPS):
        chosen = group == code
        if not chosen.any():
            continue
        row: dict[str, float | int] = {"queries": int(chosen.sum())}
        for metric, given in values.items():
            column = np.asarray(given, dtype=np.float64)
            if column.shape != group.shape:
                raise DSAError(f"{metric} has shape {column.shape}, the queries {group.shape}.")
            known = column[chosen & ~np.isnan(column)]
            if len(known):
                row[metric] = float(known.mean())
        result[name] = row
    return result
