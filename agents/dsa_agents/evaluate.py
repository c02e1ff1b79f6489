"""Evaluation: every policy on a held-out split, with intervals, differences and a verdict."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from dsa_agents.baselines import best_fixed, null_core
from dsa_agents.full_information import Fit, fit_full_information
from dsa_agents.measures import (
    Measures,
    Sweep,
    ambiguity_groups,
    mean,
    measure_policies,
    query_groups,
    sweep,
)
from dsa_agents.policies import ControllerPolicy, OraclePolicy, Policy, RandomPolicy
from dsa_agents.statistics import Estimate, bootstrap_means, interquartile_mean, number
from dsa_agents.verdict import verdict
from dsa_env.core import RetrievalCore

if TYPE_CHECKING:
    from dsa_agents.run_folder import RunFolder
    from dsa_env.controller import GranularityController

Summary = dict[str, float | None]
Key = tuple[str, str, str]
"""Policy, metric, kind of query ("" for all of them)."""

NULL_FIXED = "null_fixed"
"""The best fixed g of the re-paired world; only there for the differences."""
BATCHES = (1, 1024)
REPEATS = 30


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation found.

    Attributes:
        results: what ``results.json`` holds (see `evaluate`).
        agent: name of the trained policy in the results, such as ``"ppo"``.
        core: the split that was evaluated.
        measures: policy -> metric -> [seeds, Q], query by query.
        groups: names of the kinds of queries, and each query's code [Q] into them.
        sweep: the metrics of every fixed g on that split.
        fixed: the best fixed g.
        validation_rewards: policy -> mean reward on the validation split, where the agent's
            learning curve was measured.
    """

    results: dict[str, Any]
    agent: str
    core: RetrievalCore
    measures: dict[str, Measures]
    groups: tuple[tuple[str, ...], NDArray[np.int64]]
    sweep: Sweep
    fixed: float
    validation_rewards: dict[str, float]


def evaluate(
    run: RunFolder,
    *,
    split: str = "test",
    resamples: int = 2000,
    seed: int = 0,
    fit: Fit | None = None,
    progress: bool = True,
) -> Evaluation:
    """Compare a run's agent with every baseline on a split of its bank.

    Every policy is measured on every query of the split. A mean over several seeds is the
    interquartile mean of the seeds' means. The 95 % intervals are percentile intervals of a
    bootstrap that resamples pictures, with all queries of each, and, where a policy has several
    seeds, the seeds too (`dsa_agents.statistics`); all policies see the same resamples, so the
    intervals of differences are paired. The seeds of the full-information policy are not
    resampled: it is one ensemble.

    With a horizon above 1 it is the last g of an episode that counts.

    Args:
        run: a finished run.
        split: the split to evaluate on; only its test split is untouched by training and choices.
        resamples: of the bootstrap; 0 for no intervals.
        seed: of the resampling, the random policy's first seed aside.
        fit: how the full-information policy is fitted.
        progress: show progress bars on standard error.

    Returns:
        The evaluation. Its `results` are JSON: ``policies``, ``by_kind``, ``by_ambiguity`` (of the
        query's text, where there is a difference), ``differences`` (each
        metric as ``{"mean", "low", "high"}``, null where there is no number),
        ``relative_gain`` (over the best fixed g, in Recall@k), ``gap_closed`` (the agent's share
        of the full-information gain in Recall@k; null with a note when that gain's interval
        contains 0), ``fixed_in_hindsight`` (the g that would have earned most on this very
        split, with its reward and recall), ``clip_fraction``, ``latency_ms``, ``verdict`` (in
        words) and what was evaluated.

    Raises:
        DSAError: the bank lacks a split, the controller does not fit, or the reward is a vector.
    """
    splits = (split, "train", "validation")
    test, train, validation = (run.config.core(run.bank, name) for name in splits)
    agent = run.config.algorithm
    controllers = [run.controller(one) for one in run.seeds]
    fixed = best_fixed(validation)
    policies: dict[str, list[Policy]] = {
        "random": [RandomPolicy(one) for one in run.seeds],
        "fixed": [fixed],
        "full_information": [fit_full_information(train, validation, fit, progress=progress)],
        agent: [ControllerPolicy(controller) for controller in controllers],
        "oracle": [OraclePolicy()],
    }
    measures = {name: measure_policies(test, each) for name, each in policies.items()}
    null, null_validation = null_core(test), null_core(validation)
    if null is not None and null_validation is not None:
        measures["null_oracle"] = measure_policies(null, [OraclePolicy()])
        measures[NULL_FIXED] = measure_policies(null, [best_fixed(null_validation)])
    groups = query_groups(test)
    ambiguity = ambiguity_groups(test)
    fixed_curve = sweep(test)
    estimates = _estimate(measures, groups, ambiguity, test.retrieval.cluster, resamples, seed)
    results = {
        **_results(estimates, agent, groups[0], tuple(ambiguity), test.k),
        "clip_fraction": _clip_fraction(test, measures[agent]["granularity"]),
        "latency_ms": {
            "controller": latency(controllers[0], test),
            "encoders": run.bank.manifest["provenance"].get("latency_ms"),
        },
        "fixed_granularity": fixed.granularity,
        "fixed_in_hindsight": _hindsight(fixed_curve, f"recall@{test.k}"),
        "seeds": list(run.seeds),
        "train_seconds": run.train_seconds,
        "bank": {"path": run.config.bank, "sha256": run.bank.sha256},
        "agent": agent,
        "direction": test.direction,
        "options": run.config.options,
        "split": split,
        "k": test.k,
        "horizon": test.horizon,
        "reward": {"name": run.config.reward, "arguments": run.config.reward_kwargs},
        "queries": test.n_queries,
        "pictures": len(np.unique(test.retrieval.cluster)),
        "resamples": resamples,
    }
    results["verdict"] = verdict(results)
    return Evaluation(
        results=results,
        agent=agent,
        core=test,
        measures=measures,
        groups=groups,
        sweep=fixed_curve,
        fixed=fixed.granularity,
        validation_rewards={
            name: mean(measure_policies(validation, each)["reward"])
            for name, each in policies.items()
            if name != agent
        },
    )


def latency(controller: GranularityController, core: RetrievalCore) -> dict[str, float]:
    """Milliseconds per query that choosing g takes, alone and in a batch; one torch thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        found = {}
        for batch in BATCHES:
            observation = core.observe(np.arange(batch) % core.n_queries)
            seconds = []
            for _ in range(REPEATS):
                start = time.perf_counter()
                controller.predict(observation)
                seconds.append(time.perf_counter() - start)
            found[f"batch_{batch}"] = 1000 * float(np.median(seconds)) / batch
        return found
    finally:
        torch.set_num_threads(threads)


def _estimate(
    measures: dict[str, Measures],
    groups: tuple[tuple[str, ...], NDArray[np.int64]],
    ambiguity: dict[str, NDArray[np.bool_]],
    cluster: NDArray[np.integer],
    resamples: int,
    seed: int,
) -> dict[Key, Estimate]:
    """An estimate of every metric of every policy, over all queries and over each kind.

    Kind by kind, which bounds the memory; the same seed draws the same pictures every time.
    """
    names, code = groups
    masks = {"": np.ones(len(code), np.bool_)} | {
        name: code == index for index, name in enumerate(names)
    }
    masks |= ambiguity
    found: dict[Key, Estimate] = {}
    for kind, mask in masks.items():
        columns = {
            (policy, metric, kind): np.where(mask, values, np.nan)
            for policy, metrics in measures.items()
            for metric, values in metrics.items()
        }
        found |= bootstrap_means(columns, cluster, resamples=resamples, seed=seed)
    return found


def _results(
    estimates: dict[Key, Estimate],
    agent: str,
    kinds: Sequence[str],
    ambiguity: Sequence[str],
    k: int,
) -> dict[str, Any]:
    """The part of the results that estimates make: policies, kinds, differences and ratios."""
    measured = list(dict.fromkeys(policy for policy, _, _ in estimates))
    policies = [policy for policy in measured if policy != NULL_FIXED]
    metrics = list(dict.fromkeys(metric for _, metric, _ in estimates))
    recall = f"recall@{k}"

    def table(kind: str) -> dict[str, dict[str, Summary]]:
        return {
            policy: {metric: estimates[policy, metric, kind].summary() for metric in metrics}
            for policy in policies
        }

    def gain(policy: str, over: str = "fixed", metric: str = recall) -> Estimate:
        return estimates[policy, metric, ""] - estimates[over, metric, ""]

    fixed = estimates["fixed", recall, ""]
    return {
        "policies": table(""),
        "by_kind": {kind: table(kind) for kind in kinds},
        "by_ambiguity": {group: table(group) for group in ambiguity},
        "differences": {
            f"{first}-{second}": {
                metric: gain(first, second, metric).summary() for metric in metrics
            }
            for first, second in _pairs(agent)
            if {first, second} <= set(measured)
        },
        "relative_gain": {
            policy: (gain(policy) / fixed).summary()
            for policy in (agent, "full_information", "oracle")
        },
        "gap_closed": _gap_closed(gain(agent), gain("full_information")),
    }


def _pairs(agent: str) -> list[tuple[str, str]]:
    """The differences that are reported: first minus second."""
    return [
        (agent, "fixed"),
        (agent, "random"),
        (agent, "full_information"),
        ("full_information", "fixed"),
        ("oracle", agent),
        ("oracle", "fixed"),
        ("oracle", "null_oracle"),
        ("null_oracle", NULL_FIXED),
    ]


def _gap_closed(agent_gain: Estimate, full_gain: Estimate) -> dict[str, Any]:
    """The agent's share of what full information gains; nothing where there is no such gain."""
    low, _ = full_gain.interval()
    if not low > 0:
        note = (
            "Full information is not shown to beat the best fixed g here (the interval of its "
            "gain reaches 0), so there is no gap to close."
        )
        return {"mean": None, "low": None, "high": None, "note": note}
    return {**(agent_gain / full_gain).summary()}


def _hindsight(fixed: Sweep, recall: str) -> dict[str, float]:
    """The fixed g that would have earned most, had one known the split: no policy's number."""
    best = int(np.argmax(fixed.means["reward"]))
    values = {name: float(fixed.means[name][best]) for name in ("reward", recall)}
    return {"granularity": float(fixed.grid[best]), **values}


def _clip_fraction(core: RetrievalCore, g: NDArray[np.float64]) -> float | None:
    """Share of the agent's rewards that the clip changed; None for a reward that has no clip."""
    clipped = getattr(core.reward, "clipped", None)
    if clipped is None:
        return None
    query = np.arange(core.n_queries)
    shares = [float(clipped(core.evaluate(query, row)[2]).mean()) for row in g]
    return number(float(interquartile_mean(np.array(shares))))
