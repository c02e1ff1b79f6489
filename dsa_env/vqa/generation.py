"""Questions on scenes, answered by executing their programs and balanced by answer."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dsa_env.datasets.clevr import DISK_SPLITS, scenes_file, stream_scenes
from dsa_env.datasets.clevr_questions import Step, questions_file
from dsa_env.datasets.scenes import Scene
from dsa_env.errors import DSAError
from dsa_env.files import write_json
from dsa_env.logic.programs import ProgramError, as_answer, as_records, trace
from dsa_env.logic.scene_graph import SceneGraph
from dsa_env.progress import track
from dsa_env.vqa.templates import FAMILIES, TEMPLATES

TRIES = 2  # drafts of each template a picture; those that ask nothing are dropped


@dataclass(frozen=True)
class Written:
    """One question with its answer.

    Attributes:
        scene: the scene's number in what was given.
        template: number in `TEMPLATES`.
        text: the question.
        program: the steps that answer it.
        answer: what executing them gives.
    """

    scene: int
    template: int
    text: str
    program: tuple[Step, ...]
    answer: str


def write_about(graph: SceneGraph, scene: int, rng: np.random.Generator) -> list[Written]:
    """Questions about one scene by every template that has something to ask there."""
    found, seen = [], set()
    for number, template in enumerate(TEMPLATES):
        for _ in range(TRIES):
            draft = template.write(graph, rng)
            if draft is None or draft.text in seen:
                continue
            try:
                answer = as_answer(trace(draft.program, graph)[-1])
            except ProgramError:  # relationships of hand-made scenes may contradict each other
                continue
            seen.add(draft.text)
            found.append(Written(scene, number, draft.text, draft.program, answer))
    return found


def generate_questions(
    scenes: Iterable[Scene], *, per_image: int = 10, seed: int = 0
) -> list[Written]:
    """Questions about scenes: every family as often, every answer of a template about as often.

    Within a template no answer is kept more often than the second most frequent one can be, so
    that always giving one answer does not win: yes and no come equally often. What a template
    cannot fill (a rare answer) is left out, so there are up to `per_image` questions a picture on
    average. The same scenes and seed give the same questions.

    Args:
        scenes: CLEVR v1.0 scenes, with at least one object each to be asked about.
        per_image: questions a picture, on average and at most.
        seed: of the drafts and of which are kept.

    Returns:
        The questions, ordered by scene and template.

    Raises:
        DSAError: for `per_image` below 1, scenes that are none, or scenes that allow no question.
    """
    if per_image < 1:
        raise DSAError(f"per_image must be at least 1, not {per_image}")
    groups: dict[int, dict[str, list[Written]]] = defaultdict(lambda: defaultdict(list))
    count = 0
    for number, scene in enumerate(scenes):
        graph, count = SceneGraph.of(scene), number + 1
        if not len(graph):
            continue
        rng = np.random.default_rng([seed, number, *graph.name.encode()])
        for written in write_about(graph, number, rng):
            groups[written.template][written.answer].append(written)
    rng = np.random.default_rng([seed, count])
    templates_of = {f: sum(t.family == f for t in TEMPLATES) for f in FAMILIES}
    kept: list[Written] = []
    for template in sorted(groups):
        share = count * per_image / len(FAMILIES) / templates_of[TEMPLATES[template].family]
        kept += _balanced(groups[template], max(1, round(share)), rng)
    if not kept:
        raise DSAError(
            "These scenes allow no balanced questions; give more of them, with several objects."
        )
    return sorted(kept, key=lambda w: (w.scene, w.template, w.text))


def _balanced(
    by_answer: dict[str, list[Written]], most: int, rng: np.random.Generator
) -> list[Written]:
    """Up to `most` questions, of every answer at most as many as of the second most frequent."""
    if len(by_answer) < 2:
        return []
    available = sorted(len(group) for group in by_answer.values())
    level = min(available[-2], _level(available, most))
    kept = []
    for answer in sorted(by_answer):
        group = by_answer[answer]
        size = min(level, len(group))
        kept += [group[i] for i in np.sort(rng.permutation(len(group))[:size])]
    return kept


def _level(available: Sequence[int], most: int) -> int:
    """The largest level with sum(min(available, level)) <= most, at least 1."""
    left = most
    for place, size in enumerate(sorted(available)):
        even = left // (len(available) - place)
        if size > even:
            return max(1, even)
        left -= size
    return max(available)


def as_document(
    written: Sequence[Written], scenes: Sequence[Scene], split: str, seed: int
) -> dict[str, Any]:
    """Questions in the layout of the official `CLEVR_{split}_questions.json`."""
    info = {
        "split": split,
        "version": "1.0",
        "license": "as the scenes'",
        "description": "questions by dsa-env, in the CLEVR v1.0 format",
        "seed": seed,
    }
    questions = [
        {
            "question_index": place,
            "split": split,
            "image_index": int(scenes[w.scene]["image_index"]),
            "image_filename": str(scenes[w.scene]["image_filename"]),
            "question": w.text,
            "answer": w.answer,
            "program": as_records(w.program),
            "question_family_index": w.template,
        }
        for place, w in enumerate(written)
    ]
    return {"info": info, "questions": questions}


def write_questions(
    root: Path,
    split: str,
    *,
    out: Path | None = None,
    images: int | None = None,
    per_image: int = 10,
    seed: int = 0,
) -> Path:
    """Write questions about the scenes of a CLEVR-format folder, in the official layout.

    The file is `questions/CLEVR_{split}_questions.json`;
    `dsa_env.datasets.clevr_questions.read_questions` reads it. Every question stays in its
    picture's split.

    Args:
        root: folder with `scenes/CLEVR_{split}_scenes.json`.
        split: "train", "validation" (on disk: val), "test" or "pretrain".
        out: folder below which `questions/` is written; `root` by default.
        images: take this many of the scenes, the first ones; None for all.
        per_image: questions a picture, on average and at most.
        seed: of the questions.

    Returns:
        The file.

    Raises:
        DSAError: for a missing or malformed scenes file, or as `generate_questions` says.
    """
    name = DISK_SPLITS.get(split, split)
    scenes = []
    for scene in track(stream_scenes(scenes_file(Path(root), name)), f"questions, {split}", images):
        scenes.append(scene)
        if len(scenes) == images:
            break
    written = generate_questions(scenes, per_image=per_image, seed=seed)
    folder = Path(root) if out is None else Path(out)
    file = folder / "questions" / questions_file(folder, name).name
    write_json(file, as_document(written, scenes, name, seed))
    return file
