"""What the captioner is taught: true facts, ever more objects in less of a scene."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dsa_env.datasets.caption_facts import read_facts
from dsa_env.datasets.captions import true_facts
from dsa_env.datasets.scenes import generate_scene
from dsa_env.pretrain.lessons import PROMPTS, graded_caption, level_of, questions_about


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.floats(0, 1), st.sampled_from(PROMPTS))
def test_a_graded_caption_is_true_and_says_so(index: int, g: float, prompt: str) -> None:
    scene = generate_scene(index, "pretrain")
    caption = graded_caption(scene, g, prompt)
    assert set(caption.facts) <= true_facts(scene)
    assert set(read_facts(caption.text)) == set(caption.facts)
    assert len(caption.objects) == min(level_of(prompt, g).objects, len(scene["objects"]))


@pytest.mark.parametrize("prompt", PROMPTS)
def test_detail_grows_with_the_granularity(prompt: str) -> None:
    levels = [level_of(prompt, g) for g in (0.0, 0.5, 1.0)]
    objects = [level.objects for level in levels]
    properties = [len(level.properties) for level in levels]
    assert objects == sorted(set(objects))
    assert properties == sorted(properties, reverse=True)


def test_questions_are_about_the_scene_they_are_asked_of() -> None:
    scenes = [generate_scene(index, "pretrain") for index in range(40)]
    asked = questions_about(scenes)
    assert len(asked) == len(scenes)
    count = "How many things are there?"
    for scene, questions in zip(scenes, asked, strict=True):
        for question, answer in questions:
            assert question.endswith("?")
            if question == count:
                assert answer == str(len(scene["objects"]))
    assert sum(map(len, asked)) > 40
