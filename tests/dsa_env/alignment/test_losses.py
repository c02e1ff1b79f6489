"""Tests of the contrastive loss and of the closed form."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dsa_env.alignment import (
    AlignmentConfig,
    AlignmentMatrix,
    contrastive_loss,
    fit_least_squares,
)
from dsa_env.errors import DSAError


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@given(st.integers(1, 9), st.integers(0, 9))
def test_it_is_the_mean_of_both_directions_cross_entropies(n, seed):
    s = draw(n, n, seed=seed)
    rows = -torch.diagonal(s - torch.logsumexp(s, dim=1, keepdim=True)).mean()
    columns = -torch.diagonal(s - torch.logsumexp(s, dim=0, keepdim=True)).mean()
    torch.testing.assert_close(contrastive_loss(s), (rows + columns) / 2)
    torch.testing.assert_close(contrastive_loss(s, direction="text_to_image"), rows)
    torch.testing.assert_close(contrastive_loss(s, direction="image_to_text"), columns)
    torch.testing.assert_close(contrastive_loss(s.T), contrastive_loss(s))


@given(st.integers(2, 9))
def test_knowing_nothing_costs_log_n_and_knowing_all_nothing(n):
    assert float(contrastive_loss(torch.zeros(n, n))) == pytest.approx(math.log(n), abs=1e-5)
    assert float(contrastive_loss(1e4 * torch.eye(n))) == 0


def test_pairs_that_belong_together_too_count_neither_way():
    s = draw(4, 4)
    also = torch.eye(4, dtype=torch.bool)
    also[0, 2] = also[2, 0] = True
    changed = s.clone()
    changed[0, 2] = changed[2, 0] = 50.0
    kept = contrastive_loss(s, also_positive=also)
    torch.testing.assert_close(kept, contrastive_loss(changed, also_positive=also))
    assert kept < contrastive_loss(s)


def test_wrong_input_is_refused():
    with pytest.raises(DSAError, match="Did you mean 'text_to_image'"):
        contrastive_loss(torch.zeros(2, 2), direction="text_to_images")
    with pytest.raises(DSAError, match=r"must be \[B, B\]"):
        contrastive_loss(torch.zeros(2, 3))


@given(st.integers(1, 5), st.integers(1, 5), st.integers(0, 9))
def test_least_squares_recovers_a_linear_map_and_agrees_with_numpy(width, target, seed):
    x, true = draw(30, width, seed=seed), draw(target, width, seed=seed + 100)
    torch.testing.assert_close(fit_least_squares(x, x @ true.T), true, rtol=1e-6, atol=1e-8)
    y = draw(30, target, seed=seed + 200)
    expected = np.linalg.lstsq(x.numpy(), y.numpy(), rcond=None)[0].T
    np.testing.assert_allclose(fit_least_squares(x, y).numpy(), expected, rtol=1e-6, atol=1e-8)
    assert fit_least_squares(x, y, ridge=5.0).norm() < fit_least_squares(x, y).norm()


def test_least_squares_refuses_what_does_not_pair_up_or_is_not_finite():
    with pytest.raises(DSAError, match="rows that pair up"):
        fit_least_squares(draw(4, 2), draw(5, 2))
    with pytest.raises(DSAError, match="NaN or infinity"):
        fit_least_squares(draw(4, 2) * torch.nan, draw(4, 2))


def test_a_matrix_trained_on_the_squared_error_reaches_the_closed_form():
    """|A v - l|^2 over linear data with noise: gradient descent ends at the normal equations."""
    v, true = draw(200, 4).float(), draw(4, 4, seed=1).float()
    target = v @ true.T + 0.1 * draw(200, 4, seed=2).float()
    model = AlignmentMatrix(AlignmentConfig({"image": 4}, {"text": 4}))
    optimiser = torch.optim.LBFGS(model.parameters(), max_iter=100, tolerance_change=1e-12)

    def error():
        optimiser.zero_grad()
        loss = (model(v, "image") - target).square().mean()
        loss.backward()
        return loss

    optimiser.step(error)
    found = model.matrix("image").detach().double()
    torch.testing.assert_close(found, fit_least_squares(v, target), rtol=1e-3, atol=1e-4)
