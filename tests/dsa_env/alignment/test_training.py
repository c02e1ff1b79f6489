"""Tests of the training: what it finds, when it stops, that it can be interrupted."""

import json

import numpy as np
import pytest
import torch

from dsa_env.alignment import AlignmentConfig, fit_least_squares
from dsa_env.alignment import training as module
from dsa_env.alignment.pairs import Pairs
from dsa_env.alignment.training import AlignmentSettings, train_alignment
from dsa_env.errors import DSAError
from tests.dsa_env.alignment.worlds import linear_pairs

QUICK = AlignmentSettings(epochs=3)


def run(settings=QUICK, seed=0, config=None, **options):
    pairs = linear_pairs(), linear_pairs(64, seed=1)
    return train_alignment(*pairs, config, settings, seed=seed, progress=False, **options)


def found_first(model, pairs):
    """The share of texts whose own image is the nearest."""
    every = pairs.batch(np.arange(len(pairs)))
    with torch.no_grad():
        alike = model.unit(every.text, "text") @ model.unit(every.coarse, "coarse").T
    return float((alike.argmax(dim=1) == torch.arange(len(pairs))).float().mean())


def test_it_finds_the_map_between_two_linear_views_as_well_as_the_closed_form():
    pairs, held_out = linear_pairs(), linear_pairs(64, seed=1)
    settings = AlignmentSettings(epochs=40, matrix_lr=1e-2, rest_lr=1e-2)
    model, report = train_alignment(pairs, held_out, None, settings, progress=False)
    every = held_out.batch(np.arange(len(held_out)))
    data = pairs.batch(np.arange(len(pairs)))
    exact = fit_least_squares(data.coarse, data.text)
    recovered = torch.nn.functional.normalize(every.coarse.double() @ exact.T, dim=-1)
    said = torch.nn.functional.normalize(every.text.double(), dim=-1)
    closed = float(((said @ recovered.T).argmax(1) == torch.arange(64)).float().mean())
    assert closed > 0.95
    assert found_first(model, held_out) > 0.95
    assert report["epochs"][-1]["validation_loss"] < 0.1 * report["epochs"][0]["validation_loss"]
    with torch.no_grad():  # the image's side does what the closed form does, seen by the text's
        learnt = model.unit(every.coarse, "coarse")
        wanted = model.unit(every.coarse @ exact.T.float(), "text")
    assert (learnt * wanted).sum(dim=1).mean() > 0.98


def test_the_papers_settings_are_the_defaults():
    settings = AlignmentSettings()
    assert (settings.matrix_lr, settings.rest_lr) == (1e-4, 1e-3)
    assert (settings.clip, settings.batch, settings.epochs) == (1.0, 32, 50)
    assert settings.direction == "both"


def test_it_stops_when_validation_gets_no_better_and_keeps_the_best(monkeypatch):
    losses = iter([5.0, 4.0, 3.0, 3.5, 3.0, 9.0, 1.0])
    states = []

    def validate(trainee, pairs, batches, granularities):
        states.append(trainee.alignment.matrix("text").detach().clone())
        return next(losses)

    monkeypatch.setattr(module, "_validate", validate)
    model, report = run(AlignmentSettings(epochs=50, patience=3))
    assert report["stopped_early"]
    assert report["best_epoch"] == 2
    assert [epoch["validation_loss"] for epoch in report["epochs"]] == [5, 4, 3, 3.5, 3, 9]
    assert torch.equal(model.matrix("text"), states[2])


def test_without_patience_it_goes_through_all_epochs(monkeypatch):
    losses = iter([1.0, 2.0, 3.0, 4.0])
    monkeypatch.setattr(module, "_validate", lambda *_: next(losses))
    model, report = run(AlignmentSettings(epochs=3, patience=None))
    assert not report["stopped_early"]
    assert len(report["epochs"]) == 4
    assert report["best_epoch"] == 0
    assert model.matrix("text").abs().max() <= 0.01  # the start was best


def test_the_report_is_json_and_says_what_happened():
    _, report = run()
    assert json.loads(json.dumps(report, allow_nan=False)) == report
    assert report["stability"]["steps"] == 3 * 8
    assert report["stability"]["clipped_share"] == 1.0
    start, first, *_ = report["epochs"]
    assert start["gradient_norm"] is start["train_loss"] is None
    assert first["gradient_norm"] > 1
    assert first["clipped_share"] == 1
    assert report["parameters"] == 6 * 6 + 8 * 6 + 6
    assert report["pairs"] == 256
    assert report["held_out"] == 64


def test_the_same_seed_gives_the_same_alignment_and_another_seed_another():
    (first, one), (again, two), (other, _) = run(), run(), run(seed=1)
    for name, value in first.state_dict().items():
        assert torch.equal(value, again.state_dict()[name])
    assert one["epochs"] == two["epochs"]
    assert not torch.equal(first.matrix("text"), other.matrix("text"))


@pytest.mark.parametrize("frozen", [False, True])
def test_an_interrupted_training_ends_bit_for_bit_like_one_that_was_not(
    tmp_path, monkeypatch, frozen
):
    settings = AlignmentSettings(epochs=4, frozen=frozen)
    whole, report = run(settings)
    file, real, calls = tmp_path / "state", module._validate, []

    def interrupted(*arguments):
        calls.append(1)
        if len(calls) == 4:  # in the third epoch, after the second was written down
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(module, "_validate", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(settings, checkpoint=file)
    monkeypatch.setattr(module, "_validate", real)
    resumed, told = run(settings, checkpoint=file)
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name])
    for name in ("epochs", "best_epoch", "stability"):
        assert told[name] == report[name]
    assert run(settings, checkpoint=file)[1]["epochs"] == report["epochs"]  # already finished


def test_a_checkpoint_of_another_training_or_a_damaged_one_is_refused(tmp_path):
    file = tmp_path / "state"
    run(checkpoint=file)
    with pytest.raises(DSAError, match="a training with other settings; go on with its own"):
        run(AlignmentSettings(epochs=4), checkpoint=file)
    with pytest.raises(DSAError, match="other seed"):
        run(seed=1, checkpoint=file)
    with pytest.raises(DSAError, match="other data"):
        run(data="another bank", checkpoint=file)
    whole = file.read_bytes()
    for damaged in (whole[:-5], whole[:100], b"", b"\x80\x04K\x01."):
        file.write_bytes(damaged)
        with pytest.raises(DSAError, match="cannot be resumed from"):
            run(checkpoint=file)


def test_one_direction_alone_trains_otherwise_and_is_validated_alike():
    both, one = run(), run(AlignmentSettings(epochs=3, direction="image_to_text"))
    assert both[1]["epochs"][0] == one[1]["epochs"][0]
    assert not torch.equal(both[0].matrix("text"), one[0].matrix("text"))


def test_a_frozen_matrix_stays_while_its_projection_learns():
    model, report = run(AlignmentSettings(epochs=3, frozen=True))
    start, _ = run(AlignmentSettings(epochs=1, frozen=True), seed=0)
    assert torch.equal(model.matrix("text"), start.matrix("text"))
    assert report["stability"]["straightness"] is None
    assert report["epochs"][-1]["train_loss"] < report["epochs"][1]["train_loss"]


def test_without_the_clip_nothing_is_clipped():
    report = run(AlignmentSettings(epochs=1, clip=None))[1]
    assert report["stability"]["clip"] is None
    assert report["stability"]["clipped_share"] == 0
    assert report["stability"]["gradient_norm"]["max"] > 1


def test_widths_that_do_not_fit_are_refused():
    wrong = AlignmentConfig({"coarse": 9}, {"text": 6})
    with pytest.raises(DSAError, match="coarse features of width 8, but the alignment takes 9"):
        run(config=wrong)
    with pytest.raises(DSAError, match="has no such modality"):
        run(config=AlignmentConfig({"image": 8}, {"text": 6}))
    with pytest.raises(DSAError, match="validation pairs have text features of width 5"):
        train_alignment(linear_pairs(), linear_pairs(text=5), progress=False)


def test_nan_in_mapped_features_ends_the_training_with_a_reason():
    pairs = linear_pairs()
    pairs.coarse[3] = np.nan
    with pytest.raises(DSAError, match=r"gradient of step \d is nan"):
        train_alignment(pairs, linear_pairs(64, seed=1), settings=QUICK, progress=False)
    with pytest.raises(DSAError, match="validation loss is nan"):
        train_alignment(linear_pairs(), pairs, settings=QUICK, progress=False)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": 0}, "epochs must be a whole number from 1"),
        ({"batch": 1}, "batch must be a whole number from 2"),
        ({"patience": 0}, "patience must be"),
        ({"matrix_lr": 0.0}, "matrix_lr must be above 0"),
        ({"temperature": float("nan")}, "temperature must be above 0"),
        ({"direction": "bothe"}, "Did you mean 'both'"),
    ],
)
def test_impossible_settings_are_refused(options, message):
    with pytest.raises(DSAError, match=message):
        AlignmentSettings(**options)


def test_a_bank_smaller_than_a_batch_trains_too(synthetic_bank):
    pairs = [Pairs.from_bank(synthetic_bank, split) for split in ("train", "validation")]
    settings = AlignmentSettings(epochs=1, batch=4096)
    assert train_alignment(*pairs, settings=settings, progress=False)[1]["stability"]["steps"] == 1


def test_learning_from_blends_is_another_training_and_needs_two_views(synthetic_bank):
    pairs = [Pairs.from_bank(synthetic_bank, split) for split in ("train", "validation")]
    plain = AlignmentSettings(epochs=1, blend=False)
    both = [
        train_alignment(*pairs, settings=settings, progress=False)[0].matrix("text")
        for settings in (AlignmentSettings(epochs=1), plain)
    ]
    assert not torch.equal(*both)
    one, same = run(AlignmentSettings(epochs=1))[0], run(plain)[0]
    assert torch.equal(one.matrix("text"), same.matrix("text"))
