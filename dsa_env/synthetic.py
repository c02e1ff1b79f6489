"""A small bank of made-up features in which granularity matters."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dsa_env.errors import DSAError

if TYPE_CHECKING:
    from dsa_env.bank import FeatureBank

Array = NDArray[Any]

PLACES = ("beach", "forest", "harbour", "kitchen", "market", "street")
LIGHTS = ("at dawn", "at night", "at noon", "in fog", "in rain", "under snow")
COLOURS = ("black", "blue", "green", "red", "white", "yellow")
THINGS = ("bicycle", "boat", "cup", "dog", "kite", "lamp")
SCENES = [f"{place} {light}" for place in PLACES for light in LIGHTS]
OBJECTS = [f"{colour} {thing}" for colour in COLOURS for thing in THINGS]

CUE = 0.5
"""How far scenes and objects are moved apart along one direction, so that a text's kind shows."""
INDIVIDUAL = 0.6
"""Size of what is particular to one picture's scene or object, beside what its name says."""
WRITTEN = 0.8
"""Size of the difference between a text and what it describes."""
FAINT = 0.3
"""Weight of what a picture is not about; the rest of that view is haze."""
HAZE = 0.9
DOUBT = 0.1
"""Spread of the severity around the truth in a bank without ground truth."""


def synthetic_bank(
    n_images: int = 200,
    captions: int = 2,
    dim: int = 16,
    regions: int = 4,
    seed: int = 0,
    path: str | os.PathLike[str] | None = None,
    facts: bool = True,
) -> FeatureBank:
    """A bank without pictures in which granularity matters, for tests and for trying things out.

    Half of the images are wide: their scene ("a beach at dawn") shows in the coarse features, and
    their objects hardly show in the regions. The other half are close: each region shows an object
    ("a red cup") and the coarse features are haze. Texts describe what an image is about, the scene
    of a wide one ("scene" texts), an object of a close one ("object" texts). So scene texts are
    served best by g near 0 and object texts by g near 1, wide images by g near 0 and close ones by
    g near 1, and both show in the observation.

    Args:
        n_images: number of images, split 70/15/15 into train, validation and test.
        captions: texts per image.
        dim: number of features.
        regions: regions per image at most; every second image has one less (but at least one).
        seed: of everything.
        path: folder to write the bank to; by default it stays in memory.
        facts: with the ground truth of what texts assert and what holds in images, and the
            severity that follows from it; without, only a severity that is a little off the truth.

    Raises:
        DSAError: a size is below 1, or more regions than there are kinds of objects.
    """
    from dsa_env.bank import FeatureBank

    sizes = {"n_images": n_images, "captions": captions, "dim": dim, "regions": regions}
    for name, size in sizes.items():
        if size < 1:
            raise DSAError(f"{name} must be at least 1, got {size}.")
    if regions > len(OBJECTS):
        raise DSAError(f"regions must be at most {len(OBJECTS)}, got {regions}.")
    rng = np.random.default_rng(seed)
    names = _name_features(rng, dim)
    world = _draw_world(rng, n_images, captions, regions)
    scene = _unit(names.scenes[world.scene] + _noise(rng, (n_images, dim), INDIVIDUAL))
    shape = (n_images, regions, dim)
    objects = _unit(names.objects[world.objects] + _noise(rng, shape, INDIVIDUAL))
    wide_text = world.wide[world.image]
    described = np.where(wide_text[:, None], scene[world.image], objects[world.image, world.region])
    real = np.arange(regions) < world.counts[:, None]
    text_facts, image_facts = _facts(world)
    severity = _severity(text_facts, image_facts)
    if not facts:
        doubt = np.random.default_rng([seed, 1]).standard_normal(severity.shape)
        severity = np.clip(severity + DOUBT * doubt, 0, 1)
    return FeatureBank.from_arrays(
        text=_unit(described + _noise(rng, described.shape, WRITTEN)),
        coarse=_through_haze(rng, scene, world.wide),
        regions=_through_haze(rng, objects, ~world.wide) * real[..., None],
        region_counts=world.counts,
        region_boxes=_boxes(rng, n_images, regions) * real[..., None],
        positives=world.image,
        kinds=["scene" if wide else "object" for wide in wide_text],
        facts={
            "features": names.facts,
            "text": [np.flatnonzero(row).tolist() for row in text_facts],
            "image": [np.flatnonzero(row).tolist() for row in image_facts],
            "names": FACTS,
            "kinds": FACT_KINDS,
        }
        if facts
        else None,
        severity=severity,
        texts=_texts(world),
        seed=seed,
        path=path,
        provenance={"dataset": "synthetic", **sizes, "seed": seed},
    )


FACTS = [*PLACES, *LIGHTS, *THINGS, *OBJECTS]
FACT_KINDS = ["scene"] * (len(PLACES) + len(LIGHTS)) + ["object"] * (len(THINGS) + len(OBJECTS))


@dataclass(frozen=True)
class _Names:
    """Unit features of what has a name: scenes [36, D], objects [36, D] and facts [F, D]."""

    scenes: Array
    objects: Array
    facts: Array


@dataclass(frozen=True)
class _World:
    """What is where: of N images, and which image and region of it each of T texts is about."""

    wide: Array
    scene: Array
    objects: Array
    counts: Array
    image: Array
    region: Array


def _name_features(rng: np.random.Generator, dim: int) -> _Names:
    places, lights, colours, things = (
        _unit(rng.standard_normal((len(words), dim))) for words in (PLACES, LIGHTS, COLOURS, THINGS)
    )
    cue = CUE * _unit(rng.standard_normal(dim))
    scenes = _unit((places[:, None] + lights).reshape(-1, dim)) + cue
    objects = _unit((colours[:, None] + things).reshape(-1, dim)) - cue
    facts = np.concatenate([places + cue, lights + cue, things - cue, objects])
    return _Names(_unit(scenes), _unit(objects), _unit(facts))


def _draw_world(rng: np.random.Generator, n_images: int, captions: int, regions: int) -> _World:
    counts = np.where(np.arange(n_images) % 2, max(1, regions - 1), regions).astype(np.int16)
    image = np.repeat(np.arange(n_images), captions)
    return _World(
        wide=rng.permutation(np.arange(n_images) % 2 == 0),
        scene=rng.integers(len(SCENES), size=n_images),
        objects=rng.random((n_images, len(OBJECTS))).argsort(axis=1)[:, :regions],
        counts=counts,
        image=image,
        region=rng.integers(counts[image]),
    )


def _facts(world: _World) -> tuple[Array, Array]:
    """Which facts each text asserts [T, F] and which hold in each image [N, F], as booleans."""
    images = np.arange(len(world.scene))
    image_facts = np.zeros((len(images), len(FACTS)), dtype=np.bool_)
    image_facts[images[:, None], _scene_facts(world.scene)] = True
    for region in range(world.objects.shape[1]):
        there = images[region < world.counts]
        image_facts[there[:, None], _object_facts(world.objects[there, region])] = True
    texts = np.arange(len(world.image))
    text_facts = np.zeros((len(texts), len(FACTS)), dtype=np.bool_)
    about = world.objects[world.image, world.region]
    asserted = np.where(
        world.wide[world.image][:, None],
        _scene_facts(world.scene[world.image]),
        _object_facts(about),
    )
    text_facts[texts[:, None], asserted] = True
    return text_facts, image_facts


def _scene_facts(scene: Array) -> Array:
    """[..., 2] the facts of a scene: its place and its light."""
    place, light = np.divmod(scene, len(LIGHTS))
    return np.stack([place, len(PLACES) + light], axis=-1)


def _object_facts(thing: Array) -> Array:
    """[..., 2] the facts of an object: that there is such a thing, and one of that colour."""
    first = len(PLACES) + len(LIGHTS)
    return np.stack([first + thing % len(THINGS), first + len(THINGS) + thing], axis=-1)


def _severity(text_facts: Array, image_facts: Array) -> Array:
    """[T, N] the share of a text's facts that do not hold in an image."""
    asserted = text_facts.astype(np.float32)
    severity: Array = 1 - asserted @ image_facts.T.astype(np.float32) / asserted.sum(
        axis=1, keepdims=True
    )
    return severity


def _through_haze(rng: np.random.Generator, features: Array, clear: Array) -> Array:
    """Features as they are where `clear`, faint in haze elsewhere."""
    clear = clear.reshape(-1, *[1] * (features.ndim - 1))
    hazy = FAINT * features + _noise(rng, features.shape, HAZE)
    return _unit(np.where(clear, features, hazy))


def _texts(world: _World) -> list[str]:
    about = world.objects[world.image, world.region]
    return [
        f"a {SCENES[world.scene[image]] if world.wide[image] else OBJECTS[thing]}"
        for image, thing in zip(world.image, about, strict=True)
    ]


def _boxes(rng: np.random.Generator, n_images: int, regions: int) -> Array:
    """[N, R, 4] boxes (centre x, centre y, width, height) inside the picture."""
    size = rng.uniform(0.1, 0.5, (n_images, regions, 2))
    centre = size / 2 + rng.random((n_images, regions, 2)) * (1 - size)
    return np.concatenate([centre, size], axis=-1)


def _noise(rng: np.random.Generator, shape: tuple[int, ...], size: float) -> Array:
    """Gaussian vectors of expected length about `size`."""
    noise: Array = size / np.sqrt(shape[-1]) * rng.standard_normal(shape)
    return noise


def _unit(features: Array) -> Array:
    unit: Array = features / np.linalg.norm(features, axis=-1, keepdims=True)
    return unit
