"""Tests of the pairs, and that similarities in training are those of the environment."""

import numpy as np
import pytest
import torch

from dsa_env.alignment import AlignmentConfig, AlignmentMatrix
from dsa_env.alignment.pairs import Pairs, similarities
from dsa_env.bank import FeatureBank
from dsa_env.blend import blended_cosine
from dsa_env.errors import DSAError
from dsa_env.retrieval.similarity import component_blocks


def small_bank(**options):
    rng = np.random.default_rng(0)
    counts = np.array([3, 2, 0, 1, 3, 2])
    arrays = {
        "text": rng.standard_normal((6, 5)),
        "coarse": rng.standard_normal((6, 5)),
        "regions": rng.standard_normal((6, 3, 5)),
        "region_counts": counts,
        "splits": ["train"] * 6,
    }
    return FeatureBank.from_arrays(**{**arrays, **options})


def both_ways(bank):
    """Similarities of all texts and images to the identity, as texts and as images ask."""
    pairs = Pairs.from_bank(bank, "train")
    config = AlignmentConfig(*pairs.widths, init="identity")
    rows = np.arange(len(pairs))
    with torch.no_grad():
        return similarities(AlignmentMatrix(config), pairs, pairs.batch(rows))


@pytest.mark.parametrize("variant", ["attended", "mean", "given"])
def test_with_the_identity_the_similarities_are_the_environments(variant):
    options = {"fine_variant": variant}
    if variant == "given":
        fine = np.random.default_rng(1).standard_normal((6, 5))
        options = {"fine": fine, "regions": None, "region_counts": None}
    bank = small_bank(**options)
    ours, ids = both_ways(bank), np.arange(6)
    for direction, asked in zip(("text_to_image", "image_to_text"), ours, strict=True):
        (_, parts), *_ = component_blocks(bank, direction, ids, ids)
        for g in (0.0, 0.3, 1.0):
            expected = blended_cosine(parts.fine, parts.coarse, parts.cross, g)
            expected = expected if direction == "text_to_image" else expected.T
            np.testing.assert_allclose(asked.at(g), expected, atol=2e-6)


def test_padding_of_the_regions_has_no_gradient_and_no_influence():
    bank = small_bank()
    pairs = Pairs.from_bank(bank, "train")
    model = AlignmentMatrix(AlignmentConfig(*pairs.widths, project="visual"))
    torch.nn.init.constant_(model.projections["fine"].bias, 0.3)  # moves padding away from zero
    batch = pairs.batch(np.arange(6))
    alike = similarities(model, pairs, batch)
    sum(one.at(g).sum() for one in alike for g in (0.0, 0.5, 1.0)).backward()
    for parameter in model.parameters():
        assert torch.isfinite(parameter.grad).all()
    assert batch.used.sum() == 11


def test_a_text_of_several_images_is_marked_with_each_of_them():
    bank = small_bank(positives=[[0, 3], [1], [2], [3], [4], [5, 0]])
    belong = Pairs.from_bank(bank, "train").batch(np.arange(6)).also_positive
    expected = torch.eye(6, dtype=torch.bool)
    expected[0, 3] = expected[5, 0] = True
    assert torch.equal(belong, expected)


def test_texts_of_one_image_are_positives_of_each_other(synthetic_bank):
    batch = Pairs.from_bank(synthetic_bank, "train").batch(np.arange(4))
    assert torch.equal(batch.also_positive, torch.block_diag(*[torch.ones(2, 2)] * 2).bool())


def test_arrays_of_any_width_pair_up_row_by_row():
    pairs = Pairs.from_arrays(np.ones((4, 3)), np.ones((4, 7)), fine=np.ones((4, 2)))
    assert pairs.widths == ({"coarse": 7, "fine": 2}, {"text": 3})
    assert len(pairs) == 4


def test_what_cannot_be_learnt_from_is_refused_with_a_reason():
    with pytest.raises(DSAError, match="split 'validation' has no texts"):
        Pairs.from_bank(small_bank(), "validation")
    with pytest.raises(DSAError, match="Did you mean 'train'"):
        Pairs.from_bank(small_bank(), "trian")
    with pytest.raises(DSAError, match="there is 1 image with a text"):
        Pairs.from_arrays(np.ones((1, 3)), np.ones((1, 3)))
    with pytest.raises(DSAError, match="Every text belongs to all 6 images"):
        Pairs.from_bank(
            small_bank(positives=[list(range(n, 6)) + list(range(n)) for n in range(6)]), "train"
        )
    with pytest.raises(DSAError, match=r"image has shape \[3, 2\]; it must be \[4, features\]"):
        Pairs.from_arrays(np.ones((4, 2)), np.ones((3, 2)))
    with pytest.raises(DSAError, match="image holds NaN or infinity"):
        Pairs.from_arrays(np.ones((4, 2)), np.full((4, 2), np.nan))
