"""What the benchmark found, in plain words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dsa_agents.benchmark.metrics import (
    BETTER,
    BLEU,
    CIDER,
    DSA,
    FIXED,
    HALLUCINATION,
    NATIVE,
    REWARD,
    SEVERITY,
    say,
    sign_of,
)
from dsa_agents.verdict import signed


def sentences(name: str, model: Mapping[str, Any], recall: str) -> list[str]:
    """What was found of a model, in plain words, whichever way it came out."""
    found = []
    for pair, against in (
        (f"{DSA}-{NATIVE}", "native generation"),
        (f"{DSA}-{FIXED}", "best fixed g"),
    ):
        if pair in model["differences"]:
            found.append(_compared(name, model["differences"][pair], against, recall))
    for pair, found_by in model["regression"].items():
        told = _predictors(found_by.get(recall, {}))
        if told:
            against = "native generation" if pair.endswith(NATIVE) else "the best fixed g"
            found.append(f"{name}: the gain in {say(recall)} over {against} {told}.")
    if model["cost"]:
        found += _costs(name, model["cost"])
    return found + [f"{name}: {note}" for note in model["notes"]]


def _compared(name: str, difference: Mapping[str, Any], against: str, recall: str) -> str:
    """Which metrics rose and fell against a row, and where nothing is shown."""
    told: dict[str, list[str]] = {"better": [], "worse": [], "not shown to differ": []}
    for metric in (recall, BLEU, CIDER, HALLUCINATION, SEVERITY, REWARD):
        summary = difference.get(metric)
        if summary is None or summary["mean"] is None:
            continue
        sign = (sign_of(summary) or 0) * BETTER.get(metric, 1)
        where = {1: "better", -1: "worse", 0: "not shown to differ"}[sign]
        told[where].append(f"{say(metric)} {signed(summary)}")
    parts = [f"{where}: {', '.join(items)}" for where, items in told.items() if items]
    return f"{name} with DSA against {against}: {'; '.join(parts) or 'nothing to compare'}."


def _predictors(regression: Mapping[str, Any]) -> str:
    """The properties whose interval leaves out 0, the strongest first."""
    if "note" in regression or not regression.get("coefficients"):
        return ""
    sure = {name: value for name, value in regression["coefficients"].items() if sign_of(value)}
    share = regression["r_squared"]
    if not sure:
        return f"is not shown to follow from any property (they explain {share:.1%} of it)"
    strongest = sorted(sure, key=lambda name: -abs(sure[name]["mean"]))[:4]
    told = ", ".join(f"{name} ({signed(sure[name])})" for name in strongest)
    return (
        f"changes, for one standard deviation or from the first prompt to another, with {told}; "
        f"all properties together explain {share:.1%} of it"
    )


def _costs(name: str, cost: Mapping[str, Any]) -> list[str]:
    """What the controller costs, where it was measured."""
    if "overhead_percent" not in cost:
        return []
    overhead, tokens = cost["overhead_percent"], cost["tokens"]
    parts = [
        f"{what} {cost['breakdown_percent'][part]:.2f}%"
        for part, what in (
            ("controller", "the controller alone takes"),
            ("features", "the features that it reads"),
            ("blend", "the blend"),
        )
        if cost["breakdown_percent"][part] is not None
    ]
    return [
        f"{name}: with DSA {percent(overhead['equal_tokens'])} generation time at equal lengths, "
        f"{percent(overhead['as_is'])} as it is, where a caption has {tokens['dsa']:.1f} tokens on "
        f"average in place of {tokens['native']:.1f}; of native generation, {', '.join(parts)}."
    ]


def percent(summary: Mapping[str, float | None]) -> str:
    """A change in per cent with its interval, such as "+2.1% [+1.8%, +2.6%]"."""
    mean, low, high = (summary[part] for part in ("mean", "low", "high"))
    if mean is None:
        return "unknown"
    reach = "" if low is None or high is None else f" [{low:+.1f}%, {high:+.1f}%]"
    return f"{mean:+.1f}%{reach}"
