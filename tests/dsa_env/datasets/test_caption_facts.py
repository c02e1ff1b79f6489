"""Facts read from a text are those that its writer meant."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dsa_env.datasets.caption_facts import read_facts
from dsa_env.datasets.captions import write_captions
from dsa_env.datasets.scenes import generate_scene


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000))
def test_every_caption_gives_back_its_own_facts(index: int) -> None:
    scene = generate_scene(index, "train")
    for caption in write_captions(scene, 6):
        assert set(read_facts(caption.text)) == set(caption.facts)


def test_what_is_garbled_asserts_what_can_be_made_out() -> None:
    assert read_facts("A small red, a small cube cube the a busy scene scene") == (
        "a small cube",
        "a busy scene",
    )


@pytest.mark.parametrize("text", ["", "a a a", "what color is the cube?", "sphere", "left of"])
def test_what_asserts_nothing_gives_nothing(text: str) -> None:
    assert read_facts(text) == ()
