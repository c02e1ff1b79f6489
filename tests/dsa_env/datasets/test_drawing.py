"""Pictures show what the scene graph says, where it says it."""

from __future__ import annotations

import numpy as np
import pytest

from dsa_env.datasets.drawing import RGB, draw, object_boxes
from dsa_env.datasets.scenes import PICTURE_SIZE, generate_scene


def _bright(index: int) -> dict[str, object]:
    scene = generate_scene(index, "train")
    scene["properties"] |= {"light": "bright", "floor": "snowy"}
    return scene


def test_a_picture_is_rgb_of_the_stated_size_and_deterministic() -> None:
    scene = generate_scene(1, "train")
    first, second = draw(scene), draw(scene)
    assert first.size == (PICTURE_SIZE, PICTURE_SIZE)
    assert first.mode == "RGB"
    assert first.tobytes() == second.tobytes()


@pytest.mark.parametrize("index", range(12))
def test_boxes_hold_what_is_drawn(index: int) -> None:
    scene = _bright(index)
    empty = draw({**scene, "objects": []})
    for n in range(len(scene["objects"])):
        alone = {**scene, "objects": [scene["objects"][n]]}
        changed = np.abs(np.asarray(draw(alone), float) - np.asarray(empty, float)).max(-1) > 60
        rows, columns = np.nonzero(changed)
        x, y, w, h = object_boxes(alone)[0]
        inside = (rows > y - 2) & (rows < y + h + 2) & (columns > x - 2) & (columns < x + w + 2)
        assert inside.mean() > 0.8, "shadows may reach out, the object may not"
        assert changed[round(y + h / 2), round(x + w / 2)]


def test_an_object_has_its_colour() -> None:
    scene = _bright(0)
    item = {**scene["objects"][0], "color": "red", "material": "rubber", "shape": "sphere"}
    scene["objects"] = [item]
    x, y, w, h = object_boxes(scene)[0]
    red, green, blue = np.asarray(draw(scene))[round(y + h / 2), round(x + w / 2)]
    assert red > 2 * green
    assert red > 2 * blue


def test_floors_lights_and_materials_look_different() -> None:
    scene = generate_scene(5, "train")
    base = np.asarray(draw(scene), float)
    for name, values in {
        "floor": ("wooden", "tiled", "grassy", "sandy", "snowy", "stone"),
        "light": ("bright", "warm", "cold", "dim"),
    }.items():
        looks = [
            np.asarray(draw({**scene, "properties": {**scene["properties"], name: value}}), float)
            for value in values
        ]
        gaps = [np.abs(a - b).mean() for i, a in enumerate(looks) for b in looks[:i]]
        assert min(gaps) > 4, name
    assert set(RGB) == {
        "gray", "red", "blue", "green", "brown", "purple", "cyan", "yellow",
    }  # fmt: skip
    assert base.std() > 5
