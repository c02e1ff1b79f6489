"""Patches of boxes, pooling over them, and hidden states, against computations by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dsa_env.encoders.vision import (
    attend_pool,
    mean_pool,
    members,
    parse_coarse,
    patches_in,
    resolve_layer,
    tap,
)
from dsa_env.errors import DSAError

share = st.floats(0, 1)


def test_a_box_has_the_patches_whose_centres_lie_in_it() -> None:
    left_half, top_row, middle = [0.25, 0.5, 0.5, 1], [0.5, 0.125, 1, 0.25], [0.5, 0.5, 0.5, 0.5]
    inside = patches_in(np.array([left_half, top_row, middle]), 4, 4).reshape(3, 4, 4)
    assert np.argwhere(inside[0]).tolist() == [[row, col] for row in range(4) for col in (0, 1)]
    assert np.argwhere(inside[1]).tolist() == [[0, col] for col in range(4)]
    assert np.argwhere(inside[2]).tolist() == [[1, 1], [1, 2], [2, 1], [2, 2]]


def test_a_box_between_centres_has_the_patch_it_lies_in() -> None:
    tiny, at_the_edge = [0.99, 0.01, 0.001, 0.001], [1.0, 1.0, 0.0, 0.0]
    inside = patches_in(np.array([tiny, at_the_edge]), 3, 5)
    assert [np.flatnonzero(row).tolist() for row in inside] == [[4], [14]]


@given(share, share, share, share, st.integers(1, 9), st.integers(1, 9))
def test_every_box_has_a_patch_and_the_whole_picture_has_all(
    cx: float, cy: float, w: float, h: float, rows: int, columns: int
) -> None:
    inside = patches_in(np.array([[cx, cy, w, h], [0.5, 0.5, 1, 1]]), rows, columns)
    assert inside.shape == (2, rows * columns)
    assert inside[0].any()
    assert inside[1].all()


@pytest.mark.parametrize("pool", ["mean", "attend"])
def test_pooling_sees_the_tokens_in_each_box_alone(pool: str) -> None:
    torch.manual_seed(0)
    tokens = torch.randn(3, 12, 5)
    boxes = [np.random.default_rng(n).random((n + 1, 4)) for n in range(2)] + [np.zeros((0, 4))]
    inside, owner = members(boxes, 3, 4)
    assert owner.tolist() == [0, 1, 1]
    pooled = (
        mean_pool(tokens, inside, owner)
        if pool == "mean"
        else attend_pool(lambda context: context.mean(1), tokens, inside, owner, batch=1)
    )
    for row, picture, patches in zip(pooled, owner, inside, strict=True):
        expected = np.mean([tokens[picture][p].numpy() for p in np.flatnonzero(patches)], axis=0)
        np.testing.assert_allclose(row.numpy(), expected, atol=1e-6)


def test_a_tap_is_the_hidden_states() -> None:
    from transformers import CLIPVisionConfig, CLIPVisionModel

    config = CLIPVisionConfig(
        hidden_size=16, intermediate_size=16, num_hidden_layers=3, num_attention_heads=2,
        image_size=16, patch_size=8,
    )  # fmt: skip
    model = CLIPVisionModel(config).eval()
    values = torch.randn(2, 3, 16, 16)
    with torch.inference_mode(), tap(model.encoder.layers, range(4)) as seen:
        theirs = model(values, output_hidden_states=True).hidden_states
    assert sorted(seen) == [0, 1, 2, 3]
    for layer, hidden in seen.items():
        torch.testing.assert_close(hidden, theirs[layer])
    kept = dict(seen)
    model(torch.randn(1, 3, 16, 16))
    assert seen == kept  # it listens no longer


def test_coarse_features_are_pooled_or_a_layer() -> None:
    assert [parse_coarse(name) for name in ("pooled", "layer:0", "layer:-2")] == [None, 0, -2]
    for wrong in ("mean", "layer:", "layer:1.5", "layer:x"):
        with pytest.raises(DSAError, match="Unknown coarse feature"):
            parse_coarse(wrong)


@given(st.integers(1, 40), st.integers(-60, 60))
def test_layers_count_from_both_ends(layers: int, layer: int) -> None:
    if -layers - 1 <= layer <= layers:
        assert resolve_layer(layer, layers, "m") == range(layers + 1)[layer]
    else:
        with pytest.raises(DSAError, match=f"layer:{layers} "):
            resolve_layer(layer, layers, "m")
