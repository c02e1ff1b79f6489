"""BLEU of a set of captions, by sacrebleu."""

from __future__ import annotations

from collections.abc import Sequence

from dsa_env.metrics.tokens import check_captions, tokenise


def bleu(candidates: Sequence[str], references: Sequence[Sequence[str]], order: int = 4) -> float:
    """Corpus BLEU up to n-grams of `order`, in [0, 1], without smoothing.

    Papineni et al., ACL 2002, with the closest reference's length, as the COCO caption evaluation
    has it; the same to 1e-6 wherever all orders match at least once.

    Args:
        candidates: one caption a picture.
        references: the pictures' captions, one or more each, not always as many.
        order: 1 to 4.

    Raises:
        DSAError: nothing to score, or a caption without references.
        ModuleNotFoundError: without sacrebleu.
    """
    from sacrebleu.metrics.bleu import BLEU

    check_captions(candidates, references)
    most = max(map(len, references))
    told = [" ".join(tokenise(caption)) for caption in candidates]
    # A reference that comes twice changes neither the clipped counts nor the closest length.
    streams = [
        [" ".join(tokenise(texts[at % len(texts)])) for texts in references] for at in range(most)
    ]
    scorer = BLEU(max_ngram_order=order, tokenize="none", smooth_method="none")
    return float(scorer.corpus_score(told, streams).score) / 100
