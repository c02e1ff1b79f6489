"""The commands `dsa prove` and `dsa audit`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dsa_env.errors import DSAError

if TYPE_CHECKING:
    from dsa_env.logic.audit import Audit
    from dsa_env.logic.disambiguate import Disambiguation, Judged, Verdicts

NO_Z3 = 'Not checked by z3: it is not installed; pip install "dsa-env[logic]".'
LISTED = 20
"""How many contradicted labels `dsa audit` names."""


def prove(
    text: Annotated[str, typer.Argument(help='Such as "the red cube left of the ball".')],
    scene: Annotated[
        Path, typer.Option(help="A scene, or a file of scenes, in the CLEVR v1.0 format.")
    ],
    index: Annotated[int, typer.Option(help="Which scene of the file, counted from 0.")] = 0,
    use_lean: Annotated[
        bool, typer.Option("--lean/--no-lean", help="Let Lean, where it is found, check.")
    ] = True,
    timeout: Annotated[
        float | None, typer.Option(help="Seconds Lean may take; by default some minutes.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Find every reading of a text, and prove which of them denote on a scene."""
    from dsa_env.logic.disambiguate import as_json as document
    from dsa_env.logic.disambiguate import disambiguate
    from dsa_env.logic.scene_graph import SceneGraph

    _positive(timeout)
    graph = SceneGraph.of(read_scene(scene, index))
    found = disambiguate(text, graph, with_lean=use_lean, timeout=timeout)
    if as_json:
        typer.echo(json.dumps(document(found), indent=2, ensure_ascii=False))
        return
    for line in describe(found):
        typer.echo(line)


def audit(
    bank: Annotated[
        str,
        typer.Argument(
            help="A bank's folder, 'embedded', or a folder of scenes in the CLEVR v1.0 format."
        ),
    ],
    sample: Annotated[int, typer.Option(help="Captions whose labels are proved.")] = 100,
    scenes: Annotated[
        Path | None,
        typer.Option(help="The bank's scenes file, where it does not lie by its pictures."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the sample and of its negatives.")] = 0,
    use_lean: Annotated[
        bool, typer.Option("--lean/--no-lean", help="Let Lean, where it is found, check.")
    ] = True,
    timeout: Annotated[float | None, typer.Option(help="Seconds a Lean process may take.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Prove captions' labels true, and negatives false, on the scenes behind them."""
    from dsa_env.logic.audit import audit as run
    from dsa_env.logic.labels import read_labels

    _positive(timeout)
    if sample < 1:
        raise DSAError(f"--sample must be at least 1, not {sample}.")
    labels = read_labels(bank, scenes, seed)
    found = run(labels, sample, seed=seed, with_lean=use_lean, timeout=timeout)
    if as_json:
        typer.echo(json.dumps(found.to_json(), indent=2, ensure_ascii=False))
    else:
        for line in summarise(found):
            typer.echo(line)
    if found.disagreements:
        raise typer.Exit(1)


def read_scene(path: Path, index: int = 0) -> dict[str, Any]:
    """One scene of a JSON file that holds a scene, or a list of them under "scenes".

    Raises:
        DSAError: if the file is missing, is neither, or has no scene of that number.
    """
    from dsa_env.files import read_json

    document = read_json(path)
    if isinstance(document, dict) and isinstance(document.get("scenes"), list):
        scenes = document["scenes"]
    elif isinstance(document, dict) and "objects" in document:
        scenes = [document]
    else:
        raise DSAError(
            f"{path} holds no scene: a CLEVR v1.0 file has a list under 'scenes', one scene "
            "'objects' and 'relationships'."
        )
    if not 0 <= index < len(scenes):
        raise DSAError(f"{path} has {len(scenes)} scenes and no number {index}; count from 0.")
    scene = scenes[index]
    if not isinstance(scene, dict):
        raise DSAError(f"{path}: scene {index} is no JSON object; it is not CLEVR v1.0.")
    return scene


def describe(found: Disambiguation) -> list[str]:
    """A disambiguation in lines to read."""
    readings = len(found.readings)
    lines = [f"{found.text!r} has {_number(readings, 'reading')}; on {found.scene}:"]
    for number, judged in enumerate(found.readings, 1):
        mark = "survives" if judged.survives else "fails"
        lines += ["", f"{number}. {judged.reading.text}   [{mark}]"]
        for one in judged.described:
            fits = ", ".join(one.names) or "no object"
            lines.append(f"   {one.text}: {fits}")
            lines.append(f"      exactly one: {_told(one.verdicts)}")
        lines.append(f"   true of the scene: {_told(judged.verdicts)}")
    lines += ["", _outcome(found)]
    if any(judged.verdicts.z3 not in ("true", "false") for judged in found.readings):
        lines.append(NO_Z3)
    if found.lean:
        lines.append(f"Not checked by Lean: {found.lean}.")
    else:
        lines.append(f"Lean checked every certificate, in {found.lean_seconds:.1f} s.")
    return lines


def summarise(found: Audit) -> list[str]:
    """An audit in lines to read."""
    total = sum(found.labels.values())
    lines = [
        f"{total:,} labels of {_number(found.captions, 'caption')} of {found.name}",
        "",
        f"{'label':<17}{'count':>8}{'executor':>10}{'z3':>8}{'Lean':>8}",
    ]
    for group, count in found.labels.items():
        engines = [
            "-" if engine is None else f"{engine[group]:,}"
            for engine in (found.executor, found.z3, found.lean)
        ]
        lines.append(f"{group:<17}{count:>8,}{engines[0]:>10}{engines[1]:>8}{engines[2]:>8}")
    lines.append("")
    for wrong in found.disagreements[:LISTED]:
        label = wrong.label
        lines.append(
            f"{label.picture}: {label.fact!r} is labelled {str(label.value).lower()}; executor "
            f"{wrong.executor}, z3 {wrong.z3}, Lean: {wrong.lean}"
        )
    if len(found.disagreements) > LISTED:
        lines.append(f"... and {len(found.disagreements) - LISTED:,} more")
    missing = [name for name, engine in (("z3", found.z3), ("Lean", found.lean)) if engine is None]
    engines_said = [n for n in ("executor", "z3", "Lean") if n not in missing]
    if found.disagreements:
        lines.append(f"{len(found.disagreements):,} of {total:,} labels are contradicted.")
    else:
        *others, last = engines_said
        who = f"{', '.join(others)} and {last} confirm" if others else f"{last} confirms"
        lines.append(f"{who[0].upper()}{who[1:]} all {total:,} labels.")
    if found.z3 is None:
        lines.append(NO_Z3)
    if found.lean_reason:
        lines.append(f"Not checked by Lean: {found.lean_reason}.")
    elif found.lean is not None:
        lines.append(f"Lean took {found.lean_seconds:.1f} s.")
    return lines


def _outcome(found: Disambiguation) -> str:
    survivors = found.survivors
    if found.outcome == "failing":
        return "Failing: no reading survives on this scene."
    objects = "; ".join(dict.fromkeys(map(_objects, survivors)))
    if found.outcome == "resolved":
        number = 1 + found.readings.index(survivors[0])
        return f"Resolved: reading {number} alone survives: {objects}."
    same = len(set(map(_objects, survivors))) == 1
    note = "they name the same objects" if same else "they name different objects"
    return f"Ambiguous: {len(survivors)} readings survive, and {note}: {objects}."


def _objects(judged: Judged) -> str:
    names = dict.fromkeys(name for one in judged.described for name in one.names)
    return ", ".join(names) or "it names no object in particular"


def _told(verdicts: Verdicts) -> str:
    words = f"executor {verdicts.executor}, z3 {verdicts.z3}, Lean: {verdicts.lean}"
    if verdicts.proved:
        return f"{words} -> proved {verdicts.executor}"
    return words if verdicts.agree else f"{words} -> THE ENGINES DISAGREE"


def _number(count: int, thing: str) -> str:
    return f"{count:,} {thing}" + ("" if count == 1 else "s")


def _positive(timeout: float | None) -> None:
    if timeout is not None and not timeout > 0:
        raise DSAError(f"--timeout must be above 0 seconds, not {timeout}.")
