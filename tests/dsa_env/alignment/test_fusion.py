"""Tests of the fusions: one interface, similar sizes, padding without influence."""

import pytest
import torch

from dsa_env.alignment.fusion import FUSIONS, FusionDims, make_fusion, parameter_count
from dsa_env.alignment.stability import matrix_parameters, parameter_groups
from dsa_env.errors import DSAError

DIMS = FusionDims(visual=12, text=10, logic=6, hidden=16)


def batch(n=5, regions=3, dims=DIMS, seed=0):
    rng = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(*shape, generator=rng)

    counts = torch.arange(n) % (regions + 1)
    return (
        *(draw(n, regions, dims.visual), counts, draw(n, dims.visual)),
        *(draw(n, dims.text), draw(n, dims.logic)),
    )


@pytest.mark.parametrize("name", FUSIONS)
@pytest.mark.parametrize("granularity", [0.0, 0.4, None])
@pytest.mark.parametrize("logic", [0, 6])
def test_every_fusion_gives_finite_rows_of_the_width_asked_for(name, granularity, logic):
    dims = FusionDims(12, 12, logic, 16, granularity)
    fusion, given = make_fusion(name, dims), batch(dims=dims)
    fused = fusion(*given)
    assert fused.shape == (5, 16)
    assert torch.isfinite(fused).all()
    assert fusion.alignment_loss(*given).shape == ()


@pytest.mark.parametrize("name", FUSIONS)
def test_the_same_seed_gives_the_same_fusion_and_another_seed_another(name):
    given = batch()
    first, again, other = (make_fusion(name, DIMS, seed)(*given) for seed in (3, 3, 4))
    assert torch.equal(first, again)
    assert not torch.allclose(first, other)


@pytest.mark.parametrize("name", FUSIONS)
def test_what_lies_in_the_padding_changes_nothing(name):
    visual, counts, *rest = batch()
    fusion = make_fusion(name, DIMS)
    changed = visual.clone()
    changed[torch.arange(3) >= counts[:, None]] = 7.0
    torch.testing.assert_close(fusion(visual, counts, *rest), fusion(changed, counts, *rest))


def test_attention_is_of_similar_size_as_the_matrix():
    for dims in (DIMS, FusionDims(64, 64, 32, 128), FusionDims(64, 64, 0, 128, None)):
        sizes = [parameter_count(make_fusion(name, dims)) for name in ("attention", "dynamic")]
        assert abs(sizes[0] - sizes[1]) < 0.2 * sizes[1]


def test_nothing_of_the_static_fusion_and_no_frozen_matrix_learns():
    assert parameter_count(make_fusion("static", DIMS), learning=True) == 0
    frozen, full = make_fusion("dynamic-frozen", DIMS), make_fusion("dynamic", DIMS)
    matrix = sum(p.numel() for p in matrix_parameters(full))
    assert matrix == DIMS.text**2
    assert parameter_count(full, True) - parameter_count(frozen, True) == matrix
    assert len(parameter_groups(full)) == 2
    assert [group["lr"] for group in parameter_groups(frozen)] == [1e-3]


def test_one_way_is_half_of_both_ways():
    given = batch(8)
    both = make_fusion("dynamic", DIMS)
    one = make_fusion("dynamic-one-way", DIMS)
    assert not torch.allclose(both.alignment_loss(*given), one.alignment_loss(*given))
    one.direction = "text_to_image"
    other = one.alignment_loss(*given)
    one.direction = "image_to_text"
    mean = (one.alignment_loss(*given) + other) / 2
    torch.testing.assert_close(mean, both.alignment_loss(*given))


def test_a_granularity_of_zero_ignores_the_regions_and_of_one_the_scene():
    visual, counts, coarse, text, logic = batch()
    counts = counts.clamp(min=1)
    for granularity, (a, b) in ((0.0, (visual * -1, coarse)), (1.0, (visual, coarse * -1))):
        fusion = make_fusion("dynamic", FusionDims(12, 10, 6, 16, granularity))
        same = fusion(a, counts, b, text, logic)
        torch.testing.assert_close(fusion(visual, counts, coarse, text, logic), same)


@pytest.mark.parametrize("name", FUSIONS)
def test_features_of_another_width_are_refused_by_name(name):
    visual, counts, coarse, text, logic = batch()
    with pytest.raises(DSAError, match=r"text has shape \[5, 9\], expected \[5, 10\]"):
        make_fusion(name, DIMS)(visual, counts, coarse, text[:, :9], logic)


def test_unknown_names_and_sizes_are_refused():
    with pytest.raises(DSAError, match="Did you mean 'dynamic'"):
        make_fusion("dynamik", DIMS)
    with pytest.raises(DSAError, match="hidden must be a whole number from 1"):
        FusionDims(4, 4, 0, 0)
    with pytest.raises(DSAError, match="granularity must lie"):
        FusionDims(4, 4, 0, 8, 1.5)
