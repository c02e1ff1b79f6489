"""Training answers better than chance, stops in time, and says what went on."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from dsa_env.errors import DSAError
from dsa_env.vqa.folder import VQAData, make_data, read_folder
from dsa_env.vqa.generation import write_questions
from dsa_env.vqa.training import TrainingSettings, predict, train_vqa
from tests.dsa_env.vqa.small_world import SIZES, CountedWords, small_bank, write_scenes

QUICK = TrainingSettings(batch=32, epochs=3, rest_lr=3e-3, matrix_lr=3e-4)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> VQAData:
    folder = write_scenes(tmp_path_factory.mktemp("world"))
    for split in SIZES:
        write_questions(folder, split, per_image=6)
    encoder: Any = CountedWords()
    return make_data(small_bank(), read_folder(folder), encoder)


def test_it_learns_and_the_same_seed_learns_the_same(data: VQAData) -> None:
    settings = replace(QUICK, epochs=2)
    first, again = (train_vqa("dynamic", data, settings=settings, progress=False) for _ in range(2))
    assert first.history[-1]["loss"] < first.history[0]["loss"]
    assert first.history == again.history
    logits = predict(first.model, data.pictures, data.test)
    assert torch.equal(logits, predict(again.model, data.pictures, data.test))
    chance = np.bincount(data.test.answer).max() / len(data.test)
    assert data.test.scores(logits.argmax(dim=1).numpy()).mean() > chance


def test_the_best_epochs_weights_are_kept_and_training_stops(data: VQAData) -> None:
    settings = replace(QUICK, epochs=12, patience=2, rest_lr=3e-2)
    trained = train_vqa("static", data, settings=settings, progress=False)
    best = max(entry["validation_accuracy"] for entry in trained.history)
    logits = predict(trained.model, data.pictures, data.validation)
    found = data.validation.scores(logits.argmax(dim=1).numpy()).mean()
    assert found == pytest.approx(best)
    assert trained.report["stopped_early"]
    assert trained.report["epochs"] == trained.report["best_epoch"] + 2


def test_clipping_and_the_slow_rate_can_be_left_out(data: VQAData) -> None:
    steady = train_vqa("dynamic", data, settings=replace(QUICK, epochs=1), progress=False)
    wild = train_vqa(
        "dynamic",
        data,
        settings=replace(QUICK, epochs=1, clip=None, matrix_lr=3e-3),
        progress=False,
    )
    assert steady.report["stability"]["clipped_share"] > 0
    assert wild.report["stability"]["clipped_share"] == 0
    assert steady.report["stability"]["update_cosine"] is not None


def test_a_frozen_matrix_stays_as_it_was(data: VQAData) -> None:
    trained = train_vqa("dynamic-frozen", data, settings=replace(QUICK, epochs=1), progress=False)
    alignment: Any = trained.model.fusion.alignment
    assert alignment.matrix("visual").abs().max() <= 0.01
    assert trained.report["learning"] < trained.report["parameters"]


def test_what_cannot_be_learnt_is_refused(data: VQAData) -> None:
    nothing = replace(data, train=replace(data.train, answer=np.full(len(data.train), -1)))
    with pytest.raises(DSAError, match="No train question"):
        train_vqa("static", nothing, settings=QUICK, progress=False)
    broken = replace(data.train, texts=np.full_like(data.train.texts, np.nan))
    with pytest.raises(DSAError, match="NaN"):
        train_vqa("dynamic", replace(data, train=broken), settings=QUICK, progress=False)


@pytest.mark.parametrize(
    ("name", "value"), [("batch", 0), ("epochs", 0), ("rest_lr", 0.0), ("alignment", -1.0)]
)
def test_settings_out_of_range_are_named(name: str, value: float) -> None:
    with pytest.raises(DSAError, match=f"{name} must be"):
        TrainingSettings(**{name: value})  # type: ignore[arg-type]
