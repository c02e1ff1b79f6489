"""Training of an alignment matrix with the bi-directional contrastive loss; resumable."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from dsa_env.alignment.checkpoint import Progress, load_progress, save_progress
from dsa_env.alignment.losses import DIRECTIONS, contrastive_loss
from dsa_env.alignment.matrix import AlignmentConfig, AlignmentMatrix
from dsa_env.alignment.pairs import Batch, Pairs, similarities
from dsa_env.alignment.stability import (
    CLIP,
    MATRIX_LR,
    REST_LR,
    StepRecorder,
    parameter_groups,
)
from dsa_env.errors import DSAError, unknown
from dsa_env.progress import bar

MOST_SCALE = 100.0
"""The largest 1 / temperature, as in CLIP."""
ENDS, MIDDLE = (0.0, 1.0), 0.5
"""Granularities of the coarse and the fine view, and of the blend that validation looks at."""
HELD_OUT_PAIRS, HELD_OUT_BATCH = 2048, 256
"""Pairs that the validation loss is measured on, and how many are told apart at a time."""


@dataclass(frozen=True)
class AlignmentSettings:
    """How an alignment is trained; the defaults are the source paper's where it names one.

    Attributes:
        epochs: passes over the training pairs at most.
        batch: pairs a step, told apart from each other.
        patience: epochs without a better validation loss that end the training; None: never.
        matrix_lr: Adam's learning rate of A.
        rest_lr: that of input projections and temperature.
        clip: largest length of the gradient; None: no clipping.
        temperature: of the contrastive loss at the start; it is learnt.
        direction: of the loss: ``"both"``, ``"image_to_text"`` or ``"text_to_image"``.
        frozen: keep A at its start.
        blend: learn from the blended view too, at a granularity drawn for every step; without,
            from the coarse and the fine view alone.
    """

    epochs: int = 50
    batch: int = 32
    patience: int | None = 5
    matrix_lr: float = MATRIX_LR
    rest_lr: float = REST_LR
    clip: float | None = CLIP
    temperature: float = 0.07
    direction: str = "both"
    frozen: bool = False
    blend: bool = True

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            DSAError: a value that no training can use.
        """
        if self.direction not in DIRECTIONS:
            raise unknown("direction of the loss", self.direction, DIRECTIONS)
        least = {"epochs": 1, "batch": 2, "patience": 1}
        for name, low in least.items():
            value = getattr(self, name)
            if value is not None and (not isinstance(value, int) or value < low):
                raise DSAError(f"{name} must be a whole number from {low}, got {value!r}.")
        for name in ("matrix_lr", "rest_lr", "clip", "temperature"):
            value = getattr(self, name)
            if value is not None and not 0 < value < float("inf"):
                raise DSAError(f"{name} must be above 0, got {value!r}.")


class _Trainee(nn.Module):
    """The alignment and the temperature that is learnt with it."""

    def __init__(self, alignment: AlignmentMatrix, temperature: float) -> None:
        super().__init__()
        self.alignment = alignment
        self.log_scale = nn.Parameter(torch.tensor(1 / temperature).log())

    def loss(
        self, pairs: Pairs, batch: Batch, direction: str, granularities: Sequence[float]
    ) -> Tensor:
        """The mean over the granularities of the contrastive loss of text and blended view."""
        scale = self.log_scale.exp().clamp(max=MOST_SCALE)
        texts_ask, images_ask = similarities(self.alignment, pairs, batch)
        losses = [
            contrastive_loss(
                texts_ask.at(g) * scale,
                images_ask.at(g) * scale,
                direction=direction,
                also_positive=batch.also_positive,
            )
            for g in (granularities if pairs.fine is not None else (0.0,))
        ]
        return torch.stack(losses).mean()


def train_alignment(
    train: Pairs,
    validation: Pairs,
    config: AlignmentConfig | None = None,
    settings: AlignmentSettings | None = None,
    *,
    seed: int = 0,
    data: str | None = None,
    checkpoint: Path | None = None,
    progress: bool = True,
) -> tuple[AlignmentMatrix, dict[str, Any]]:
    """Train an alignment on pairs of texts and images.

    Each epoch passes over all pairs in a new order; the loss of a step is the mean of the coarse
    view's, the fine view's and the blend's. After an epoch that loss (in both directions, the
    blend at g = 0.5) is measured on held-out pairs; the state with the least of it is kept,
    the start included, and `patience` epochs without a better one end the training.

    The same seed and pairs give the same alignment on the same machine, interrupted or not: after
    every epoch the state is written to `checkpoint`, and a call with the same arguments goes on
    from there.

    Args:
        train: pairs to learn from.
        validation: held-out pairs, of other images.
        config: form of the matrix; by default the paper's, for the widths of `train`.
        settings: how to train.
        seed: of the start and the order.
        data: what says which features these are, such as their bank's hash: a checkpoint made of
            others is refused.
        checkpoint: file to keep the state in; None keeps none.
        progress: show a progress bar on standard error.

    Returns:
        The alignment, in evaluation mode, and a report for JSON: {"epochs": one {"epoch",
        "validation_loss", "temperature", "train_loss", "gradient_norm" (mean), "clipped_share"}
        each (the last three are None for epoch 0, the start),
        "best_epoch", "stopped_early", "stability" (see `StepRecorder.report`), "parameters",
        "pairs", "held_out", "data", "seconds", "settings", "config", "seed"}.

    Raises:
        DSAError: widths that do not fit, NaN in the features, or a checkpoint of another training.
    """
    if seed < 0:
        raise DSAError(f"seed must be 0 or more, got {seed}.")
    settings = settings or AlignmentSettings()
    config = config or AlignmentConfig(*train.widths)
    _check_widths(config, train, "training")
    _check_widths(config, validation, "validation")
    alignment = AlignmentMatrix(config, seed)
    if settings.frozen:
        alignment.freeze()
    trainee = _Trainee(alignment, settings.temperature)
    optimiser = torch.optim.Adam(
        parameter_groups(trainee, settings.matrix_lr, settings.rest_lr), foreach=True
    )
    recorder = StepRecorder(trainee, settings.clip)
    identity = {"config": config.to_json(), "settings": asdict(settings), "seed": seed}
    identity |= {"pairs": len(train), "held_out": len(validation), "data": data}
    state = Progress()
    if checkpoint is not None and checkpoint.exists():
        state = load_progress(checkpoint, identity, trainee, optimiser, recorder)
    steps = -(-len(train) // settings.batch)
    started = time.perf_counter() - state.seconds
    held_out = list(_held_out(validation, seed))
    seen = (*ENDS, MIDDLE) if settings.blend else ENDS
    judge = partial(_validate, trainee, validation, held_out, seen)
    shown = bar("Alignment", settings.epochs * steps, len(recorder.norms))
    with shown if progress else nullcontext(None) as moving:
        if not state.epochs:
            state.tell(trainee, judge(), train_loss=None, gradient_norm=None, clipped_share=None)
        while len(state.epochs) <= settings.epochs and not state.stale(settings.patience):
            rng = np.random.default_rng([seed, len(state.epochs)])
            order, drawn = rng.permutation(len(train)), rng.random(steps).tolist()
            losses = []
            for rows, g in zip(np.array_split(order, steps), drawn, strict=True):
                optimiser.zero_grad(set_to_none=True)
                views = (*ENDS, g) if settings.blend else ENDS
                loss = trainee.loss(train, train.batch(rows), settings.direction, views)
                loss.backward()
                recorder.step(optimiser)
                losses.append(float(loss.detach()))
                if moving is not None:
                    moving.advance()
            state.tell(
                trainee,
                judge(),
                train_loss=float(np.mean(losses)),
                gradient_norm=float(np.mean(recorder.norms[-steps:])),
                clipped_share=float(np.mean(recorder.clipped[-steps:])),
            )
            state.seconds = time.perf_counter() - started
            if moving is not None:
                moving.describe(f"Alignment (validation loss {state.losses[-1]:.3f})")
            if checkpoint is not None:
                save_progress(checkpoint, identity, state, trainee, optimiser, recorder)
    trainee.load_state_dict(state.best)
    report = {
        **state.report(settings.patience),
        "stability": recorder.report(state.losses),
        "parameters": sum(one.numel() for one in alignment.parameters()),
        "seconds": round(time.perf_counter() - started, 2),
        **identity,
    }
    return alignment.eval().requires_grad_(False), report


@torch.no_grad()
def _validate(
    trainee: _Trainee,
    pairs: Pairs,
    batches: list[NDArray[np.int64]],
    granularities: Sequence[float],
) -> float:
    """The mean contrastive loss, both directions whatever the training's."""
    losses = [
        float(trainee.loss(pairs, pairs.batch(rows), "both", granularities)) for rows in batches
    ]
    value = float(np.average(losses, weights=[len(rows) for rows in batches]))
    if not np.isfinite(value):
        raise DSAError(
            f"The validation loss is {value}; are there NaN or infinity in the features?"
        )
    return value


def _held_out(pairs: Pairs, seed: int) -> Iterator[NDArray[np.int64]]:
    """Rows of the held-out pairs, batch by batch; the same ones every time."""
    order = np.random.default_rng([seed, 0, 1]).permutation(len(pairs))[:HELD_OUT_PAIRS]
    yield from np.array_split(order, -(-len(order) // HELD_OUT_BATCH))


def _check_widths(config: AlignmentConfig, pairs: Pairs, what: str) -> None:
    visual, logical = pairs.widths
    for name, width in {**visual, **logical}.items():
        wanted = config.modalities.get(name)
        if wanted != width:
            raise DSAError(
                f"The {what} pairs have {name} features of width {width}, but the alignment "
                f"{'has no such modality' if wanted is None else f'takes {wanted}'}; make its "
                "configuration from the pairs' widths."
            )
