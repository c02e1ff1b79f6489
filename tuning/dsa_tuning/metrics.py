"""What a policy achieves on held-out data, in figures that no choice of weights can change."""

from __future__ import annotations

import numpy as np

from dsa_agents.measures import mean, measure
from dsa_agents.policies import Policy
from dsa_env.core import RetrievalCore
from dsa_env.errors import DSAError

Metrics = dict[str, float]

TRUTH, ESTIMATE = "hallucination_rate", "severity"


def weight_free_metrics(core: RetrievalCore, policy: Policy) -> Metrics:
    """Means over all queries of a split under a policy; the reward has no part in them.

    Returns:
        ``recall@K`` for 1, 5, 10 and the core's k; ``reciprocal_rank``; ``hallucination_rate`` by
        the ground truth, where the bank has facts; ``severity``, what the reward charges; the mean
        ``granularity``. All in [0, 1].
    """
    query = np.arange(core.n_queries)
    g = policy(core, query)
    outcome = core.outcome(query, g)
    found = {
        name: mean(values)
        for name, values in measure(core, g).items()
        if name not in ("reward", "regret")
    }
    found["reciprocal_rank"] = float(outcome.reciprocal_rank.mean(dtype=np.float64))
    found[ESTIMATE] = float(outcome.severity.mean(dtype=np.float64))
    return {name: value for name, value in found.items() if not np.isnan(value)}


def hallucination_metric(core: RetrievalCore) -> str:
    """What stands for hallucination on a bank: the ground truth where it is known.

    Raises:
        DSAError: the bank knows neither facts nor severities, so there is nothing to weigh.
    """
    curves = core.retrieval.curves
    assert curves is not None
    if np.isfinite(curves.unsupported).any():
        return TRUTH
    if curves.severity.any():
        return ESTIMATE
    raise DSAError(
        "The bank knows no facts and no severities, so hallucination cannot be judged and beta "
        "weighs nothing; build it with facts or severities, or tune with --objective recall."
    )


def average(each: list[Metrics]) -> Metrics:
    """The mean of several seeds' metrics."""
    return {name: float(np.mean([one[name] for one in each])) for name in each[0]}
