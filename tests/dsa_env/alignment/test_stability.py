"""Tests of clipped steps and of what they record."""

import math

import pytest
import torch

from dsa_env.alignment import AlignmentConfig, AlignmentMatrix
from dsa_env.alignment.stability import StepRecorder, parameter_groups
from dsa_env.errors import DSAError

WIDTH = 4


def made(**options):
    return AlignmentMatrix(AlignmentConfig({"image": 6}, {"text": WIDTH}, **options))


def step(model, recorder, optimiser, size=1.0):
    optimiser.zero_grad()
    (size * model.matrix("text").sum()).backward()
    return recorder.step(optimiser)


@pytest.mark.parametrize(("size", "clipped"), [(0.01, False), (100.0, True)])
def test_the_clip_acts_on_large_gradients_alone_and_says_so(size, clipped):
    model = made()
    before = model.matrix("text").detach().clone()
    recorder, optimiser = StepRecorder(model), torch.optim.SGD(model.parameters(), lr=1.0)
    norm = step(model, recorder, optimiser, size)
    moved = float((model.matrix("text").detach() - before).norm())
    assert norm == pytest.approx(size * WIDTH, rel=1e-5)
    assert moved == pytest.approx(min(norm, 1.0), rel=1e-4)
    assert recorder.clipped == [clipped]
    assert recorder.report()["clipped_share"] == float(clipped)


def test_without_a_clip_the_whole_gradient_counts():
    model = made()
    before = model.matrix("text").detach().clone()
    recorder = StepRecorder(model, clip=None)
    step(model, recorder, torch.optim.SGD(model.parameters(), lr=1.0), 100.0)
    assert float((model.matrix("text").detach() - before).norm()) == pytest.approx(400.0, rel=1e-4)
    assert recorder.clipped == [False]


def test_a_steady_way_is_straight_and_a_swing_is_not():
    for signs, cosine, straight in (([1.0] * 50, 1.0, 1.0), ([1.0, -1.0] * 25, -1.0, 0.0)):
        model = made()
        recorder, optimiser = StepRecorder(model), torch.optim.SGD(model.parameters(), lr=1e-3)
        for sign in signs:
            step(model, recorder, optimiser, sign)
        report = recorder.report([3.0, 2.0, 2.5])
        assert report["steps"] == 50
        assert report["update_cosine"] == pytest.approx(cosine, abs=1e-3)
        assert report["swing_share"] == float(cosine < 0)
        assert report["straightness"] == pytest.approx(straight, abs=1e-3)
        assert report["validation_variance"] == pytest.approx(0.75**2)


def test_a_restored_record_goes_on_as_if_nothing_had_happened():
    model = made()
    whole, first, second = (StepRecorder(model) for _ in range(3))
    optimiser = torch.optim.SGD(model.parameters(), lr=1e-3)
    start = {name: value.clone() for name, value in model.state_dict().items()}
    for size in (1.0, 2.0, -1.0, 0.5):
        step(model, whole, optimiser, size)
    model.load_state_dict(start)
    for size in (1.0, 2.0):
        step(model, first, optimiser, size)
    second.restore(first.state())
    for size in (-1.0, 0.5):
        step(model, second, optimiser, size)
    assert second.report() == whole.report()
    assert second.norms == whole.norms


def test_the_matrix_learns_slowly_and_everything_else_faster():
    groups = parameter_groups(made())
    assert [group["lr"] for group in groups] == [1e-4, 1e-3]
    assert [sum(p.numel() for p in group["params"]) for group in groups] == [16, 6 * 4 + 4]
    assert [group["lr"] for group in parameter_groups(made().freeze())] == [1e-3]
    assert len(parameter_groups(torch.nn.Linear(2, 2))) == 1


def test_a_frozen_matrix_leaves_nothing_to_record_of_its_way():
    model = made().freeze()
    recorder = StepRecorder(model)
    model(torch.ones(3, 6), "image").sum().backward()
    recorder.step(torch.optim.SGD(parameter_groups(model)))
    report = recorder.report()
    assert report["steps"] == 1
    assert report["update_cosine"] is report["straightness"] is None


def test_gradients_that_are_not_finite_are_refused_before_they_do_harm():
    model = made()
    before = model.matrix("text").detach().clone()
    optimiser = torch.optim.SGD(model.parameters(), lr=1.0)
    with pytest.raises(DSAError, match="The gradient of step 1 is nan"):
        step(model, StepRecorder(model), optimiser, math.nan)
    assert torch.equal(before, model.matrix("text"))
    with pytest.raises(DSAError, match="clip must be above 0"):
        StepRecorder(model, clip=0.0)
