"""What a captioner is taught: captions whose detail follows a granularity, simple questions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dsa_env.datasets.captions import (
    PLACES,
    Caption,
    compose_scene,
    describe,
    join,
    scene_facts,
)
from dsa_env.datasets.scenes import Scene
from dsa_env.vqa.generation import generate_questions
from dsa_env.vqa.templates import TEMPLATES

DESCRIBE, DETAILED = "describe the picture", "describe the picture in detail"
PROMPTS = (DESCRIBE, DETAILED)
ALL = (True, True, True)
ASKED = ("exist", "count", "query")
"""The families of questions that are simple."""


@dataclass(frozen=True)
class Level:
    """What a caption of one level of detail tells.

    Attributes:
        objects: how many objects at most, each with all its attributes.
        properties: which of the scene's properties.
    """

    objects: int
    properties: tuple[str, ...]


SCENE = Level(0, ("floor", "light", "crowdedness", "dominant_color"))
LEVELS = {
    DESCRIBE: (SCENE, Level(2, ("floor", "crowdedness")), Level(3, ("floor",))),
    DETAILED: (SCENE, Level(3, ("floor", "crowdedness")), Level(4, ("floor",))),
}
"""Equal shares of [0, 1]: the scene as a whole, objects in it, then more objects in less of it.

Which level serves a picture best depends on the picture. Scenes tell crowded pictures and those of
a dominant colour from others, and say little that is false of them; objects tell pictures of few
objects, and are seen wrongly where they stand close. The layout is not told, since the features
that judge captions hardly hold it.
"""


def level_of(prompt: str, g: float) -> Level:
    """The level of detail of granularity g in [0, 1]; `KeyError` for an unknown prompt."""
    levels = LEVELS[prompt]
    return levels[min(int(g * len(levels)), len(levels) - 1)]


def graded_caption(
    scene: Scene, g: float, prompt: str = DESCRIBE, told_of_objects: Sequence[bool] = ALL
) -> Caption:
    """What a scene's caption should say at a granularity; without any chance.

    Objects are told from the front to the back of the scene.

    Args:
        scene: a scene graph of the embedded world.
        g: granularity in [0, 1].
        prompt: one of `PROMPTS`.
        told_of_objects: whether their size, color and material are.
    """
    level = level_of(prompt, g)
    facts = scene_facts(scene)
    told = {name: facts[name] for name in level.properties if name in facts}
    if not level.objects:
        return Caption(compose_scene(told), "scene", tuple(told.values()))
    depth = [item["3d_coords"][1] for item in scene["objects"]]
    chosen = [int(i) for i in np.argsort(depth, kind="stable")[: level.objects]]
    size, color, material = told_of_objects
    phrases = [
        describe(scene["objects"][i], size=size, color=color, material=material) for i in chosen
    ]
    places = [f"{PLACES[name]} {fact}" for name, fact in told.items()]
    asserted = (*dict.fromkeys(phrases), *told.values())
    kind = "mixed" if places else "object"
    return Caption(" ".join([join(phrases), *places]), kind, asserted, tuple(chosen))


def questions_about(scenes: Sequence[Scene], seed: int = 0) -> list[list[tuple[str, str]]]:
    """Simple questions about each scene with their answers, balanced by answer."""
    asked: list[list[tuple[str, str]]] = [[] for _ in scenes]
    for written in generate_questions(scenes, per_image=6, seed=seed):
        if TEMPLATES[written.template].family in ASKED:
            asked[written.scene].append((written.text, written.answer))
    return asked
