"""Scene graphs from CLEVR's records, and records that are none."""

from __future__ import annotations

from typing import Any

import pytest

from dsa_env.datasets.scenes import generate_scene
from dsa_env.logic.scene_graph import RELATIONS, SceneError, SceneGraph


@pytest.fixture
def scene() -> dict[str, Any]:
    return next(s for i in range(9) if len((s := generate_scene(i, "train"))["objects"]) > 2)


def test_a_graph_holds_what_the_scene_says(scene: dict[str, Any]) -> None:
    graph = SceneGraph.of(scene)
    assert len(graph) == len(scene["objects"])
    assert graph.name == scene["image_filename"]
    assert graph.column("color") == tuple(thing["color"] for thing in scene["objects"])
    assert set(RELATIONS) == set(graph.relations)
    assert graph.related("left", 1) == set(scene["relationships"]["left"][1])
    assert graph.properties["floor"] == scene["properties"]["floor"]


def test_the_originals_scenes_have_no_properties(scene: dict[str, Any]) -> None:
    del scene["properties"]
    assert dict(SceneGraph.of(scene).properties) == {}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("objects"), "no list of 'objects'"),
        (lambda s: s["objects"].append(3), "no list of 'objects'"),
        (lambda s: s["objects"][1].pop("color"), "object 1 has no 'color'"),
        (lambda s: s["objects"][0].update(shape=3), "object 0 has no 'shape'"),
        (lambda s: s.pop("relationships"), "no 'relationships'"),
        (lambda s: s["relationships"]["left"].pop(), "'relationships' 'left'"),
        (lambda s: s["relationships"]["front"][0].append(99), "'relationships' 'front'"),
    ],
)
def test_what_is_wrong_is_named(scene: dict[str, Any], change: Any, message: str) -> None:
    change(scene)
    with pytest.raises(SceneError, match=message) as caught:
        SceneGraph.of(scene)
    assert scene["image_filename"] in str(caught.value)
    assert "\n" not in str(caught.value)
