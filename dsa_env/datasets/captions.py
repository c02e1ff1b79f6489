"""Captions of four kinds for a scene graph, each with the facts that it asserts."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

from dsa_env.datasets.scenes import (
    COLORS,
    CROWDEDNESS,
    FLOORS,
    LAYOUTS,
    LIGHTS,
    Scene,
    crowdedness,
    dominant_color,
)

KINDS = ("scene", "object", "relation", "mixed")
KIND_SHARES = (0.30, 0.30, 0.25, 0.15)  # how often the embedded world asks for each
FACT_KINDS = ("scene", "object", "relation")
_COUNT_SHARES = (0.15, 0.4, 0.45)  # how often an object caption names one, two or three
RELATION_WORDS = {
    "left": "left of",
    "right": "right of",
    "front": "in front of",
    "behind": "behind",
}
PLACES = {"floor": "on", "light": "in", "crowdedness": "in"}
"""How objects stand in what is told of their scene, by property."""
_LAYOUT_FACTS = {
    layout: f"objects {'' if layout == 'scattered' else 'in a '}{layout}" for layout in LAYOUTS
} | {"two groups": "objects in two groups"}
SCENE_FACTS = frozenset(
    [
        *(f"a {floor} floor" for floor in FLOORS),
        *(f"{light} light" for light in LIGHTS),
        *_LAYOUT_FACTS.values(),
        *(f"a {word} scene" for word in CROWDEDNESS),
        *(f"mostly {color} objects" for color in COLORS),
    ]
)


@dataclass(frozen=True)
class Caption:
    """A caption and the facts that it asserts, each in canonical words.

    Attributes:
        text: the caption.
        kind: one of `KINDS` in the embedded world and CLEVR; "caption" or "region" elsewhere.
        facts: canonical facts such as "dog", "a wooden floor", "a small red metal cube" or
            "a red cube left of a blue sphere"; true of the picture it was written for.
        objects: indices of the objects that it names.
    """

    text: str
    kind: str = "caption"
    facts: tuple[str, ...] = ()
    objects: tuple[int, ...] = ()


def fact_kind(fact: str) -> str:
    """Which of `FACT_KINDS` a fact belongs to: the name of a thing is an "object" fact."""
    if any(f" {word} a " in fact for word in RELATION_WORDS.values()):
        return "relation"
    return "scene" if fact in SCENE_FACTS else "object"


def describe(item: dict[str, str], *, size: bool, color: bool, material: bool) -> str:
    """An object's noun phrase with the chosen attributes, such as "a small red metal cube"."""
    words = [
        item["size"] if size else "",
        item["color"] if color else "",
        item["material"] if material else "",
        item["shape"],
    ]
    return "a " + " ".join(word for word in words if word)


def scene_facts(scene: Scene) -> dict[str, str]:
    """The scene-level facts that hold, by property; the original CLEVR tells only two of them."""
    colors = [item["color"] for item in scene["objects"]]
    properties = scene.get("properties") or {
        "crowdedness": crowdedness(len(colors)),
        "dominant_color": dominant_color(colors),
    }
    facts = {}
    if "floor" in properties:
        facts["floor"] = f"a {properties['floor']} floor"
    if "light" in properties:
        facts["light"] = f"{properties['light']} light"
    if "layout" in properties and len(scene["objects"]) >= 3:
        facts["layout"] = _LAYOUT_FACTS[properties["layout"]]
    if "crowdedness" in properties:
        facts["crowdedness"] = f"a {properties['crowdedness']} scene"
    if properties.get("dominant_color"):
        facts["dominant_color"] = f"mostly {properties['dominant_color']} objects"
    return facts


def true_facts(scene: Scene) -> set[str]:
    """Every fact that a caption could assert and that holds of the scene."""
    facts = set(scene_facts(scene).values())
    objects = scene["objects"]
    for item in objects:
        for size, color, material in itertools.product((True, False), repeat=3):
            facts.add(describe(item, size=size, color=color, material=material))
    names = [describe(item, size=False, color=True, material=False) for item in objects]
    for relation, word in RELATION_WORDS.items():
        for i, others in enumerate(scene["relationships"][relation]):
            facts.update(f"{names[j]} {word} {names[i]}" for j in others)
    return facts


def _object_phrase(item: dict[str, str], rng: np.random.Generator, color: float = 0.95) -> str:
    """An object's description that keeps most attributes, `color` being the colour's chance."""
    keep = rng.random(3) < (0.9, color, 0.85)
    return describe(item, size=bool(keep[0]), color=bool(keep[1]), material=bool(keep[2]))


def join(parts: list[str]) -> str:
    """Phrases as an English list: commas between them, "and" before the last."""
    return parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + " and " + parts[-1]


def scene_caption(scene: Scene, rng: np.random.Generator) -> Caption:
    """A caption of the scene as a whole: two or more of its scene-level properties."""
    facts = scene_facts(scene)
    low = min(3, len(facts))
    chosen = [
        list(facts)[i] for i in rng.permutation(len(facts))[: rng.integers(low, len(facts) + 1)]
    ]
    told = {name: facts[name] for name in facts if name in chosen}
    return Caption(compose_scene(told), "scene", tuple(told.values()))


def compose_scene(told: dict[str, str]) -> str:
    """One sentence of scene-level facts by property."""
    head = told.get("crowdedness", "a scene")
    places = []
    if "floor" in told:
        places.append(f"on {told['floor']}")
    if "light" in told:
        places.append(f"in {told['light']}")
    things = [told[name] for name in ("layout", "dominant_color") if name in told]
    return " ".join([head, *places]) + (" with " + join(things) if things else "")


def object_caption(scene: Scene, rng: np.random.Generator, most: int = 3) -> Caption:
    """A caption of one to `most` objects, more often several, each with most attributes."""
    shares = np.array(_COUNT_SHARES[:most])
    drawn = 1 + int(rng.choice(most, p=shares / shares.sum()))
    count = min(len(scene["objects"]), drawn)
    chosen = [int(i) for i in rng.permutation(len(scene["objects"]))[:count]]
    phrases = [_object_phrase(scene["objects"][i], rng) for i in chosen]
    return Caption(join(phrases), "object", tuple(dict.fromkeys(phrases)), tuple(chosen))


def relation_caption(scene: Scene, rng: np.random.Generator) -> Caption | None:
    """A caption that relates two objects, or None where no two are clearly apart."""
    pairs = [
        (j, relation, i)
        for relation in RELATION_WORDS
        for i, others in enumerate(scene["relationships"][relation])
        for j in others
    ]
    if not pairs:
        return None
    subject, relation, anchor = pairs[rng.integers(len(pairs))]
    first, second = scene["objects"][subject], scene["objects"][anchor]
    word = RELATION_WORDS[relation]
    phrases = [_object_phrase(item, rng, color=1.0) for item in (first, second)]
    names = [describe(item, size=False, color=True, material=False) for item in (first, second)]
    facts = (*dict.fromkeys(phrases), f"{names[0]} {word} {names[1]}")
    return Caption(f"{phrases[0]} {word} {phrases[1]}", "relation", facts, (subject, anchor))


def mixed_caption(scene: Scene, rng: np.random.Generator) -> Caption:
    """A caption of one or two objects within the scene they stand in."""
    told = object_caption(scene, rng, most=2)
    facts = scene_facts(scene)
    places = [f"{word} {facts[name]}" for name, word in PLACES.items() if name in facts]
    count = int(rng.integers(1, 3))
    chosen = [places[i] for i in sorted(rng.permutation(len(places))[:count])]
    stated = tuple(place.split(" ", 1)[1] for place in chosen)
    text = " ".join([told.text, *chosen])
    return Caption(text, "mixed", told.facts + stated, told.objects)


def write_caption(scene: Scene, kind: str, rng: np.random.Generator) -> Caption:
    """One caption of the wanted kind; a lone object's relation becomes an object caption."""
    if kind == "scene":
        return scene_caption(scene, rng)
    if kind == "mixed":
        return mixed_caption(scene, rng)
    caption = relation_caption(scene, rng) if kind == "relation" else None
    return caption or object_caption(scene, rng)


def write_captions(scene: Scene, count: int, seed: int = 0) -> list[Caption]:
    """`count` captions of a scene, kinds drawn by `KIND_SHARES`, deterministic by seed."""
    rng = np.random.default_rng([seed, 1, scene["image_index"], *scene["split"].encode()])
    kinds = rng.choice(KINDS, count, p=KIND_SHARES)
    return [write_caption(scene, str(kind), rng) for kind in kinds]


def write_distinct_captions(scene: Scene, count: int, seed: int = 0) -> list[Caption]:
    """Up to `count` captions of a scene with different texts, otherwise like `write_captions`.

    The original CLEVR tells little of a scene as a whole, so the same sentence would often be
    written twice. Fewer are returned where `8 * count` draws hold no more.
    """
    rng = np.random.default_rng([seed, 1, scene["image_index"], *scene["split"].encode()])
    found: dict[str, Caption] = {}
    for kind in rng.choice(KINDS, 8 * count, p=KIND_SHARES):
        caption = write_caption(scene, str(kind), rng)
        found.setdefault(caption.text, caption)
        if len(found) == count:
            break
    return list(found.values())
