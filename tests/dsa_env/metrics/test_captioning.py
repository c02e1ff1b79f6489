"""BLEU, ROUGE-L and CIDEr: the COCO caption evaluation's numbers on the same words."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycocoevalcap.bleu.bleu import Bleu
from pycocoevalcap.cider.cider import Cider as CocoCider
from pycocoevalcap.rouge.rouge import Rouge

from dsa_env.errors import DSAError
from dsa_env.metrics import Cider, bleu, rouge_l, tokenise

CORPUS = [
    "a small red cube on a wooden floor beside two large blue spheres",
    "two large blue spheres stand on a wooden floor",
    "a man is riding a brown horse along the beach at dawn",
    "the man rides his horse on the beach",
    "a plate of food with rice and vegetables on a table",
    "a table with a plate of rice and a glass of water",
]
WORDS = sorted({word for text in CORPUS for word in text.split()})


def corpora(seed: int, size: int = 30) -> tuple[list[str], list[list[str]]]:
    """Captions that share many words with their references, which differ in number."""
    rng = np.random.default_rng(seed)
    candidates, references = [], []
    for _ in range(size):
        text = CORPUS[rng.integers(len(CORPUS))].split()
        texts = []
        for _ in range(rng.integers(1, 6)):
            changed = [WORDS[rng.integers(len(WORDS))] if rng.random() < 0.2 else w for w in text]
            texts.append(" ".join(changed[: rng.integers(5, len(changed) + 1)]))
        references.append(texts)
        candidates.append(" ".join(w for w in text if rng.random() < 0.9))
    return candidates, references


def as_coco(
    candidates: list[str], references: list[list[str]]
) -> tuple[dict[int, list[str]], dict[int, list[str]]]:
    """As pycocoevalcap takes them, of our own words."""
    told = {n: [" ".join(tokenise(text))] for n, text in enumerate(candidates)}
    truth = {n: [" ".join(tokenise(t)) for t in texts] for n, texts in enumerate(references)}
    return truth, told


@pytest.mark.parametrize("seed", range(4))
def test_scores_are_those_of_the_coco_evaluation(seed: int) -> None:
    candidates, references = corpora(seed)
    truth, told = as_coco(candidates, references)
    theirs, _ = Bleu(4).compute_score(truth, told, verbose=0)
    for order in (1, 2, 3, 4):
        assert bleu(candidates, references, order) == pytest.approx(theirs[order - 1], abs=1e-6)
    mean, each = Rouge().compute_score(truth, told)
    np.testing.assert_allclose(rouge_l(candidates, references), each, atol=1e-6)
    mean, each = CocoCider().compute_score(truth, told)
    ours = Cider.score(candidates, references)
    np.testing.assert_allclose(ours, each, atol=1e-6)
    assert ours.mean() == pytest.approx(mean, abs=1e-6)


def test_perfect_captions_score_one_and_strangers_nothing() -> None:
    references = [[text] for text in CORPUS]
    assert bleu(CORPUS, references) == pytest.approx(1.0)
    np.testing.assert_allclose(rouge_l(CORPUS, references), 1.0)
    np.testing.assert_allclose(Cider.score(CORPUS, references), 10.0)
    strangers = ["xylophone quartz", *CORPUS[1:]]
    assert rouge_l(strangers, references)[0] == 0
    assert Cider.score(strangers, references)[0] == 0


def test_one_picture_alone_has_no_cider_but_a_reward_has() -> None:
    frozen = Cider.fit([[text] for text in CORPUS])
    assert Cider.score(CORPUS[:1], [CORPUS[:1]])[0] == 0
    alone = frozen(CORPUS[:1], [CORPUS[:1]])[0]
    assert alone == pytest.approx(10.0)
    together = frozen(CORPUS, [[text] for text in CORPUS])
    assert together[0] == alone  # the batch does not matter


def test_frozen_frequencies_are_kept(tmp_path: Path) -> None:
    frozen = Cider.fit([[text] for text in CORPUS])
    frozen.save(tmp_path / "frequency.json")
    again = Cider.load(tmp_path / "frequency.json")
    candidates, references = corpora(0)
    np.testing.assert_array_equal(again(candidates, references), frozen(candidates, references))
    (tmp_path / "wrong.json").write_text("[1]")
    with pytest.raises(DSAError, match="no document frequencies"):
        Cider.load(tmp_path / "wrong.json")


@given(st.lists(st.sampled_from(WORDS), max_size=12))
def test_scores_stay_in_their_ranges(words: list[str]) -> None:
    caption, references = " ".join(words), [CORPUS[:2]]
    assert 0 <= rouge_l([caption], references)[0] <= 1
    assert 0 <= Cider.fit([[text] for text in CORPUS])([caption], references)[0] <= 10 + 1e-9
    assert 0 <= bleu([caption], references) <= 1


def test_words_are_parted_as_the_penn_treebank_does() -> None:
    assert tokenise("A man's dog, isn't it? It's a T-shirt!") == (
        ["a", "man", "'s", "dog", "is", "n't", "it", "it", "'s", "a", "t-shirt"]
    )
    assert tokenise("") == []


def test_what_cannot_be_scored_is_refused() -> None:
    for score in (bleu, rouge_l, Cider.score):
        with pytest.raises(DSAError, match="no captions"):
            score([], [])
        with pytest.raises(DSAError, match="do not fit"):
            score(["a"], [["a"], ["b"]])
        with pytest.raises(DSAError, match="Caption 0 has no list of references"):
            score(["a"], [[]])
        with pytest.raises(DSAError, match="Caption 0 has no list of references"):
            score(["a"], ["a"])
    with pytest.raises(DSAError, match="at least one picture"):
        Cider.fit([])
