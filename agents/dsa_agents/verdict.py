"""What an evaluation means, in plain words."""

from __future__ import annotations

from typing import Any

LABELS = {
    "random": "random g",
    "fixed": "best fixed g",
    "full_information": "full information",
    "oracle": "oracle",
    "null_oracle": "null oracle",
}
EXPLANATIONS = {
    "random": "g drawn uniformly from 0 to 1 for every query: what not thinking costs.",
    "fixed": "one g for all queries, the best on the validation split; a learnt g must beat it.",
    "full_information": (
        "a network fitted to the whole reward curve of every training query, seeing what the "
        "agent sees: about as good as learning from this observation can get."
    ),
    "oracle": (
        "the best g of each query, found with the answer in hand: no policy can beat it, and part "
        "of it is luck."
    ),
    "null_oracle": (
        "the same oracle after each query's fine similarities were swapped for another query's, "
        "so that nothing about a query says which view serves it: how much of an oracle is luck."
    ),
}


def label(policy: str) -> str:
    """A policy's name as people read it; trained ones are called by their algorithm."""
    return LABELS.get(policy, policy.upper())


def explanation(policy: str) -> str:
    """What a row of the table is."""
    return EXPLANATIONS.get(
        policy,
        "the trained agent: it saw one reward per try, never a whole curve.",
    )


def verdict(results: dict[str, Any]) -> list[str]:
    """Sentences that say whether granularity matters on this data, and what the agent made of it.

    Args:
        results: of `dsa_agents.evaluate.evaluate`.
    """
    return [_matters(results), _hindsight(results), _luck(results), _agent(results)]


def _matters(results: dict[str, Any]) -> str:
    recall = f"recall@{results['k']}"
    gain = results["differences"]["full_information-fixed"][recall]
    before = results["policies"]["fixed"][recall]["mean"]
    after = results["policies"]["full_information"][recall]["mean"]
    relative = results["relative_gain"]["full_information"]["mean"]
    change = (
        f"choosing g per query with full information takes Recall@{results['k']} from "
        f"{before:.3f} (best fixed g = {results['fixed_granularity']:.2f}) to {after:.3f}"
        + ("" if relative is None else f" ({relative:+.1%})")
        + f", a difference of {signed(gain)}"
    )
    sign = _sign(gain)
    if sign is None:
        return f"Without intervals it cannot be said whether granularity matters here: {change}."
    if sign > 0:
        return f"Granularity matters on this bank: {change}."
    if sign < 0:
        return f"Choosing g per query does harm on this bank: {change}. Use the best fixed g."
    return (
        f"It is not shown that granularity matters on this bank: {change}, and the interval "
        "contains 0. Use the best fixed g, or better coarse and fine features."
    )


def _hindsight(results: dict[str, Any]) -> str:
    found, recall = results["fixed_in_hindsight"], f"recall@{results['k']}"
    return (
        f"The best fixed g was chosen on validation; had one known this split, "
        f"g = {found['granularity']:.2f} would have earned most, with a Recall@{results['k']} of "
        f"{found[recall]:.3f}."
    )


def _luck(results: dict[str, Any]) -> str:
    recall = f"recall@{results['k']}"
    oracle = results["differences"]["oracle-fixed"][recall]
    if "null_oracle-null_fixed" not in results["differences"]:
        return (
            f"The oracle gains {signed(oracle)} over the best fixed g, but who chooses after the "
            "fact always gains. How much of it is luck is not known here: a caption is written "
            "from both views at once, so there is no world with swapped fine views and no null "
            "oracle. What can be learnt is full information's gain."
        )
    null = results["differences"]["null_oracle-null_fixed"][recall]
    return (
        f"The oracle gains {signed(oracle)} over the best fixed g, but who chooses after the fact "
        f"always gains: where fine views were swapped between queries and nothing can be learnt, "
        f"an oracle still gains {signed(null)}. What can be learnt is full information's gain."
    )


def _agent(results: dict[str, Any]) -> str:
    agent, recall = results["agent"], f"recall@{results['k']}"
    gain = results["differences"][f"{agent}-fixed"][recall]
    closed = results["gap_closed"]
    words = {1: "beats", 0: "is not shown to beat", -1: "is worse than"}
    sign = _sign(gain)
    beats = "against" if sign is None else words[sign]
    share = (
        "; " + closed["note"][0].lower() + closed["note"][1:].rstrip(".")
        if closed["mean"] is None and "note" in closed
        else f" and closes {percent(closed)} of the full-information gain"
    )
    return (
        f"{label(agent)} {beats} the best fixed g ({signed(gain)} in Recall@{results['k']}){share}."
    )


def signed(summary: dict[str, Any], digits: int = 3) -> str:
    """A difference with its interval, such as "+0.040 [+0.030, +0.051]"."""
    return _spread(summary, f"+.{digits}f")


def plain(summary: dict[str, Any], digits: int = 3) -> str:
    """A mean with its interval, such as "0.415 [0.402, 0.430]"."""
    return _spread(summary, f".{digits}f")


def percent(summary: dict[str, Any]) -> str:
    """A share with its interval, such as "95% [88%, 102%]"."""
    return _spread(summary, ".0%")


def _spread(summary: dict[str, Any], form: str) -> str:
    if summary["mean"] is None:
        return "unknown"
    mean = format(summary["mean"], form)
    if summary["low"] is None or summary["high"] is None:
        return mean
    return f"{mean} [{summary['low']:{form}}, {summary['high']:{form}}]"


def _sign(summary: dict[str, Any]) -> int | None:
    """1 or -1 where the whole interval lies on that side of 0, 0 where it does not, or None."""
    low, high = summary["low"], summary["high"]
    if low is None or high is None:
        return None
    return int(low > 0) - int(high < 0)
