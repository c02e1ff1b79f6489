"""The embedded world's scene graphs: deterministic, well-formed, without collisions."""

from __future__ import annotations

import numpy as np
import pytest

from dsa_env.datasets.scenes import (
    CROWDEDNESS,
    DIRECTIONS,
    SIZES,
    crowdedness,
    dominant_color,
    generate_scene,
    relationships,
)


def test_a_scene_depends_on_seed_split_and_index_alone() -> None:
    assert generate_scene(3, "train", 1) == generate_scene(3, "train", 1)
    assert generate_scene(3, "train", 1) != generate_scene(3, "train", 2)
    assert generate_scene(3, "train", 1)["objects"] != generate_scene(3, "test", 1)["objects"]


@pytest.mark.parametrize("index", range(40))
def test_objects_do_not_touch_and_relations_follow_their_positions(index: int) -> None:
    scene = generate_scene(index, "val")
    points = np.array([item["3d_coords"][:2] for item in scene["objects"]])
    radii = np.array([SIZES[item["size"]] for item in scene["objects"]])
    apart = np.linalg.norm(points[:, None] - points[None], axis=-1) + 9 * np.eye(len(points))
    assert (apart >= radii[:, None] + radii[None]).all()
    for name in ("left", "right", "front", "behind"):
        axis = np.array(DIRECTIONS[name][:2])
        for i, others in enumerate(scene["relationships"][name]):
            assert all((points[j] - points[i]) @ axis > 0 for j in others)


def test_left_and_right_mirror_each_other() -> None:
    found = relationships(np.array([[0.0, 0.0], [1.0, 0.1], [-1.0, 2.0]]))
    pairs = {(i, j) for i, row in enumerate(found["left"]) for j in row}
    assert pairs == {(j, i) for i, row in enumerate(found["right"]) for j in row}
    assert found["behind"][0] == [2], "0.1 is within the margin"


def test_every_count_from_one_to_ten_occurs_with_its_word() -> None:
    scenes = [generate_scene(i, "train") for i in range(300)]
    counts = {len(scene["objects"]) for scene in scenes}
    assert counts == set(range(1, 11))
    assert {scene["properties"]["crowdedness"] for scene in scenes} == set(CROWDEDNESS)
    assert [crowdedness(n) for n in (2, 3, 5, 10)] == ["nearly empty", "sparse", "busy", "crowded"]


def test_the_dominant_colour_needs_half_of_three_objects() -> None:
    assert dominant_color(["red", "red"]) is None
    assert dominant_color(["red", "red", "blue"]) == "red"
    assert dominant_color(["red", "green", "blue"]) is None
