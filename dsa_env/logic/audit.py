"""An audit of labels: what captions assert is proved true or false on scenes, by three engines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from dsa_env.errors import DSAError
from dsa_env.logic import lean
from dsa_env.logic.evaluate import holds
from dsa_env.logic.formulas import Sentence
from dsa_env.logic.labels import Labels
from dsa_env.logic.parser import parse
from dsa_env.logic.to_lean import Claim
from dsa_env.progress import track

GROUPS = ("asserted", "negative", "elsewhere true", "elsewhere false")
"""Facts a caption asserts of its own scene; a false fact of the same scene for each; and what the
labels say of the caption's facts on another scene, which is what a wrong retrieval is charged."""
BATCH = 1000
"""Claims a Lean process."""
TRIES = 20
"""How often a negative that the labels call true is drawn again."""


@dataclass(frozen=True)
class Label:
    """One label: a fact is true or false of a picture.

    Attributes:
        group: one of `GROUPS`.
        picture: the picture's name.
        fact: the fact in words.
        value: what the label says.
    """

    group: str
    picture: str
    fact: str
    value: bool


@dataclass(frozen=True)
class Disagreement:
    """A label that an engine contradicts.

    Attributes:
        label: the label.
        executor: what the executor says.
        z3: what z3 says; None where it was not asked.
        lean: Lean's verdict on the label's certificate.
    """

    label: Label
    executor: bool
    z3: bool | None
    lean: str


@dataclass(frozen=True)
class Audit:
    """What an audit found.

    Attributes:
        name: whose labels.
        captions: how many captions were sampled.
        labels: labels by group.
        executor: how many of them the executor confirms, by group.
        z3: how many z3 proves; None without z3.
        lean: for how many Lean accepted the certificate; None where it was not asked.
        lean_reason: why Lean did not check something, or None.
        lean_seconds: what Lean took.
        disagreements: every label that an engine contradicts.
    """

    name: str
    captions: int
    labels: dict[str, int]
    executor: dict[str, int]
    z3: dict[str, int] | None
    lean: dict[str, int] | None
    lean_reason: str | None
    lean_seconds: float
    disagreements: tuple[Disagreement, ...]

    def to_json(self) -> dict[str, Any]:
        """The audit as `dsa audit --json` prints it."""
        return asdict(self)


def audit(
    labels: Labels,
    sample: int,
    *,
    seed: int = 0,
    with_lean: bool = True,
    timeout: float | None = None,
) -> Audit:
    """Prove a sample of captions' labels true, or false, on the scene graphs.

    Args:
        labels: `dsa_env.logic.labels.read_labels`.
        sample: captions; all of them where there are fewer.
        seed: of the sample and its negatives.
        with_lean: whether Lean, where it is found, checks a certificate of every label.
        timeout: seconds a Lean process may take.

    Raises:
        DSAError: for a sample below 1, no captions, a fact that the grammar cannot read or reads
            in several ways, or scenes that lack what a fact needs.
    """
    if sample < 1:
        raise DSAError(f"sample must be at least 1, not {sample}.")
    drawn, captions = draw(labels, sample, seed)
    graphs = labels.scenes({label.picture for label in drawn})
    claims = [
        Claim(f"label{number}", graphs[label.picture], meaning(label.fact), label.value)
        for number, label in enumerate(drawn)
    ]
    executed = [holds(claim.formula, claim.graph) for claim in claims]
    solved = _solve(claims)
    told: dict[str, str] = {}
    reason: str | None = "it was not asked to" if not with_lean else None
    seconds = 0.0
    if with_lean:
        told, reason, seconds = _certify(claims, timeout)
    verdicts = [told.get(claim.name, lean.NOT_CHECKED) for claim in claims]
    z3 = solved if solved is not None else [None] * len(claims)
    wrong = tuple(
        Disagreement(label, mine, theirs, verdict)
        for label, mine, theirs, verdict in zip(drawn, executed, z3, verdicts, strict=True)
        if mine != label.value or theirs not in (label.value, None) or verdict == lean.REJECTED
    )

    def tally(right: Sequence[bool]) -> dict[str, int]:
        return {
            group: sum(ok for label, ok in zip(drawn, right, strict=True) if label.group == group)
            for group in GROUPS
        }

    def agreeing(said: Sequence[bool | None]) -> dict[str, int]:
        return tally([one == label.value for one, label in zip(said, drawn, strict=True)])

    checked = any(verdict != lean.NOT_CHECKED for verdict in verdicts)
    return Audit(
        labels.name,
        captions,
        tally([True] * len(drawn)),
        agreeing(executed),
        agreeing(solved) if solved is not None else None,
        tally([verdict == lean.ACCEPTED for verdict in verdicts]) if checked else None,
        reason,
        seconds,
        wrong,
    )


def draw(labels: Labels, sample: int, seed: int) -> tuple[list[Label], int]:
    """The labels of a sample of captions, and how many captions those are."""
    rng = np.random.default_rng([seed, 7])
    if not labels.captions:
        raise DSAError(f"{labels.name} has no captions; there is nothing to audit.")
    chosen = rng.permutation(len(labels.captions))[:sample]
    found: dict[Label, None] = {}
    for index in chosen:
        _, own, facts = labels.captions[index]
        holding = labels.holding(own)
        other = labels.pictures[int(rng.integers(len(labels.pictures)))]
        elsewhere = labels.holding(other)
        for fact in facts:
            found[Label("asserted", own, fact, True)] = None
            false = _negative(labels.facts, holding, rng)
            if false is not None:
                found[Label("negative", own, false, False)] = None
            if other != own:
                true = fact in elsewhere
                group = f"elsewhere {str(true).lower()}"
                found[Label(group, other, fact, true)] = None
    return list(found), len(chosen)


def _negative(facts: Sequence[str], holding: set[str], rng: np.random.Generator) -> str | None:
    for _ in range(TRIES):
        fact = facts[int(rng.integers(len(facts)))]
        if fact not in holding:
            return fact
    return None


@lru_cache(maxsize=100_000)
def meaning(fact: str) -> Sentence:
    """The one reading of a fact.

    Raises:
        DSAError: when it cannot be read, or in several ways.
    """
    try:
        readings = parse(fact)
    except DSAError as error:
        raise DSAError(
            f"The fact {fact!r} is not about a scene graph, which an audit needs. {error}"
        ) from None
    if len(readings) != 1:
        raise DSAError(f"The fact {fact!r} has {len(readings)} readings; a fact should have one.")
    return readings[0].sentence


def _solve(claims: Sequence[Claim]) -> list[bool] | None:
    """What z3 says of every claim's sentence; None without z3."""
    try:
        from dsa_env.logic.to_z3 import Prover

        provers: dict[int, Prover] = {}
        found = []
        for claim in track(claims, "z3"):
            key = id(claim.graph)
            if key not in provers:
                provers[key] = Prover(claim.graph)
            found.append(provers[key].decide(claim.formula))
    except ModuleNotFoundError:
        return None
    return found


def _certify(
    claims: Sequence[Claim], timeout: float | None
) -> tuple[dict[str, str], str | None, float]:
    told: dict[str, str] = {}
    reason, seconds = None, 0.0
    starts = range(0, len(claims), BATCH)
    for start in track(starts, "Lean") if len(starts) > 1 else starts:
        report = lean.check(claims[start : start + BATCH], timeout)
        told.update(report.verdicts)
        seconds += report.seconds
        reason = reason or report.reason
        if report.reason and lean.ACCEPTED not in report.verdicts.values():
            break  # it is missing, or fails for a reason that the next file would meet too
    return told, reason, seconds
