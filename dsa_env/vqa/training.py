"""Training of the answering network, under the same conditions for every fusion."""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from dsa_env.alignment.fusion import parameter_count
from dsa_env.alignment.stability import CLIP, MATRIX_LR, REST_LR, StepRecorder, parameter_groups
from dsa_env.errors import DSAError
from dsa_env.progress import bar
from dsa_env.vqa.folder import VQAData
from dsa_env.vqa.model import Batch, VQAModel
from dsa_env.vqa.tensors import Ints, Pictures, QuestionSet

EVALUATED = 1024  # questions at once where nothing is learnt


@dataclass(frozen=True)
class TrainingSettings:
    """How a model is trained; the defaults are the source paper's.

    Attributes:
        batch: questions a step.
        epochs: at most.
        patience: epochs without a better validation accuracy that end training.
        matrix_lr: learning rate of the alignment matrix; rest_lr: of everything else.
        clip: the gradient's largest length; None never clips.
        alignment: weight of the contrastive loss beside the answer's.
        granularity: g of the blend of views; None has both views side by side.
    """

    batch: int = 32
    epochs: int = 50
    patience: int = 5
    matrix_lr: float = MATRIX_LR
    rest_lr: float = REST_LR
    clip: float | None = CLIP
    alignment: float = 0.1
    granularity: float | None = 0.5

    def __post_init__(self) -> None:
        """Check the numbers.

        Raises:
            DSAError: naming the one that is out of range.
        """
        for name in ("batch", "epochs", "patience"):
            if getattr(self, name) < 1:
                raise DSAError(f"{name} must be at least 1, got {getattr(self, name)}.")
        for name in ("matrix_lr", "rest_lr"):
            if not getattr(self, name) > 0:
                raise DSAError(f"{name} must be above 0, got {getattr(self, name)}.")
        if self.alignment < 0:
            raise DSAError(f"alignment must be at least 0, got {self.alignment}.")


@dataclass(frozen=True)
class Trained:
    """A trained model and how it came to be.

    Attributes:
        model: in evaluation mode, with the weights that were best on validation.
        history: {"epoch", "loss", "validation_loss", "validation_accuracy"} of each epoch.
        report: {"parameters", "learning", "seconds", "epochs", "best_epoch", "stopped_early",
            "stability"}, ready for JSON; "stability" is `StepRecorder.report`'s.
    """

    model: VQAModel
    history: list[dict[str, float]]
    report: dict[str, Any]


def train_vqa(
    fusion: str,
    data: VQAData,
    *,
    seed: int = 0,
    settings: TrainingSettings | None = None,
    threads: int = 1,
    progress: bool = True,
) -> Trained:
    """Train a model that answers questions; stops when validation accuracy no longer rises.

    Loss: cross-entropy of the answer + `alignment` * the fusion's contrastive loss, in which
    questions about the same picture are no negatives of each other. Adam. Order, initial weights
    and dropout come from the seed: the same seed, data and number of threads give the same model on
    the same machine.

    Args:
        fusion: one of `dsa_env.vqa.model.FUSION_NAMES`.
        data: questions and pictures.
        seed: of weights, order and dropout.
        settings: the source paper's by default.
        threads: torch threads.
        progress: show a progress bar on standard error.

    Raises:
        DSAError: no training or no validation question has an answer of the vocabulary, or features
            are not finite.
    """
    chosen = settings or TrainingSettings()
    model = VQAModel(
        fusion,
        visual=data.pictures.width,
        text=data.train.texts.shape[1],
        steps=len(data.vocabulary.steps) + 2,
        answers=len(data.vocabulary.answers),
        granularity=chosen.granularity,
        seed=seed,
    )
    recorder = StepRecorder(model, chosen.clip)
    started = time.perf_counter()
    with _threads(threads), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        history, best = _fit(model, data, chosen, recorder, seed, progress, fusion)
    report = {
        "parameters": parameter_count(model),
        "learning": parameter_count(model, learning=True),
        "seconds": round(time.perf_counter() - started, 2),
        "epochs": len(history),
        "best_epoch": best,
        "stopped_early": len(history) < chosen.epochs,
        "stability": recorder.report([entry["validation_loss"] for entry in history]),
    }
    return Trained(model.eval(), history, report)


def _fit(
    model: VQAModel,
    data: VQAData,
    settings: TrainingSettings,
    recorder: StepRecorder,
    seed: int,
    progress: bool,
    name: str,
) -> tuple[list[dict[str, float]], int]:
    """Train in place; ends with the best epoch's weights. Gives the history and that epoch."""
    optimiser = torch.optim.Adam(parameter_groups(model, settings.matrix_lr, settings.rest_lr))
    known = np.flatnonzero(data.train.answer >= 0)
    for split in ("train", "validation"):
        if not (getattr(data, split).answer >= 0).any():
            raise DSAError(
                f"No {split} question has an answer of the vocabulary; check the questions."
            )
    rng = np.random.default_rng(seed)
    history: list[dict[str, float]] = []
    best, best_epoch, best_state = -np.inf, 0, copy.deepcopy(model.state_dict())
    shown = bar(f"{name}, seed {seed}", settings.epochs) if progress else nullcontext(None)
    with shown as moving:
        for epoch in range(1, settings.epochs + 1):
            loss = _epoch(model, data, rng.permutation(known), settings, optimiser, recorder)
            logits = predict(model, data.pictures, data.validation)
            accuracy = float(data.validation.scores(logits.argmax(dim=1).numpy()).mean())
            entry = {"epoch": float(epoch), "loss": loss, "validation_accuracy": accuracy}
            history.append(entry | {"validation_loss": _loss_of(logits, data.validation)})
            if accuracy > best:
                best, best_epoch, best_state = accuracy, epoch, copy.deepcopy(model.state_dict())
            if moving is not None:
                moving.describe(f"{name}, seed {seed} (validation {accuracy:.3f})")
                moving.advance()
            if epoch - best_epoch >= settings.patience:
                break
    model.load_state_dict(best_state)
    return history, best_epoch


def _epoch(
    model: VQAModel,
    data: VQAData,
    order: Ints,
    settings: TrainingSettings,
    optimiser: torch.optim.Optimizer,
    recorder: StepRecorder,
) -> float:
    """One pass over the training questions; gives the mean loss of the answers."""
    model.train()
    total = 0.0
    for rows in np.array_split(order, max(1, round(len(order) / settings.batch))):
        image = data.train.image[rows]
        same = torch.from_numpy(image[:, None] == image)
        logits, alignment = model.losses(take(data.pictures, data.train, rows), same)
        loss = cross_entropy(logits, torch.from_numpy(data.train.answer[rows]))
        optimiser.zero_grad(set_to_none=True)
        (loss + settings.alignment * alignment).backward()
        recorder.step(optimiser)
        total += loss.item() * len(rows)
    return total / len(order)


def take(pictures: Pictures, questions: QuestionSet, rows: Ints) -> Batch:
    """Some questions with their pictures, as a model takes them."""
    visual, counts, coarse = pictures.take(questions.image[rows])
    text = torch.from_numpy(questions.texts[questions.text[rows]])
    return Batch(visual, counts, coarse, text, torch.from_numpy(questions.program[rows]))


@torch.no_grad()
def predict(model: VQAModel, pictures: Pictures, questions: QuestionSet) -> Tensor:
    """Logits [Q, A] of all questions; the model is in evaluation mode afterwards."""
    model.eval()
    rows = np.arange(len(questions))
    parts = [
        model(take(pictures, questions, rows[start : start + EVALUATED]))
        for start in range(0, len(rows), EVALUATED)
    ]
    return torch.cat(parts)


def _loss_of(logits: Tensor, questions: QuestionSet) -> float:
    """Mean cross-entropy of the questions whose answer is known, of which there are some."""
    known = torch.from_numpy(np.flatnonzero(questions.answer >= 0))
    return float(cross_entropy(logits[known], torch.from_numpy(questions.answer)[known]))


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """Use that many torch threads in the body."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
