"""Contenders timed in turns, rows with a goal, and the machine that they ran on."""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from importlib import metadata
from typing import Any

LIBRARIES = (
    "dsa-env", "gymnasium", "envpool", "stable-baselines3", "sbx-rl", "numpy", "numba", "torch",
    "jax",
)  # fmt: skip
WARM_UP = 2
"""Rounds that do not count."""


@dataclass(frozen=True)
class Contender:
    """What is timed.

    Attributes:
        run: does some work and returns how many steps (or whatever is counted) it was.
        seconds: how long one round lasts at least; `run` is called until then.
    """

    run: Callable[[], int]
    seconds: float = 0.1


@dataclass(frozen=True)
class Row:
    """One line of the table: something of ours beside a peer, and the goal for their ratio.

    Attributes:
        title: what is compared.
        ours: median of our rounds, in `unit`.
        peer: median of the peer's.
        unit: of both.
        ratio: median over the rounds of ours / peer (peer / ours where less is better).
        goal: the ratio to reach; None for a row without one.
        spread: first and third quartile of the rounds' ratios.
        note: what one must know to read it.
    """

    title: str
    ours: float
    peer: float
    unit: str
    ratio: float
    goal: float | None = None
    spread: tuple[float, float] | None = None
    note: str = ""
    at_most: bool = False

    @property
    def met(self) -> bool | None:
        """Whether the goal is reached; None without one."""
        if self.goal is None:
            return None
        return self.ratio <= self.goal if self.at_most else self.ratio >= self.goal


@dataclass
class Rounds:
    """Rates (per second) of several contenders, one a round each, taken in turns."""

    rates: dict[str, list[float]] = field(default_factory=dict)

    def median(self, name: str) -> float:
        """Median rate of a contender."""
        return statistics.median(self.rates[name])

    def row(self, title: str, ours: str, peer: str, goal: float | None, **more: Any) -> Row:
        """Ours beside the peer, by the ratio within each round."""
        ratios = [a / b for a, b in zip(self.rates[ours], self.rates[peer], strict=True)]
        low, _, high = statistics.quantiles(ratios, n=4)
        middle = statistics.median(ratios)
        more = {"unit": "steps/s", **more}
        return Row(
            title, self.median(ours), self.median(peer), ratio=middle, goal=goal,
            spread=(low, high), **more,
        )  # fmt: skip


def in_turns(contenders: dict[str, Contender], rounds: int) -> Rounds:
    """Time the contenders one after the other, `rounds` times, after `WARM_UP` rounds that warm.

    What slows the machine down for a while so meets all of them, and their ratio stays.
    """
    result = Rounds({name: [] for name in contenders})
    for turn in range(rounds + WARM_UP):
        for name, contender in contenders.items():
            count, started = 0, time.perf_counter()
            while not count or (passed := time.perf_counter() - started) < contender.seconds:
                count += contender.run()
            if turn >= WARM_UP:
                result.rates[name].append(count / passed)
    return result


def cycle(items: Iterable[Any]) -> Callable[[], Any]:
    """A function that gives the next of the items at each call, around and around."""
    kept, place = list(items), [-1]

    def following() -> Any:
        place[0] = (place[0] + 1) % len(kept)
        return kept[place[0]]

    return following


def machine() -> dict[str, Any]:
    """Processor, cores, memory, Python and the versions of what is compared."""
    about: dict[str, Any] = {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": f"{platform.system()} {platform.release().split('-')[0]}",
        "python": platform.python_version(),
    }
    for name in LIBRARIES:
        try:
            about[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            about[name] = "not installed"
    return about


def _processor() -> str:
    """The processor's name, and whether it has AVX-512."""
    try:
        with open("/proc/cpuinfo") as file:
            lines = [line.partition(":") for line in file]
    except OSError:
        return platform.processor() or "unknown"
    facts = {key.strip(): value.strip() for key, _, value in reversed(lines)}
    extra = " with AVX-512" if "avx512f" in facts.get("flags", "") else ""
    return facts.get("model name", "unknown") + extra
