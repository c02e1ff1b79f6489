"""Captions as a retrieval: kept outcomes are those of writing and judging at the nearest g."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsa_env.bank import FeatureBank
from dsa_env.captioning import retrieval as captions
from dsa_env.captioning.retrieval import (
    CaptionRetrieval,
    LiveCaptions,
    build_captions,
    live_captions,
    load_captions,
)
from dsa_env.captioning.written import load_captioner
from dsa_env.errors import DSAError

PROMPTS = ("a red cube", "what is the large metal cube on ?")
GRID = 3


@pytest.fixture(scope="module")
def kept(drawn_bank: FeatureBank, llava: str) -> CaptionRetrieval:
    return load_captions(drawn_bank, "test", model=llava, prompts=PROMPTS, grid=GRID)


@pytest.fixture(scope="module")
def live(drawn_bank: FeatureBank, llava: str) -> LiveCaptions:
    return live_captions(drawn_bank, "test", model=llava, prompts=PROMPTS)


def test_every_prompt_is_asked_of_every_picture(
    drawn_bank: FeatureBank, kept: CaptionRetrieval
) -> None:
    pictures = drawn_bank.split_images("test")
    assert kept.query_ids.tolist() == np.repeat(pictures, 2).tolist()
    assert kept.cluster.tolist() == kept.query_ids.tolist()
    assert kept.kind is not None
    assert kept.kind.tolist() == [0, 1] * len(pictures)
    assert kept.kinds(drawn_bank) == PROMPTS
    assert kept.prompt(3) == PROMPTS[1]
    assert len(kept) == 2 * len(pictures)


def test_observations_are_the_models_own(
    drawn_bank: FeatureBank, kept: CaptionRetrieval, llava: str
) -> None:
    from dsa_env.captioning.written import picture_files, read_picture

    opened = [read_picture(file) for file in picture_files(drawn_bank, kept.query_ids)]
    text, image = load_captioner(llava).observe(opened, [kept.prompt(q) for q in range(len(kept))])
    np.testing.assert_allclose(kept.observed(kept.observation)["text"], text, atol=1e-6)
    np.testing.assert_allclose(kept.observed(kept.observation)["image"], image, atol=1e-5)


def test_kept_outcomes_are_the_live_ones_at_the_grid(
    kept: CaptionRetrieval, live: LiveCaptions
) -> None:
    query = np.arange(len(kept))
    for g in kept.grid:
        found = kept.outcomes(query, np.full(len(query), g), 10)
        wanted = live.outcomes(query, np.full(len(query), g, np.float32), 10)
        np.testing.assert_array_equal(found.rank, wanted.rank)
        np.testing.assert_array_equal(found.retrieved, wanted.retrieved)
        np.testing.assert_allclose(found.severity, wanted.severity, atol=1e-6)
        told = live.captions(query, np.full(len(query), g, np.float32))
        assert [kept.caption(q, g) for q in range(len(query))] == told


@given(st.floats(0, 1))
def test_g_means_the_nearest_of_the_grid(kept: CaptionRetrieval, g: float) -> None:
    place = int(kept.nearest(g))
    assert abs(kept.grid[place] - g) <= np.abs(kept.grid - g).min() + 1e-12
    query = 5
    segment = kept.curves.segment([query], [g])[0]
    assert segment == query * GRID + place


def test_live_captions_differ_between_points_of_the_grid(
    kept: CaptionRetrieval, live: LiveCaptions
) -> None:
    query, g = np.arange(len(kept)), np.full(len(kept), 0.27, np.float32)
    assert live.captions(query, g) != [kept.caption(q, 0.27) for q in range(len(kept))]


def test_best_items_are_those_of_the_judge(
    drawn_bank: FeatureBank, kept: CaptionRetrieval, live: LiveCaptions
) -> None:
    for query in (0, 7):
        found = kept.best(drawn_bank, query, 0.5, 3)
        again = live.best(drawn_bank, query, 0.5, 3)
        assert [one.item for one in found] == [one.item for one in again]
        assert [one.score for one in found] == pytest.approx([one.score for one in again])
        assert len(found) == 3
        assert [one.score for one in found] == sorted((o.score for o in found), reverse=True)
        assert all(one.positive == (one.item == kept.query_ids[query]) for one in found)
        assert kept.told(drawn_bank, query, None) == ()
        assert kept.told(drawn_bank, query, 0.5) == (kept.caption(query, 0.5),)


def test_observations_know_nothing_of_gallery_or_answers(
    drawn_bank: FeatureBank, llava: str
) -> None:
    """The same pictures among others, with other texts as theirs: the same observations."""
    bank = drawn_bank
    shuffled = FeatureBank(
        bank.manifest | {"gallery_size": 4},
        {**bank.arrays, "positives_indices": bank.arrays["positives_indices"][::-1].copy()},
        {"texts": bank.texts or [], "facts": bank.facts or [], "images": bank.image_files or []},
    )
    shuffled.manifest["image_root"] = str(
        (bank.path or shuffled.path) / bank.manifest["image_root"]
    )
    before = build_captions(bank, "validation", llava, PROMPTS, 2)
    after = build_captions(shuffled, "validation", llava, PROMPTS, 2)
    np.testing.assert_array_equal(before.observation, after.observation)
    assert not np.array_equal(before.curves.rank, after.curves.rank)


def test_what_was_kept_is_read_and_not_made_again(
    drawn_bank: FeatureBank, kept: CaptionRetrieval, llava: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    again = load_captions(drawn_bank, "test", model=llava, prompts=list(PROMPTS), grid=GRID)
    assert again is kept
    monkeypatch.setattr(captions, "_loaded", type(captions._loaded)())
    monkeypatch.setattr(captions, "build_captions", None)
    read = load_captions(drawn_bank, "test", model=llava, prompts=PROMPTS, grid=GRID)
    assert read.written == kept.written
    assert read.prompts == PROMPTS
    np.testing.assert_array_equal(read.caption_of, kept.caption_of)
    np.testing.assert_array_equal(read.curves.rank, kept.curves.rank)
    np.testing.assert_array_equal(read.observation, kept.observation)


def test_there_is_no_null_world(drawn_bank: FeatureBank, kept: CaptionRetrieval) -> None:
    assert kept.null(drawn_bank, 0) is None


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"grid": 1}, "grid must be a whole number of at least 2, got 1"),
        ({"grid": True}, "grid must be"),
        ({"grid": 2.5}, "grid must be"),
        ({"prompts": ["a", "a"]}, "different texts"),
        ({"prompts": [str(i) for i in range(128)]}, "1 to 127"),
        ({"model": "nowhere/at all"}, "captioner 'nowhere/at all' cannot be loaded"),
    ],
)
def test_wrong_options_are_refused(
    drawn_bank: FeatureBank, llava: str, options: dict[str, object], words: str
) -> None:
    with pytest.raises(DSAError, match=words):
        load_captions(drawn_bank, "test", **({"model": llava} | options))  # type: ignore[arg-type]
