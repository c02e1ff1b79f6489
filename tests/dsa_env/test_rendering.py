"""A frame shows the query, what it retrieved, the granularity and the reward's terms."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dsa_env.bank import FeatureBank
from dsa_env.core import RetrievalCore
from dsa_env.env import RetrievalEnv
from dsa_env.errors import DSAError
from dsa_env.frame import GREEN, HEIGHT, WIDTH, Canvas, wrap
from dsa_env.rendering import Item, as_text, render, view
from dsa_env.testing import synthetic_bank


@cache
def core(direction: str = "text_to_image", **arguments: Any) -> RetrievalCore:
    return RetrievalCore(synthetic_bank(n_images=60), direction, **arguments)


def easy_query(made: RetrievalCore, g: float) -> int:
    """A query that finds its positive first at g."""
    everyone = np.arange(made.n_queries)
    return int(np.flatnonzero(made.evaluate(everyone, np.full(len(everyone), g))[2].rank == 1)[0])


@pytest.mark.parametrize("direction", ["text_to_image", "image_to_text"])
@pytest.mark.parametrize("g", [0.0, 0.4, 1.0])
def test_the_first_item_shown_is_the_one_retrieved(direction: str, g: float) -> None:
    made = core(direction)
    for query in range(10):
        shown = view(made, query, g)
        _, _, outcome = made.evaluate([query], [g])
        assert shown.items[0].id == outcome.retrieved[0]
        assert len(shown.items) == 5
        scores = [item.score for item in shown.items]
        assert scores == sorted(scores, reverse=True)
        assert any(item.positive for item in shown.items) == (outcome.rank[0] <= 5)


def test_the_text_says_everything() -> None:
    made = core()
    query = easy_query(made, 0.25)
    text = as_text(view(made, query, 0.25))
    texts = made.bank.texts
    assert texts is not None
    assert texts[made.retrieval.query_ids[query]] in text
    assert "text to image, train, Recall@10" in text
    assert "g 0.25, oracle 0." in text
    assert "rank 1  reward +" in text
    assert "recall +1.000  penalty " in text
    assert f"  1. +0.{text.split('  1. +0.')[1][:3]} * picture " in text
    assert text.index("#") - text.index("coarse |") == len("coarse |") + 10


def test_a_picture_that_is_asked_shows_with_its_captions() -> None:
    made = core("image_to_text")
    image = made.retrieval.query_ids[2]
    texts = made.bank.texts
    assert texts is not None
    text = as_text(view(made, 2, None))
    assert f"query: picture {image}" in text
    for caption in made.bank.captions_of.row(image):
        assert texts[caption] in text


def test_before_the_first_action_only_the_query_shows() -> None:
    text = as_text(view(core(), 0, None))
    assert "not chosen yet" in text
    assert "rank" not in text
    assert len(text.splitlines()) == 3


def test_a_vector_reward_is_written_out_without_an_oracle() -> None:
    text = as_text(view(core(reward="terms"), 0, 0.5))
    assert "reward (" in text
    assert "oracle" not in text
    assert "^" not in text


@pytest.mark.parametrize("direction", ["text_to_image", "image_to_text"])
@pytest.mark.parametrize("g", [None, 0.0, 1.0])
def test_the_picture_has_the_documented_form(direction: str, g: float | None) -> None:
    frame = render(core(direction), 0, g, "rgb_array")
    assert isinstance(frame, np.ndarray)
    assert frame.shape == (HEIGHT, WIDTH, 3) == (400, 720, 3)
    assert frame.dtype == np.uint8
    assert len(np.unique(frame @ np.array([1 << 16, 1 << 8, 1]))) > 50


def green(frame: Any) -> int:
    return int((frame[100:260] == GREEN).all(axis=-1).sum())


def test_a_positive_among_the_first_five_is_framed_green() -> None:
    for direction in ("text_to_image", "image_to_text"):
        made = core(direction)
        hit = easy_query(made, 0.0)
        everyone = np.arange(made.n_queries)
        ranks = made.evaluate(everyone, np.zeros(len(everyone)))[2].rank
        miss = int(np.flatnonzero(ranks > 6)[0])
        framed = green(render(made, hit, 0.0, "rgb_array"))
        bare = green(render(made, miss, 0.0, "rgb_array"))
        assert framed > 500 > bare


def test_the_picture_changes_with_g() -> None:
    made = core()
    frames = [render(made, 3, g, "rgb_array") for g in (0.1, 0.9, 0.9)]
    assert not np.array_equal(frames[0], frames[1])
    np.testing.assert_array_equal(frames[1], frames[2])


def with_pictures(folder: Path) -> FeatureBank:
    """A bank whose pictures are red; the second one's file is broken, the third one's missing."""
    files = [f"{i}.png" for i in range(8)]
    for file in files:
        Image.new("RGB", (40, 30), (250, 10, 10)).save(folder / file)
    (folder / files[1]).write_bytes(b"no picture")
    (folder / files[2]).unlink()
    rng = np.random.default_rng(0)
    return FeatureBank.from_arrays(
        rng.standard_normal((8, 6)),
        rng.standard_normal((8, 6)),
        rng.standard_normal((8, 6)),
        splits=["train"] * 8,
        image_files=[str(folder / file) for file in files],
    )


def test_pictures_are_shown_and_missing_ones_get_a_placeholder(tmp_path: Path) -> None:
    made = RetrievalCore(with_pictures(tmp_path))
    seen = set()
    for query in range(8):
        shown = view(made, query, 0.5)
        frame = render(made, query, 0.5, "rgb_array")
        assert isinstance(frame, np.ndarray)
        for place, item in enumerate(shown.items):
            x = 20 + place * 138
            red = (frame[200, x + 10 : x + 118] == (250, 10, 10)).all()
            assert red == (item.id not in (1, 2))
            seen.add(item.id)
    assert {1, 2} < seen
    assert "text 0" in as_text(view(made, 0, 0.5))


def test_long_texts_are_wrapped_and_cut() -> None:
    canvas = Canvas()
    words = "a very long caption that says everything about a picture and then goes on " * 3
    lines = wrap(canvas, words, 20, 300, 2)
    assert len(lines) == 2
    assert lines[1].endswith("...")
    assert all(canvas.width(line, 20) <= 300 for line in lines)
    assert wrap(canvas, "short", 20, 300, 2) == ["short"]
    assert canvas.width(wrap(canvas, "x" * 500, 20, 300, 1)[0], 20) <= 300


def test_the_environment_renders_in_its_mode() -> None:
    bank = synthetic_bank(n_images=40)
    for mode, kind in (("ansi", str), ("rgb_array", np.ndarray)):
        env = RetrievalEnv(bank, render_mode=mode)
        env.reset(seed=0)
        before = env.render()
        env.step(np.float32([0.75]))
        after = env.render()
        assert isinstance(before, kind)
        assert isinstance(after, kind)
        assert not np.array_equal(before, after)


def test_an_unknown_mode_is_refused() -> None:
    with pytest.raises(DSAError, match="Unknown render mode 'human'"):
        render(core(), 0, 0.5, "human")


def test_an_item_without_a_picture_is_drawn_by_its_id() -> None:
    frames = []
    for id in (4, 5):
        canvas = Canvas()
        canvas.tile(20, 20, 100, Item("picture", None, id))
        frames.append(canvas.array())
    assert not np.array_equal(*frames)
