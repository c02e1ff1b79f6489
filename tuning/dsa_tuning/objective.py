"""What a study optimises: figures on the validation split that do not depend on the weights."""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from dsa_env.errors import DSAError, unknown
from dsa_tuning.metrics import ESTIMATE, Metrics
from dsa_tuning.names import OBJECTIVES, PARETO, RECALL


@dataclass(frozen=True)
class Objective:
    """A study's objective.

    Attributes:
        name: how it was asked for.
        labels: what each value is called.
        directions: ``"maximize"`` or ``"minimize"``, one for each value.
        hallucination: the metric that stands for hallucination; None where nothing does.
        max_hallucination: what it must not exceed; None for no bound.
        function: from the metrics of one seed to the values.
    """

    name: str
    labels: tuple[str, ...]
    directions: tuple[str, ...]
    hallucination: str | None
    max_hallucination: float | None
    function: Callable[[Metrics], tuple[float, ...]]

    @property
    def single(self) -> bool:
        """Whether there is one value, so that the better of two trials is always known."""
        return len(self.directions) == 1

    def values(self, metrics: Metrics) -> tuple[float, ...]:
        """The values of one seed's metrics.

        Raises:
            DSAError: a value is no finite number.
        """
        values = self.function(metrics)
        for label, value in zip(self.labels, values, strict=True):
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if not number or not math.isfinite(value):
                raise DSAError(
                    f"Objective {label} is {value!r}, not a finite number; return one for every "
                    "set of metrics."
                )
        return values

    def violation(self, metrics: Metrics) -> float:
        """How far hallucination exceeds its bound; at most 0 where it is kept, or there is none."""
        if self.max_hallucination is None or self.hallucination is None:
            return 0.0
        return metrics[self.hallucination] - self.max_hallucination


def resolve_objective(
    name: str, k: int, hallucination: str | None, max_hallucination: float | None = None
) -> Objective:
    """The objective of that name.

    Args:
        name: ``"pareto"``, ``"recall"`` or ``"package.module:name"`` of a function from the metrics
            of one seed (`dsa_tuning.metrics.weight_free_metrics`) to one number, to be maximised.
        k: of Recall@k.
        hallucination: the metric that stands for hallucination on this bank; None for none.
        max_hallucination: a bound in [0, 1) on it.

    Raises:
        DSAError: an unknown name, a bound out of range, or hallucination is not known.
    """
    recall = f"recall@{k}"
    if max_hallucination is not None and not 0 <= max_hallucination < 1:
        raise DSAError(f"--max-hallucination is a share in [0, 1), got {max_hallucination:g}.")
    if hallucination is None and (name == PARETO or max_hallucination is not None):
        raise DSAError(
            "This bank says nothing of hallucination, so it cannot be kept low; use --objective "
            "recall without a bound, or build the bank with facts."
        )
    if name == PARETO:
        assert hallucination is not None
        kept: str = hallucination
        return Objective(
            name,
            (recall, kept),
            ("maximize", "minimize"),
            hallucination,
            max_hallucination,
            lambda metrics: (metrics[recall], metrics[kept]),
        )
    if name == RECALL:
        labels: tuple[str, ...] = (recall,)
        function: Callable[[Metrics], Any] = lambda metrics: metrics[recall]  # noqa: E731
    else:
        labels, function = (name.partition(":")[2] or name,), _find(name)
    return Objective(
        name,
        labels,
        ("maximize",),
        hallucination,
        max_hallucination,
        lambda metrics: (function(metrics),),
    )


def describe(label: str) -> str:
    """A value's name as people read it."""
    if label == ESTIMATE:
        return "severity (estimated)"
    return label.replace("recall", "Recall").replace("_", " ")


def _find(name: str) -> Callable[[Metrics], Any]:
    """Import ``"package.module:name"``."""
    module_name, colon, attribute = name.partition(":")
    if not (colon and module_name and attribute):
        raise unknown("objective", name, [*OBJECTIVES, "package.module:name"])
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # whatever the user's module does
        summary = " ".join(f"{type(error).__name__}: {error}".split())
        raise DSAError(
            f"Objective {name!r}: importing {module_name!r} failed: {summary}."
        ) from None
    public = [key for key, value in vars(module).items() if callable(value) and key[0] != "_"]
    if attribute not in vars(module):
        raise unknown(f"name in module {module_name!r}", attribute, public)
    function = getattr(module, attribute)
    if not callable(function):
        raise DSAError(f"Objective {name!r} is a {type(function).__name__} and cannot be called.")
    found: Callable[[Metrics], Any] = function
    return found
