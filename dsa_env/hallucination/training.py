"""Training of the hallucination detector on a bank's facts, its calibration and its report."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dsa_env.bank.ragged import Ragged
from dsa_env.errors import DSAError
from dsa_env.hallucination.detector import (
    DetectorConfig,
    HallucinationDetector,
    as_tensor,
    encode_images,
    rows_of,
)
from dsa_env.hallucination.pope_sampling import Questions, QuestionSampler
from dsa_env.hallucination.report import (
    GOALS,
    breakdown,
    cross_entropy,
    fit_temperature,
    meets_goals,
)
from dsa_env.progress import Bar, bar

if TYPE_CHECKING:
    from dsa_env.bank import FeatureBank

Ints = NDArray[np.int64]

PER_IMAGE = 4  # true facts asked of an image each time it comes up; as many false ones
BATCH = 32  # images
LEARNING_RATE, WEIGHT_DECAY = 4e-3, 1e-2
CHECKS, PATIENCE = 12, 4  # looks at held-out images, and how many without progress end training
MOST_IMAGES = 20_000  # of a split; more are sampled, so that memory stays flat
MOST_EPOCHS = 60
LEAST = 0.1  # weight of a kind of fact that is learnt already, of the overall cross-entropy
HELD_OUT = 0.1  # of the training images, where there is no validation split


def train_detector(
    bank: FeatureBank,
    *,
    seed: int = 0,
    questions: int = 700_000,
    threads: int = 1,
    progress: bool = True,
    config: DetectorConfig | None = None,
) -> tuple[HallucinationDetector, dict[str, Any]]:
    """Train a detector on a bank's train split, calibrate it on validation, judge it on test.

    Learns from balanced questions (`QuestionSampler`) with binary cross-entropy and AdamW under a
    one-cycle learning rate; kinds of facts are asked about equally often at first, then as their
    cross-entropy on validation images says that they are hard. The weights kept are those of the
    least cross-entropy there; the temperature is fitted on other questions about the same images.
    The report comes from the test split, with questions as often as its texts assert their facts.
    Where validation has no facts a tenth of the training images stands in for it; where test has
    none the report says so and comes from validation.

    The same seed, bank and number of threads give the same detector on the same machine.

    Args:
        bank: a bank with facts.
        seed: of the initial weights, the questions and the order.
        questions: how many to train on at most, about; each image is seen at most 60 times.
        threads: torch threads; several give little at this size.
        progress: show a progress bar on standard error.
        config: sizes of the network; by default the usual ones.

    Returns:
        The detector, in evaluation mode, and its report: {"split", "overall", "by_negative",
        "by_kind", "temperature", "goals", "meets_goals", "validation", "training", "config",
        "bank", "seed"}, ready for JSON.

    Raises:
        DSAError: the bank has no facts, no train split, or facts that allow only one answer; or
            `config` is for other features.
    """
    started = time.perf_counter()
    rng = np.random.default_rng(seed)
    train, held_out, judged_on, judge = _samplers(bank, rng, seed)
    detector = _new_detector(bank, train.images, config, seed)
    asked = held_out.sample(_per_image(held_out), np.random.default_rng([seed, 1]))
    with _threads(threads):
        history = _fit(detector, bank, train, asked, rng, questions, progress)
        detector.eval()
        calibration = held_out.sample(_per_image(held_out), np.random.default_rng([seed, 2]))
        logits = detector.logits(bank, calibration.fact, calibration.image)
        temperature = fit_temperature(calibration.label, logits)
        detector.temperature.fill_(temperature)
        test = judge.sample(_per_image(judge), np.random.default_rng([seed, 3]))
        test_logits = detector.logits(bank, test.fact, test.image)
    kinds = bank.fact_kinds or ("all",)
    result = breakdown(test, test_logits, temperature, kinds)
    report = {
        "split": judged_on,
        "images": len(np.unique(test.image)),
        **result,
        "temperature": round(temperature, 4),
        "goals": GOALS,
        "meets_goals": meets_goals(result["overall"]),
        "validation": breakdown(calibration, logits, temperature, kinds)["overall"],
        "training": {**history, "seconds": round(time.perf_counter() - started, 1)},
        "config": asdict(detector.config),
        "bank": bank.sha256,
        "seed": seed,
    }
    return detector, report


def _samplers(
    bank: FeatureBank, rng: np.random.Generator, seed: int
) -> tuple[QuestionSampler, QuestionSampler, str, QuestionSampler]:
    """Who asks in training, on held-out images, and for the report (and which split that is)."""
    images = _some(bank.split_images("train"), rng)
    if not len(images):
        raise DSAError(
            "The bank has no images in split 'train', so there is nothing to train on; pass "
            "splits= when making it."
        )
    held_out = _sampler_or_none(bank, "validation", rng, seed)
    if held_out is None:
        cut = max(1, round(HELD_OUT * len(images)))
        shuffled = rng.permutation(images)
        held_out = QuestionSampler(bank, "train", np.sort(shuffled[:cut]), seed=seed)
        images = np.sort(shuffled[cut:])
    train = QuestionSampler(bank, "train", images, equal_kinds=True, seed=seed)
    judge = _sampler_or_none(bank, "test", rng, seed)
    return train, held_out, "validation" if judge is None else "test", judge or held_out


def _sampler_or_none(
    bank: FeatureBank, split: str, rng: np.random.Generator, seed: int
) -> QuestionSampler | None:
    images = _some(bank.split_images(split), rng)
    if not len(images) or bank.text_facts is None or bank.image_facts is None:
        return None
    asserted = bank.text_facts.take(bank.split_texts(split)).indices
    if not np.isin(bank.image_facts.take(images).indices, asserted).any():
        return None
    return QuestionSampler(bank, split, images, seed=seed)


def _some(images: Ints, rng: np.random.Generator) -> Ints:
    if len(images) <= MOST_IMAGES:
        return images
    return np.sort(rng.choice(images, MOST_IMAGES, replace=False))


def _per_image(sampler: QuestionSampler) -> int:
    """True facts an image for some 15,000 questions in all, at most 64."""
    return int(np.clip(7_500 // max(len(sampler.images), 1), 4, 64))


def _new_detector(
    bank: FeatureBank, images: Ints, config: DetectorConfig | None, seed: int
) -> HallucinationDetector:
    """Initial weights from the seed, inputs standardised by the train split."""
    assert bank.fact_features is not None
    features = bank.fact_features
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        detector = HallucinationDetector(
            config or DetectorConfig(phrase_dim=int(features.shape[1]), image_dim=bank.dim)
        )
    detector.check(bank)
    network, few = detector.network, images[:: max(1, len(images) // 4096)]
    asserted = np.unique(bank.text_facts.take(bank.split_texts("train")).indices)  # type: ignore[union-attr]
    views = [bank.image_coarse[few], bank.fine_features(few)]
    regions = views[1]
    if bank.image_regions is not None and bank.region_counts is not None:
        used = np.arange(bank.image_regions.shape[1]) < bank.region_counts[few][:, None]
        regions = bank.image_regions[few][used] if used.any() else regions
    _standardise(network.phrase_mean, network.phrase_std, features[asserted])
    for row, view in enumerate([*views, regions]):
        _standardise(network.image_mean[row], network.image_std[row], view)
    return detector


def _standardise(mean: Tensor, std: Tensor, rows: NDArray[Any]) -> None:
    """Fill in the statistics of rows; a feature that hardly varies is not blown up."""
    values = as_tensor(rows)
    spread = values.std(dim=0, correction=0)
    mean.copy_(values.mean(dim=0))
    std.copy_(spread.clamp(min=max(0.1 * float(spread.mean()), 1e-3)))


def _fit(
    detector: HallucinationDetector,
    bank: FeatureBank,
    sampler: QuestionSampler,
    asked: Questions,
    rng: np.random.Generator,
    budget: int,
    progress: bool,
) -> dict[str, Any]:
    """Train in place; ends with the weights that were best on the held-out questions."""
    per_epoch = len(sampler.images) * 2 * PER_IMAGE
    epochs = int(np.clip(round(budget / per_epoch), 1, MOST_EPOCHS))
    steps = epochs * -(-len(sampler.images) // BATCH)
    optimiser = torch.optim.AdamW(
        detector.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, max_lr=LEARNING_RATE, total_steps=steps + 1, pct_start=0.1, cycle_momentum=False
    )
    check_every = max(1, -(-steps // CHECKS))
    best, best_state, stale, done, seen = np.inf, detector.state_dict(), 0, 0, 0
    shown = bar("Hallucination detector", steps) if progress else nullcontext(None)
    with shown as moving:
        for batch in _batches(sampler, rng, epochs):
            loss = _loss(detector, bank, batch)
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(detector.parameters(), 1.0)
            optimiser.step()
            schedule.step()
            done, seen = done + 1, seen + len(batch)
            if done % check_every == 0 or done == steps:
                logits = detector.logits(bank, asked.fact, asked.image)
                now = cross_entropy(asked.label, logits)
                sampler.weigh_kinds(_difficulty(asked, logits, sampler.n_kinds))
                stale = stale + 1 if now >= best else 0
                if now < best:
                    best, best_state = now, _copy(detector)
                _tell(moving, now)
                if stale >= PATIENCE:
                    break
            if moving is not None:
                moving.advance()
    detector.load_state_dict(best_state)
    return {
        "images": len(sampler.images),
        "questions": seen,
        "steps": done,
        "held_out_cross_entropy": round(float(best), 4),
    }


def _batches(
    sampler: QuestionSampler, rng: np.random.Generator, epochs: int
) -> Iterator[Questions]:
    """Questions about `BATCH` images at a time, sorted by image; new questions each epoch."""
    for _ in range(epochs):
        questions = sampler.sample(PER_IMAGE, rng)
        _, start = np.unique(questions.image, return_index=True)
        indptr = np.append(start, len(questions)).astype(np.int64)
        by_image = Ragged(indptr, np.arange(len(questions), dtype=np.int32))
        order = rng.permutation(len(by_image))
        for first in range(0, len(order), BATCH):
            at = by_image.take(np.sort(order[first : first + BATCH])).indices
            yield Questions(*(getattr(questions, name)[at] for name in vars(questions)))


def _loss(detector: HallucinationDetector, bank: FeatureBank, batch: Questions) -> Tensor:
    """Mean binary cross-entropy of one batch."""
    assert bank.fact_features is not None
    images, image_of_row, slot, width = rows_of(batch.image, 2 * PER_IMAGE)
    fact_at = np.zeros(len(image_of_row) * width, dtype=np.int64)
    fact_at[slot] = batch.fact
    codes = detector.network.encode_phrases(as_tensor(bank.fact_features[fact_at]))
    tokens = encode_images(detector.network, bank, images)
    if len(image_of_row) > len(images):
        tokens = tokens.take(torch.from_numpy(image_of_row))
    logits = detector(codes.view(len(image_of_row), width, -1), tokens)
    return torch.nn.functional.binary_cross_entropy_with_logits(
        logits.flatten()[torch.from_numpy(slot)], torch.from_numpy(batch.label)
    )


def _difficulty(asked: Questions, logits: NDArray[np.float32], n_kinds: int) -> list[float]:
    """How hard each kind of fact still is, [n_kinds]: its cross-entropy, with a floor."""
    overall = cross_entropy(asked.label, logits)
    of_kind = (asked.kind == kind for kind in range(n_kinds))
    return [
        max(LEAST * overall, cross_entropy(asked.label[own], logits[own]), 1e-9)
        if own.any()
        else overall
        for own in of_kind
    ]


def _copy(detector: HallucinationDetector) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in detector.state_dict().items()}


def _tell(shown: Bar | None, cross_entropy: float) -> None:
    if shown is not None:
        shown.describe(f"Hallucination detector (held-out loss {cross_entropy:.3f})")


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """Use that many torch threads in the body."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
