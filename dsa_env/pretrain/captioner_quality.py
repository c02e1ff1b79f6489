"""What the embedded captioner can do on pictures that it was not trained on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dsa_env.captioning.captioner import Captioner
from dsa_env.captioning.written import read_picture
from dsa_env.datasets.caption_facts import read_facts
from dsa_env.datasets.captions import true_facts
from dsa_env.datasets.scenes import Scene
from dsa_env.pretrain.lessons import DESCRIBE, questions_about

GRANULARITIES = (0.0, 0.25, 0.5, 0.75, 1.0)
BATCH = 100


def captioner_quality(
    folder: Path, scenes: Sequence[Scene], files: Sequence[Path]
) -> dict[str, float]:
    """Truth of the captions by granularity, and accuracy of the answers at g = 1.

    Args:
        folder: the captioner's.
        scenes: scene graphs of held-out pictures.
        files: their pictures.

    Returns:
        "caption_unsupported@G", the share of asserted facts that do not hold, and
        "caption_facts@G", how many are asserted on average, for each of `GRANULARITIES`; and
        "answers_right".
    """
    captioner = Captioner.load(str(folder))
    found: dict[str, float] = {}
    for g in GRANULARITIES:
        wrong = total = 0
        captions = _answers(captioner, files, [DESCRIBE] * len(files), g)
        for scene, caption in zip(scenes, captions, strict=True):
            asserted = set(read_facts(caption))
            wrong += len(asserted - true_facts(scene))
            total += len(asserted)
        found[f"caption_unsupported@{g:g}"] = round(wrong / max(total, 1), 4)
        found[f"caption_facts@{g:g}"] = round(total / len(scenes), 2)
    questions = questions_about(scenes)
    asked = [(n, *told) for n, about in enumerate(questions) for told in about[:1]]
    where = [files[n] for n, _, _ in asked]
    answers = _answers(captioner, where, [question for _, question, _ in asked], 1.0)
    right = [answer == told for answer, (_, _, told) in zip(answers, asked, strict=True)]
    found["answers_right"] = round(float(np.mean(right)), 4) if right else float("nan")
    return found


def _answers(
    captioner: Captioner, files: Sequence[Path], prompts: Sequence[str], g: float
) -> list[str]:
    """Answers to one prompt a picture at granularity g."""
    answers: list[str] = []
    for start in range(0, len(files), BATCH):
        part = slice(start, start + BATCH)
        pictures = [read_picture(file) for file in files[part]]
        answers += captioner.captions(pictures, prompts[part], g)
    return answers
