"""What a search-space file may say of one parameter, as Optuna's distributions."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import Trial

from dsa_env.errors import DSAError, unknown

RANGE_WORDS = ("low", "high", "log", "step", "choices")
EPSILON = 1e-9
FORMS = "[low, high], {low = .., high = .., log = true} or {choices = [..]}"


def is_fixed(entry: Any) -> bool:
    """Whether an entry is a plain value, which is used and not searched."""
    return not isinstance(entry, list | Mapping)


def is_number(value: Any) -> bool:
    """Whether an entry is a finite number; TOML has inf and nan too."""
    return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)


def parse(name: str, entry: Any, *, whole: bool = False) -> BaseDistribution:
    """The distribution that an entry describes.

    Args:
        name: the parameter's, for error messages.
        entry: ``[low, high]``, ``{"low": .., "high": .., "log": .., "step": ..}`` or
            ``{"choices": [..]}``.
        whole: whether the parameter is a whole number.

    Raises:
        DSAError: another form, an unknown word, an empty range.
    """
    if isinstance(entry, list):
        if len(entry) != 2:
            raise DSAError(f"{name} = {entry!r} is no range; write {FORMS}.")
        entry = {"low": entry[0], "high": entry[1]}
    for word in entry:
        if word not in RANGE_WORDS:
            raise unknown(f"word in the range of {name}", word, RANGE_WORDS)
    if "choices" in entry:
        return _choices(name, entry)
    return _range(name, entry, whole)


def suggest(trial: Trial, name: str, distribution: BaseDistribution) -> Any:
    """A trial's value for a parameter."""
    if isinstance(distribution, CategoricalDistribution):
        return trial.suggest_categorical(name, distribution.choices)
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    low, high, step, log = (getattr(distribution, part) for part in ("low", "high", "step", "log"))
    if isinstance(distribution, IntDistribution):
        return trial.suggest_int(name, low, high, step=step, log=log)
    return trial.suggest_float(name, low, high, step=step, log=log)


def values_of(distribution: BaseDistribution) -> list[Any]:
    """The values that decide whether a distribution is allowed: its ends, or all its choices."""
    if isinstance(distribution, CategoricalDistribution):
        return list(distribution.choices)
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    return [distribution.low, distribution.high]


def grid_of(distribution: BaseDistribution, points: int) -> list[Any]:
    """At most `points` values spread evenly over a range, or all choices."""
    if isinstance(distribution, CategoricalDistribution):
        return list(distribution.choices)
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    low, high, step = distribution.low, distribution.high, distribution.step
    shares = [0.5] if points == 1 else [i / (points - 1) for i in range(points)]
    if distribution.log:
        values = [low * (high / low) ** share for share in shares]
    else:
        values = [low + (high - low) * share for share in shares]
    if step is not None:
        values = [low + round((value - low) / step) * step for value in values]
    if isinstance(distribution, IntDistribution):
        values = [round(value) for value in values]
    return sorted({min(max(value, low), high) for value in values})


def nearest(distribution: BaseDistribution, wanted: Any) -> Any:
    """The allowed value nearest to a wanted one; the first choice where it is none of them."""
    if isinstance(distribution, CategoricalDistribution):
        return wanted if wanted in distribution.choices else distribution.choices[0]
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    value = min(max(wanted, distribution.low), distribution.high)
    if distribution.step is not None:
        value = distribution.low + round((value - distribution.low) / distribution.step) * (
            distribution.step
        )
    return value


def _choices(name: str, entry: Mapping[str, Any]) -> CategoricalDistribution:
    choices = entry["choices"]
    if len(entry) > 1 or not isinstance(choices, list) or not choices:
        raise DSAError(f"{name} needs a list of choices and nothing else, such as [0.1, 0.2].")
    # Optuna keeps plain values only: layer widths are written as the text "256,128".
    plain = [",".join(map(str, c)) if isinstance(c, list) else c for c in choices]
    if any(not isinstance(choice, bool | int | float | str) for choice in plain):
        raise DSAError(f"The choices of {name} must be numbers, words or lists of numbers.")
    if len(set(plain)) < max(len(plain), 2):
        raise DSAError(f"The choices of {name} must be two or more different ones, got {choices}.")
    return CategoricalDistribution(plain)


def _range(name: str, entry: Mapping[str, Any], whole: bool) -> BaseDistribution:
    if "low" not in entry or "high" not in entry:
        raise DSAError(f"{name} lacks {'high' if 'low' in entry else 'low'}; write {FORMS}.")
    low, high, step = entry["low"], entry["high"], entry.get("step")
    numbers = [low, high] + ([] if step is None else [step])
    if not all(is_number(n) and (isinstance(n, int) or not whole) for n in numbers):
        what = "whole numbers" if whole else "numbers"
        raise DSAError(f"The range of {name} needs {what}, got {dict(entry)!r}.")
    if not low < high:
        raise DSAError(
            f"The range of {name} is empty: low {low:g} is not below high {high:g}; widen it, or "
            f"write {name} = {low:g} to fix it."
        )
    log = entry.get("log", False)
    if not isinstance(log, bool) or (log and low <= 0):
        raise DSAError(f"log of {name} must be true or false, and true only above 0.")
    if step is not None and (log or not 0 < step <= high - low):
        raise DSAError(
            f"The step of {name} must lie in (0, {high - low:g}] and cannot go with log."
        )
    if step is not None and abs((high - low) / step - round((high - low) / step)) > EPSILON:
        raise DSAError(f"The step {step:g} of {name} does not divide its range {high - low:g}.")
    if whole:
        return IntDistribution(low, high, log=log, step=1 if step is None else step)
    return FloatDistribution(
        float(low), float(high), log=log, step=None if step is None else float(step)
    )
