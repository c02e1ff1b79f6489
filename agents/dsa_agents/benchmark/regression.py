"""Which properties of a picture and a prompt predict where granularity helps: a regression."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dsa_agents.statistics import number

Floats = NDArray[np.float64]

ENOUGH = 10
"""Pictures for each property, below which nothing is fitted."""


def regress_gain(
    gain: Floats, properties: Mapping[str, Floats], cluster: NDArray[np.integer]
) -> dict[str, Any]:
    """Least squares of the gain on properties, with cluster-robust intervals.

    gain = intercept + sum_i coefficient_i z_i, where z is a property less its mean, over its
    standard deviation, so that coefficients compare; a property of two values stays 0 and 1.
    Intervals and p-values by statsmodels' `OLS` with the sandwich covariance that lets the queries
    of a picture depend on one another (Liang and Zeger, Biometrika 1986), t-distributed.

    Args:
        gain: [Q], NaN where it is not known.
        properties: name -> [Q]; what is constant, or follows from those before it, is left out.
        cluster: picture of each query [Q].

    Returns:
        For JSON: ``queries``, ``pictures``, ``r_squared``, ``p_all`` (no property matters),
        ``intercept`` and ``coefficients`` (``{"mean", "low", "high", "p"}`` each), ``left_out``
        (name -> why) and, where nothing could be fitted, ``note``.
    """
    table = np.column_stack([gain, *properties.values()]) if properties else gain[:, None]
    kept = np.isfinite(table).all(axis=1)
    target, groups = gain[kept], np.unique(cluster[kept], return_inverse=True)[1]
    pictures = int(groups.max()) + 1 if kept.any() else 0
    found: dict[str, Any] = {
        "queries": int(kept.sum()),
        "pictures": pictures,
        "r_squared": None,
        "p_all": None,
        "intercept": None,
        "coefficients": {},
        "left_out": {},
    }
    if pictures < ENOUGH:
        return found | {"note": f"{pictures} pictures are too few for a regression."}
    if np.ptp(target) == 0:
        return found | {"note": f"The gain is {target[0]:g} for every query; nothing to explain."}
    scaled = {name: _scaled(np.asarray(column)[kept]) for name, column in properties.items()}
    chosen, left_out = _independent(scaled, pictures)
    found["left_out"] = left_out
    if not chosen:
        return found | {"note": "No property varies, so there is nothing to explain a gain by."}
    return found | _fit(target, chosen, groups)


def _fit(target: Floats, chosen: Mapping[str, Floats], groups: NDArray[np.intp]) -> dict[str, Any]:
    import statsmodels.api as sm

    design = sm.add_constant(np.column_stack(list(chosen.values())), has_constant="add")
    model = sm.OLS(target, design).fit(cov_type="cluster", cov_kwds={"groups": groups}, use_t=True)
    low, high = np.asarray(model.conf_int(0.05)).T
    rows = [
        {
            "mean": number(float(model.params[at])),
            "low": number(float(low[at])),
            "high": number(float(high[at])),
            "p": number(float(model.pvalues[at])),
        }
        for at in range(design.shape[1])
    ]
    together = model.wald_test(np.eye(design.shape[1])[1:], scalar=True)
    return {
        "r_squared": number(float(model.rsquared)),
        "p_all": number(float(together.pvalue)),
        "intercept": rows[0],
        "coefficients": dict(zip(chosen, rows[1:], strict=True)),
    }


def _scaled(column: Floats) -> Floats:
    """Less its mean, over its standard deviation; 0 and 1 for a column of two values."""
    values = np.unique(column)
    scaled: Floats = column - column.mean()
    if len(values) == 2:
        scaled = (column == values[1]).astype(np.float64)
    elif len(values) > 2:
        scaled /= column.std()
    return scaled


def _independent(
    columns: Mapping[str, Floats], pictures: int
) -> tuple[dict[str, Floats], dict[str, str]]:
    """The columns that add something to the constant and those before, and why others do not."""
    chosen: dict[str, Floats] = {}
    left_out: dict[str, str] = {}
    for name, column in columns.items():
        if np.ptp(column) < 1e-9:
            left_out[name] = "the same for every query"
            continue
        before = np.column_stack([np.ones(len(column)), *chosen.values()])
        rest = column - before @ np.linalg.lstsq(before, column, rcond=None)[0]
        if float(np.square(rest).sum()) < 1e-6 * float(np.square(column - column.mean()).sum()):
            left_out[name] = "follows from the others"
        elif pictures < ENOUGH * (len(chosen) + 1):
            left_out[name] = "too few pictures"
        else:
            chosen[name] = column
    return chosen, left_out
