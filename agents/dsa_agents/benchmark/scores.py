"""Captions as numbers: every metric query by query, and means whose intervals are paired."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dsa_agents.benchmark.metrics import BLEU, CIDER, WORDS
from dsa_agents.statistics import Estimate, bootstrap_means
from dsa_env.metrics import Cider, tokenise
from dsa_env.metrics.tokens import check_captions
from dsa_env.outcome import Outcome
from dsa_env.rewards import evaluate, resolve_reward

if TYPE_CHECKING:
    from dsa_agents.run_folder import TrainConfig
    from dsa_env.captioning.judge import Judged

Floats = NDArray[np.float64]
Columns = dict[str, Floats]

ORDER = 4
_COUNTS = (
    *(f"bleu matches {n}" for n in range(1, ORDER + 1)),
    *(f"bleu grams {n}" for n in range(1, ORDER + 1)),
    "bleu length",
    "bleu reference length",
)


def text_columns(captions: Sequence[str], references: Sequence[Sequence[str]]) -> Columns:
    """What captions score against people's: CIDEr, length, and what BLEU-4 counts, [Q] each.

    CIDEr is CIDEr-D in its score form, with the document frequencies of the evaluated pictures.

    Args:
        captions: one a query.
        references: the captions of each query's picture, one or more.

    Raises:
        DSAError: nothing to score, or a caption without references.
        ModuleNotFoundError: without sacrebleu.
    """
    check_captions(captions, references)
    words = [float(len(tokenise(caption))) for caption in captions]
    counts = np.array(_bleu_counts(captions, references), dtype=np.float64)
    return {
        CIDER: Cider.score(captions, references),
        WORDS: np.array(words),
        **dict(zip(_COUNTS, counts.T, strict=True)),
    }


def reward_of(config: TrainConfig, judged: Judged, granularity: NDArray[np.float32]) -> Floats:
    """The reward [Q] (or [Q, m]) of judged captions, as a controller was trained for it."""
    outcome = Outcome.from_rank(
        query=np.arange(len(granularity)),
        granularity=granularity,
        rank=judged.rank,
        severity=judged.severity,
        retrieved=judged.top[:, 0],
        k=config.k,
    )
    values: Floats = evaluate(resolve_reward(config.reward, config.reward_kwargs), outcome)[0]
    return values.astype(np.float64)


def estimate_rows(
    rows: Mapping[str, Mapping[str, Floats]],
    cluster: NDArray[np.integer],
    *,
    resamples: int = 2000,
    seed: int = 0,
) -> dict[tuple[str, str], Estimate]:
    """The mean of every metric of every row, all on the same resamples of pictures.

    BLEU is no mean of captions' scores: it is computed from the counts of each resample, so its
    interval is a bootstrap of the corpus score. Several seeds of a controller count together
    there, as one corpus.

    Args:
        rows: row -> metric -> [Q], or [seeds, Q]; with what BLEU counts, of `text_columns`.
        cluster: picture of each query [Q].
        resamples: of the bootstrap; 0 for points alone.
        seed: of the resampling.

    Returns:
        (row, metric) -> estimate; the counts are replaced by ``"bleu-4"``.
    """
    columns = {
        (row, metric): values for row, metrics in rows.items() for metric, values in metrics.items()
    }
    found = bootstrap_means(columns, cluster, resamples=resamples, seed=seed)
    for row, metrics in rows.items():
        if _COUNTS[0] in metrics:
            counts = [found.pop((row, name)) for name in _COUNTS]
            point = corpus_bleu(np.array([[one.point] for one in counts]))
            draws = corpus_bleu(np.stack([one.draws for one in counts]))
            found[row, BLEU] = Estimate(float(point[0]), draws)
    return found


def corpus_bleu(counts: Floats) -> Floats:
    """BLEU-4 [B] of summed or averaged counts [10, B]: matches, n-grams, length, reference length.

    Papineni et al., ACL 2002, without smoothing: the geometric mean of the four precisions, times
    exp(1 - r / c) where the captions are shorter than the closest references. 0 where an order
    never matches, NaN where the counts are.
    """
    matches, grams, length, reference = counts[:ORDER], counts[ORDER:-2], counts[-2], counts[-1]
    with np.errstate(divide="ignore", invalid="ignore"):
        precision = np.where(grams > 0, matches / grams, 0.0)
        brevity = np.exp(np.minimum(0.0, 1.0 - reference / length))
        score: Floats = np.where(
            (precision > 0).all(axis=0), brevity * np.exp(np.log(precision).mean(axis=0)), 0.0
        )
    score[np.isnan(counts).any(axis=0)] = np.nan
    return score


def _bleu_counts(captions: Sequence[str], references: Sequence[Sequence[str]]) -> list[list[float]]:
    """What sacrebleu counts of each caption, in the order of `_COUNTS`."""
    from sacrebleu.metrics import bleu

    scorer = bleu.BLEU(max_ngram_order=ORDER, tokenize="none", smooth_method="none")
    rows = []
    for caption, texts in zip(captions, references, strict=True):
        streams = [[" ".join(tokenise(text))] for text in texts]
        found = scorer.corpus_score([" ".join(tokenise(caption))], streams)
        rows.append([*found.counts, *found.totals, found.sys_len, found.ref_len])
    return rows
