"""Captions as numbers: what is counted query by query adds up to the corpus scores."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsa_agents.benchmark.metrics import BLEU, CIDER, WORDS
from dsa_agents.benchmark.scores import corpus_bleu, estimate_rows, text_columns
from dsa_env.errors import DSAError
from dsa_env.metrics import Cider, bleu

WORD = st.sampled_from(["a", "red", "blue", "cube", "ball", "and", "on", "the", "floor"])
CAPTION = st.lists(WORD, min_size=0, max_size=9).map(" ".join)
REFERENCE = st.lists(WORD, min_size=4, max_size=9).map(" ".join)
PAIRS = st.lists(
    st.tuples(CAPTION, st.lists(REFERENCE, min_size=1, max_size=3)), min_size=1, max_size=8
)


@given(PAIRS)
def test_the_counts_of_all_captions_make_the_corpus_bleu(
    pairs: list[tuple[str, list[str]]],
) -> None:
    captions, references = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    columns = text_columns(captions, references)
    found = estimate_rows({"row": columns}, np.arange(len(pairs)), resamples=0)
    assert found["row", BLEU].point == pytest.approx(bleu(captions, references), abs=1e-9)
    assert found["row", CIDER].point == pytest.approx(Cider.score(captions, references).mean())
    assert not any("matches" in metric for _, metric in found)


def test_a_resample_of_pictures_has_the_bleu_of_its_captions() -> None:
    captions = ["a red cube and a blue ball", "a ball on the floor", "the red cube on the floor"]
    references = [["a red cube and a ball"], ["a blue ball on the floor"], ["a red cube"]]
    columns = text_columns(captions, references)
    names = [name for name in columns if name.startswith("bleu")]
    for drawn in ([0, 0, 1], [2, 1, 1], [0, 1, 2]):
        counts = np.stack([columns[name][drawn].mean() for name in names])[:, None]
        expected = bleu([captions[i] for i in drawn], [references[i] for i in drawn])
        assert corpus_bleu(counts)[0] == pytest.approx(expected)


def test_rows_are_compared_on_the_same_resamples() -> None:
    rng = np.random.default_rng(0)
    noise = rng.normal(size=200) * 10
    rows = {"first": {"m": noise}, "second": {"m": noise + 1}}
    found = estimate_rows(rows, np.arange(200) // 2, resamples=200)
    low, high = (found["second", "m"] - found["first", "m"]).interval()
    assert (low, high) == pytest.approx((1, 1))


def test_lengths_are_words_and_empty_captions_are_scored_too() -> None:
    columns = text_columns(["a red cube.", ""], [["a red cube"], ["a ball"]])
    assert columns[WORDS].tolist() == [3, 0]
    assert columns[CIDER][1] == 0


def test_captions_without_references_are_refused() -> None:
    with pytest.raises(DSAError, match="list of references"):
        text_columns(["a cube"], [[]])
