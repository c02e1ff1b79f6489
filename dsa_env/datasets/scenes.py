"""The embedded world: seeded, CLEVR-like scene graphs with scene-level properties."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

Scene = dict[str, Any]
"""One scene graph in CLEVR v1.0's fields, plus `properties` and a `bbox` for each object."""

SHAPES = ("cube", "sphere", "cylinder")
COLORS = ("gray", "red", "blue", "green", "brown", "purple", "cyan", "yellow")
MATERIALS = ("rubber", "metal")
SIZES = {"large": 0.62, "small": 0.36}  # radius in world units
FLOORS = ("wooden", "tiled", "grassy", "sandy", "snowy", "stone")
LIGHTS = ("bright", "warm", "cold", "dim")
LAYOUTS = ("scattered", "row", "circle", "cluster", "two groups")
CROWDEDNESS = {"nearly empty": 2, "sparse": 4, "busy": 7, "crowded": 10}  # most objects

MAX_OBJECTS = 10
PICTURE_SIZE = 128  # pixels, square
DIRECTIONS = {
    "right": [1.0, 0.0, 0.0],
    "left": [-1.0, 0.0, 0.0],
    "behind": [0.0, 1.0, 0.0],
    "front": [0.0, -1.0, 0.0],
    "above": [0.0, 0.0, 1.0],
    "below": [0.0, 0.0, -1.0],
}
# Pinhole camera above the front edge: world units to pixels of a 128 px picture.
_FOCAL, _DISTANCE, _HEIGHT, _HORIZON = 285.0, 16.0, 10.5, -119.0
_HALF_WIDTH, _HALF_DEPTH = 2.45, 3.0
_RELATION_MARGIN = 0.2  # CLEVR's own threshold for "left of" and the like


def project(x: float, y: float) -> tuple[float, float, float]:
    """World floor point -> (pixel x, pixel y, pixels per world unit) in a 128 px picture."""
    scale = _FOCAL / (_DISTANCE + y)
    return PICTURE_SIZE / 2 + x * scale, _HORIZON + _HEIGHT * scale, scale


def crowdedness(count: int) -> str:
    """The word for how full a scene of `count` objects is."""
    return next(word for word, most in CROWDEDNESS.items() if count <= most)


def dominant_color(colors: list[str]) -> str | None:
    """The colour of at least half of three or more objects, if there is one."""
    color, count = Counter(colors).most_common(1)[0]
    return color if len(colors) >= 3 and 2 * count >= len(colors) else None


def _layout_points(layout: str, count: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Intended floor positions [count, 2] of a layout, before collisions are resolved."""
    points: NDArray[np.float64]
    if layout == "row":
        angle, step = rng.uniform(-0.35, 0.35), rng.uniform(1.2, 1.35)
        along = (np.arange(count) - (count - 1) / 2) * min(step, 5.2 / max(count - 1, 1))
        centre = np.array([0.0, rng.uniform(-1.2, 1.2)])
        points = centre + along[:, None] * np.array([math.cos(angle), math.sin(angle)])
    elif layout == "circle":
        angles = rng.uniform(0, 2 * math.pi) + 2 * math.pi * np.arange(count) / count
        radius = rng.uniform(1.9, 2.3) if count > 5 else rng.uniform(1.4, 2.1)
        points = radius * np.stack([np.cos(angles), 1.15 * np.sin(angles)], axis=1)
    elif layout == "cluster":
        centre = rng.uniform([-1.6, -1.8], [1.6, 1.8])
        points = centre + rng.normal(0, 0.42 * math.sqrt(count), (count, 2))
    elif layout == "two groups":
        side = np.where(np.arange(count) < count // 2, -1.0, 1.0)
        centres = np.stack([side * rng.uniform(1.6, 1.9), side * rng.uniform(-1.4, 1.4)], axis=1)
        points = centres + rng.normal(0, 0.3 * math.sqrt(count / 2), (count, 2))
    else:
        points = rng.uniform([-_HALF_WIDTH, -_HALF_DEPTH], [_HALF_WIDTH, _HALF_DEPTH], (count, 2))
    return points


def _place(
    layout: str, radii: NDArray[np.float64], rng: np.random.Generator
) -> NDArray[np.float64] | None:
    """Positions [count, 2] without collisions, or None where the layout does not fit."""
    count, spread = len(radii), {"scattered": 3.0, "cluster": 0.5, "two groups": 0.45}
    points = _layout_points(layout, count, rng)
    limit = np.array([_HALF_WIDTH, _HALF_DEPTH])
    for i in range(count):
        wanted = points[i].copy()
        for attempt in range(60):
            # depth counts less: an object hides what stands close behind it
            gap = np.linalg.norm((points[:i] - points[i]) * [1.0, 0.78], axis=1)
            if not (gap < radii[:i] + radii[i] + 0.1).any() and (np.abs(points[i]) <= limit).all():
                break
            jitter = spread.get(layout, 0.12) * (1 + attempt / 20)
            points[i] = wanted + rng.normal(0, jitter, 2)
        else:
            return None
    return points


def relationships(points: NDArray[np.float64]) -> dict[str, list[list[int]]]:
    """CLEVR's relationships: `result["left"][i]` lists the objects left of object i."""
    result = {}
    for name in ("right", "behind", "front", "left"):
        axis = np.array(DIRECTIONS[name][:2])
        offsets = (points[None, :, :] - points[:, None, :]) @ axis
        result[name] = [np.flatnonzero(row > _RELATION_MARGIN).tolist() for row in offsets]
    return result


def generate_scene(index: int, split: str, seed: int = 0) -> Scene:
    """One scene graph; the same (seed, split, index) always gives the same scene.

    Args:
        index: number of the picture in its split.
        split: name that enters the file names and the random stream.
        seed: seed of the whole world.
    """
    rng = np.random.default_rng([seed, index, *split.encode()])
    while True:
        count = int(rng.integers(1, MAX_OBJECTS + 1))
        sizes = [str(s) for s in rng.choice(list(SIZES), count)]
        fits = [
            name
            for name, low, high in zip(LAYOUTS, (1, 3, 4, 3, 4), (10, 5, 10, 10, 10), strict=True)
            if low <= count <= high
        ]
        layout = str(rng.choice(fits))
        points = _place(layout, np.array([SIZES[s] for s in sizes]), rng)
        if points is not None:
            break
    colors = [str(c) for c in rng.choice(COLORS, count)]
    if rng.random() < 0.6:
        theme = str(rng.choice(COLORS))
        colors = [theme if rng.random() < 0.65 else color for color in colors]
    objects = []
    for size, color, (x, y) in zip(sizes, colors, points, strict=True):
        px, py, scale = project(float(x), float(y))
        objects.append(
            {
                "shape": str(rng.choice(SHAPES)),
                "size": size,
                "material": str(rng.choice(MATERIALS)),
                "color": color,
                "3d_coords": [float(x), float(y), SIZES[size]],
                "pixel_coords": [px, py - 0.75 * SIZES[size] * scale, _DISTANCE + float(y)],
                "rotation": float(rng.integers(0, 6) * 15),
            }
        )
    return {
        "image_index": index,
        "image_filename": f"CLEVR_{split}_{index:06d}.png",
        "split": split,
        "directions": DIRECTIONS,
        "relationships": relationships(points),
        "objects": objects,
        "properties": {
            "floor": str(rng.choice(FLOORS)),
            "light": str(rng.choice(LIGHTS)),
            "layout": layout,
            "crowdedness": crowdedness(count),
            "dominant_color": dominant_color(colors),
        },
    }
