"""Which readings of a text a scene leaves standing, and what three engines say of each.

A reading survives on a scene when each of its definite descriptions denotes exactly one object; one
without any survives when it is true. One survivor: the text is "resolved"; several: "ambiguous";
none: "failing".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from dsa_env.logic import lean
from dsa_env.logic.evaluate import denotation, holds
from dsa_env.logic.formulas import THE, Property, Quantified
from dsa_env.logic.parser import Reading, parse
from dsa_env.logic.phrases import noun_phrase
from dsa_env.logic.scene_graph import SceneGraph
from dsa_env.logic.to_lean import Claim
from dsa_env.logic.words import vocabulary

RESOLVED, AMBIGUOUS, FAILING = "resolved", "ambiguous", "failing"
TRUE, FALSE = "true", "false"


@dataclass(frozen=True)
class Verdicts:
    """What the three engines say of one claim.

    Attributes:
        executor: "true" or "false".
        z3: "true", "false" or "not checked by z3".
        lean: "accepted" or "rejected" (the certificate of what the executor says), or
            "not checked by Lean".
    """

    executor: str
    z3: str
    lean: str = lean.NOT_CHECKED

    @property
    def agree(self) -> bool:
        """Whether no engine contradicts another; one that did not check contradicts none."""
        return self.z3 in (self.executor, NO_Z3) and self.lean != lean.REJECTED

    @property
    def proved(self) -> bool:
        """Whether all three engines say the same."""
        return self.z3 == self.executor and self.lean == lean.ACCEPTED


NO_Z3 = "not checked by z3"


@dataclass(frozen=True)
class Described:
    """One definite description on a scene.

    Attributes:
        text: the description.
        objects: numbers of the objects that it fits.
        names: the objects by name.
        verdicts: on the claim that it fits exactly one object.
    """

    text: str
    objects: tuple[int, ...]
    names: tuple[str, ...]
    verdicts: Verdicts


@dataclass(frozen=True)
class Judged:
    """One reading on a scene.

    Attributes:
        reading: the reading.
        survives: as the module says.
        described: its definite descriptions, outermost first.
        verdicts: on the claim that its sentence is true.
    """

    reading: Reading
    survives: bool
    described: tuple[Described, ...]
    verdicts: Verdicts


@dataclass(frozen=True)
class Disambiguation:
    """A text on a scene.

    Attributes:
        text: the text.
        scene: the scene's name.
        outcome: "resolved", "ambiguous" or "failing".
        readings: all of them, judged.
        lean: why Lean did not check something, or None.
        lean_seconds: what its process took.
    """

    text: str
    scene: str
    outcome: str
    readings: tuple[Judged, ...]
    lean: str | None
    lean_seconds: float

    @property
    def survivors(self) -> tuple[Judged, ...]:
        """The readings that the scene leaves standing."""
        return tuple(judged for judged in self.readings if judged.survives)


def disambiguate(
    text: str, graph: SceneGraph, *, with_lean: bool = True, timeout: float | None = None
) -> Disambiguation:
    """All readings of a text on a scene, each judged by the executor, z3 and Lean.

    Args:
        text: a description, a caption or a sentence.
        graph: the scene.
        with_lean: whether Lean, where it is found, checks the certificates.
        timeout: seconds Lean may take.

    Raises:
        DSAError: for a text that cannot be read, or one that needs what the scene does not tell.
    """
    readings = parse(text, vocabulary(graph))
    claims: list[Claim] = []
    for number, reading in enumerate(readings, 1):
        truth = holds(reading.sentence, graph)
        claims.append(Claim(f"reading{number}", graph, reading.sentence, truth))
        for part, description in enumerate(reading.descriptions, 1):
            size = len(denotation(description, graph))
            name = f"{'unique' if size == 1 else 'count'}{number}_{part}"
            claims.append(Claim(name, graph, description, size))
    report = lean.check(claims, timeout) if with_lean else None
    told = report.verdicts if report else {}
    decided = _z3(claims, graph)
    judged = []
    at = 0
    for reading in readings:
        own = claims[at : at + 1 + len(reading.descriptions)]
        at += len(own)
        described = tuple(
            _described(c.formula, graph, _verdicts(c, decided, told)) for c in own[1:]
        )
        verdicts = _verdicts(own[0], decided, told)
        survives = all(len(d.objects) == 1 for d in described)
        if not described:
            survives = verdicts.executor == TRUE
        judged.append(Judged(reading, survives, described, verdicts))
    standing = sum(one.survives for one in judged)
    outcome = RESOLVED if standing == 1 else AMBIGUOUS if standing else FAILING
    reason = report.reason if report else "it was not asked to"
    seconds = report.seconds if report else 0.0
    return Disambiguation(text, graph.name, outcome, tuple(judged), reason, seconds)


def name_object(graph: SceneGraph, index: int) -> str:
    """An object by number and attributes, such as "object 3 (small red metal cube)"."""
    order = ("size", "color", "material", "shape")
    return f"object {index} ({' '.join(graph.value(name, index) for name in order)})"


def _described(formula: Property, graph: SceneGraph, verdicts: Verdicts) -> Described:
    objects = tuple(sorted(denotation(formula, graph)))
    names = tuple(name_object(graph, index) for index in objects)
    return Described(noun_phrase(THE, formula), objects, names, verdicts)


def _verdicts(claim: Claim, decided: dict[str, bool], told: dict[str, str]) -> Verdicts:
    truth = claim.value if isinstance(claim.value, bool) else claim.value == 1
    z3 = NO_Z3 if claim.name not in decided else TRUE if decided[claim.name] else FALSE
    return Verdicts(TRUE if truth else FALSE, z3, told.get(claim.name, lean.NOT_CHECKED))


def _z3(claims: Sequence[Claim], graph: SceneGraph) -> dict[str, bool]:
    """What z3 decides: whether sentences are true, and descriptions fit exactly one object."""
    try:
        from dsa_env.logic.to_z3 import Prover

        prover = Prover(graph)
    except ModuleNotFoundError:
        return {}
    found = {}
    for claim in claims:
        counted = not isinstance(claim.value, bool)
        asked: Any = Quantified(THE, claim.formula) if counted else claim.formula
        found[claim.name] = prover.decide(asked)
    return found


def as_json(found: Disambiguation) -> dict[str, Any]:
    """A disambiguation as `dsa prove --json` prints it."""
    return {
        "text": found.text,
        "scene": found.scene,
        "outcome": found.outcome,
        "readings": [
            {
                "text": judged.reading.text,
                "survives": judged.survives,
                "holds": vars(judged.verdicts),
                "descriptions": [
                    {
                        "text": one.text,
                        "objects": list(one.objects),
                        "names": list(one.names),
                        "denotes_one": vars(one.verdicts),
                    }
                    for one in judged.described
                ],
            }
            for judged in found.readings
        ],
        "lean": found.lean,
        "lean_seconds": round(found.lean_seconds, 3),
    }
