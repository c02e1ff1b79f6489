"""How much the weights can matter on a bank: the front of full-information policies."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np

from dsa_agents.full_information import Fit, fit_full_information
from dsa_env.progress import bar
from dsa_tuning.config import TuneConfig
from dsa_tuning.metrics import Metrics, weight_free_metrics
from dsa_tuning.objective import describe
from dsa_tuning.trials import neutral_core

POINTS = 5
MATTERS_RECALL, MATTERS_HALLUCINATION = 0.01, 0.05
"""Below one point of recall and five percent of hallucination the weights hardly matter."""


@dataclass(frozen=True)
class Potential:
    """What policies that know every training query's whole reward curve reach, share by share.

    Attributes:
        shares: of beta.
        metrics: of each on the validation split.
        recall: name of the recall metric.
        hallucination: name of the hallucination metric.
    """

    shares: tuple[float, ...]
    metrics: tuple[Metrics, ...]
    recall: str
    hallucination: str

    def span(self, metric: str) -> tuple[float, float]:
        """The least and the largest value over the shares."""
        values = [each[metric] for each in self.metrics]
        return min(values), max(values)

    @property
    def matters(self) -> bool:
        """Whether a change of the weights can be expected to show."""
        (low, high), (least, most) = self.span(self.recall), self.span(self.hallucination)
        return high - low >= MATTERS_RECALL or most - least >= MATTERS_HALLUCINATION * most

    @property
    def sentence(self) -> str:
        """One line that says it."""
        (low, high), (least, most) = self.span(self.recall), self.span(self.hallucination)
        relative = (most - least) / most if most else 0.0
        return (
            f"{'The weights can matter here' if self.matters else 'The weights hardly matter here'}"
            f": over shares of beta from {self.shares[0]:g} to {self.shares[-1]:g}, full "
            f"information spans {describe(self.recall)} {low:.3f} to {high:.3f} "
            f"({100 * (high - low):.1f} points) and {describe(self.hallucination)} {least:.3f} to "
            f"{most:.3f} ({relative:.0%} of the larger) on validation."
        )

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON can hold them."""
        return {**vars(self), "shares": list(self.shares), "metrics": list(self.metrics)}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Potential:
        """Build from what `to_json` returned."""
        return cls(
            tuple(values["shares"]),
            tuple(values["metrics"]),
            values["recall"],
            values["hallucination"],
        )


def weight_potential(
    config: TuneConfig,
    hallucination: str,
    *,
    points: int = POINTS,
    split: str = "validation",
    fit: Fit | None = None,
    progress: bool = True,
) -> Potential:
    """Fit full-information policies under shares of the searched range and measure them.

    Args:
        config: complete, with alpha and beta among what is searched.
        hallucination: the metric that stands for hallucination.
        points: how many shares, evenly spread.
        split: where the policies are measured; they are fitted on train and stopped by validation.
        fit: how they are fitted.
        progress: show a progress bar on standard error.
    """
    shares = np.linspace(*config.space.shares, points).round(6).tolist()
    judged = neutral_core(config.base, split)
    found = []
    shown = bar("full information", points) if progress else nullcontext()
    with shown as progress_bar:
        for share in shares:
            base = config.space.apply({"share": share}, config.base)
            train, validation = (base.core(judged.bank, name) for name in ("train", "validation"))
            policy = fit_full_information(train, validation, fit, progress=False)
            found.append(weight_free_metrics(judged, policy))
            if progress_bar is not None:
                progress_bar.advance()
    return Potential(tuple(shares), tuple(found), f"recall@{config.base.k}", hallucination)
