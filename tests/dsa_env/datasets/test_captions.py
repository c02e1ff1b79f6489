"""Captions assert nothing but what holds, and say which kind of fact it is."""

from __future__ import annotations

from collections import Counter

import pytest

from dsa_env.datasets.captions import (
    KINDS,
    fact_kind,
    scene_facts,
    true_facts,
    write_captions,
    write_distinct_captions,
)
from dsa_env.datasets.scenes import generate_scene


@pytest.mark.parametrize("index", range(50))
def test_every_asserted_fact_holds(index: int) -> None:
    scene = generate_scene(index, "train")
    truths = true_facts(scene)
    for caption in write_captions(scene, 8):
        assert caption.facts
        assert set(caption.facts) <= truths
        assert len(set(caption.facts)) == len(caption.facts)


def test_facts_of_other_scenes_mostly_do_not_hold() -> None:
    scenes = [generate_scene(i, "train") for i in range(60)]
    told = [fact for c in write_captions(scenes[0], 20) for fact in c.facts]
    held = [fact in true_facts(other) for other in scenes[1:] for fact in told]
    assert sum(held) / len(held) < 0.5


def test_all_four_kinds_are_written_with_their_facts() -> None:
    captions = [c for i in range(200) for c in write_captions(generate_scene(i, "train"), 4)]
    shares = Counter(caption.kind for caption in captions)
    assert set(shares) == set(KINDS)
    assert 0.2 < shares["scene"] / len(captions) < 0.4
    kinds = {
        kind: {fact_kind(fact) for c in captions if c.kind == kind for fact in c.facts}
        for kind in KINDS
    }
    assert kinds["scene"] == {"scene"}
    assert kinds["object"] == {"object"}
    assert kinds["relation"] == {"object", "relation"}
    assert kinds["mixed"] == {"object", "scene"}


def test_captions_are_deterministic_by_seed() -> None:
    scene = generate_scene(7, "val")
    assert write_captions(scene, 5, seed=1) == write_captions(scene, 5, seed=1)
    assert write_captions(scene, 5, seed=1) != write_captions(scene, 5, seed=2)


def test_scene_facts_of_the_original_clevr_are_derived_from_its_objects() -> None:
    scene = generate_scene(0, "train")
    del scene["properties"]
    assert set(scene_facts(scene)) <= {"crowdedness", "dominant_color"}
    assert scene_facts(scene)["crowdedness"] in true_facts(scene)


def test_distinct_captions_say_different_things_and_nothing_false() -> None:
    for index in range(20):
        scene = generate_scene(index, "train")
        del scene["properties"]
        captions = write_distinct_captions(scene, 5)
        assert len({caption.text for caption in captions}) == len(captions) <= 5
        assert {fact for caption in captions for fact in caption.facts} <= true_facts(scene)
        assert captions == write_distinct_captions(scene, 5)
    assert sum(len(write_distinct_captions(generate_scene(n, "val"), 5)) for n in range(20)) == 100


def test_names_of_things_are_object_facts() -> None:
    for fact in ("dog", "traffic light", "a red cube", "wooden floor", "street scene"):
        assert fact_kind(fact) == "object"
