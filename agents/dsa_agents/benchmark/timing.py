"""What the controller costs, measured side by side: interleaved rounds, medians, warm-up."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from dsa_agents.statistics import number

Floats = NDArray[np.float64]
Work = Callable[[], object]

WARM_UP = 2
ENOUGH = 5
"""Rounds, however long they take."""


def interleaved(
    work: Mapping[str, Work],
    rounds: int,
    *,
    fastest_of: int = 1,
    warm_up: int = WARM_UP,
    seconds: float = math.inf,
    seed: int = 0,
    synchronise: Callable[[], object] | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, Floats]:
    """Seconds [rounds] that each piece of work takes.

    Every round does all of them, in an order that is drawn anew, so that whatever else the machine
    does falls on all alike.

    Args:
        work: by name.
        rounds: that count, at most.
        fastest_of: runs of each piece in a round, one after the other; the fastest counts.
        warm_up: rounds before them that do not.
        seconds: after these no further round begins, once there are `ENOUGH`.
        seed: of the orders.
        synchronise: waits for a device to be done, before each look at the clock.
        clock: tells seconds.
    """
    rng, names = np.random.default_rng(seed), list(work)
    times: dict[str, list[float]] = {name: [] for name in names}
    wait = synchronise or (lambda: None)
    began = time.perf_counter()
    for turn in range(-warm_up, rounds):
        if turn >= ENOUGH and time.perf_counter() - began > seconds:
            break
        for at in rng.permutation(len(names)):
            found = min(_seconds(work[names[at]], wait, clock) for _ in range(fastest_of))
            if turn >= 0:
                times[names[at]].append(found)
    return {name: np.array(values) for name, values in times.items()}


def _seconds(work: Work, wait: Callable[[], object], clock: Callable[[], float]) -> float:
    wait()
    started = clock()
    work()
    wait()
    return clock() - started


def relative_cost(
    work: Floats, base: Floats, *, resamples: int = 2000, seed: int = 0
) -> dict[str, float | None]:
    """By how many per cent work takes longer than what it is measured beside.

    Returns:
        ``{"mean", "low", "high"}``: the median over the rounds of 100 (work / base - 1), each
        round's two times beside each other, and the interval of that median by resampling rounds.
    """
    ratio = 100 * (work / base - 1)
    low = high = float("nan")
    if len(ratio) > 1 and resamples > 0 and np.ptp(ratio) > 0:
        interval = stats.bootstrap(
            (ratio,),
            np.median,
            n_resamples=resamples,
            method="percentile",
            rng=np.random.default_rng(seed),
        ).confidence_interval
        low, high = float(interval.low), float(interval.high)
    return {"mean": number(float(np.median(ratio))), "low": number(low), "high": number(high)}


def milliseconds(times: Mapping[str, Floats]) -> dict[str, float]:
    """The median of each, in milliseconds."""
    return {name: 1e3 * float(np.median(values)) for name, values in times.items()}


def clock_of(device: Any) -> Callable[[], float]:
    """What tells the seconds of work on a torch device.

    On a processor, with one thread, those of this process: what other processes do on a busy
    machine does not count. Elsewhere the seconds that pass.
    """
    import torch

    return time.process_time if torch.device(device).type == "cpu" else time.perf_counter


def synchroniser(device: Any) -> Callable[[], object] | None:
    """What waits for a torch device; None for one that does not run ahead."""
    import torch

    kind = torch.device(device).type
    if kind == "cuda":
        return torch.cuda.synchronize
    return torch.mps.synchronize if kind == "mps" else None
