"""Tests of the alignment matrix: what it computes, how it starts, its files."""

import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from dsa_env.alignment import AlignmentConfig, AlignmentMatrix
from dsa_env.alignment.matrix import CONFIG, REACH, WEIGHTS
from dsa_env.errors import DSAError


def form(**options):
    return AlignmentConfig({"coarse": 6, "fine": 6}, {"text": 6}, **options)


def rows(width=6, n=7, seed=0):
    return torch.randn(n, width, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("project", ["where_needed", "visual", "all"])
def test_the_identity_leaves_features_unchanged(project):
    model = AlignmentMatrix(form(init="identity", project=project))
    for modality in ("coarse", "fine", "text"):
        assert torch.equal(model(rows(), modality), rows())


def test_both_sides_pass_through_the_one_matrix():
    model = AlignmentMatrix(form())
    expected = rows() @ model.matrix("text").T
    for modality in ("coarse", "fine", "text"):
        torch.testing.assert_close(model(rows(), modality), expected)
    assert len(model.matrix_parameters()) == 1


def test_separate_matrices_are_one_for_pictures_and_one_for_texts():
    model = AlignmentMatrix(form(separate=True))
    assert torch.equal(model.matrix("coarse"), model.matrix("fine"))
    assert not torch.equal(model.matrix("coarse"), model.matrix("text"))


def test_the_uniform_start_fills_its_interval():
    config = AlignmentConfig({"image": 200}, {"text": 200})
    value = AlignmentMatrix(config).matrix("text")
    assert value.abs().max() <= REACH
    assert value.abs().max() > 0.99 * REACH
    torch.testing.assert_close(value.var(), torch.tensor(REACH**2 / 3), rtol=0.05, atol=0)


@given(st.integers(2, 12), st.integers(2, 12), st.integers(0, 5))
def test_the_orthogonal_start_keeps_lengths_or_is_orthonormal_in_its_rows(dim, width, seed):
    config = AlignmentConfig({"image": width}, {"text": width}, dim=dim, init="orthogonal")
    value = AlignmentMatrix(config, seed).matrix("text").double()
    gram = value @ value.T if dim <= width else value.T @ value
    torch.testing.assert_close(gram, torch.eye(min(dim, width)).double(), atol=1e-5, rtol=0)


@given(st.integers(1, 6), st.integers(0, 3))
def test_a_low_rank_matrix_has_that_rank_at_most(rank, seed):
    model = AlignmentMatrix(form(rank=rank, init="orthogonal"), seed)
    assert torch.linalg.matrix_rank(model.matrix("text")) == rank
    assert sum(one.numel() for one in model.parameters()) == 2 * 6 * rank


def test_widths_that_differ_get_an_input_projection_of_their_own():
    config = AlignmentConfig({"image": 9}, {"text": 5, "program": 3}, dim=4)
    model = AlignmentMatrix(config)
    assert sorted(model.projections) == ["image", "program"]
    for modality, width in {"image": 9, "text": 5, "program": 3}.items():
        assert model(rows(width), modality).shape == (7, 4)


def test_unit_rows_have_length_one():
    lengths = AlignmentMatrix(form()).unit(rows(), "fine").norm(dim=-1)
    torch.testing.assert_close(lengths, torch.ones(7))


def test_a_frozen_matrix_learns_nothing_but_its_projections_do():
    model = AlignmentMatrix(form(project="visual")).freeze()
    model.unit(rows(), "coarse").sum().backward()
    assert model.matrix("coarse").grad is None
    assert not model.matrix_parameters()[0].requires_grad
    assert model.projections["coarse"].weight.grad is not None


@pytest.mark.parametrize(
    "options", [{}, {"rank": 2}, {"separate": True}, {"project": "all", "dim": 3}]
)
def test_what_is_saved_comes_back_the_same(tmp_path, options):
    model = AlignmentMatrix(form(**options), seed=5)
    model.save_pretrained(tmp_path, {"note": 1})
    again = AlignmentMatrix.from_pretrained(tmp_path)
    assert again.config == model.config
    assert torch.equal(again(rows(), "fine"), model(rows(), "fine"))
    assert json.loads((tmp_path / "report.json").read_text()) == {"note": 1}


def test_the_same_seed_starts_the_same_and_leaves_the_global_generator_alone():
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first, again, other = (AlignmentMatrix(form(), seed).matrix("text") for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(before, torch.get_rng_state())


def test_files_that_were_tampered_with_are_refused(tmp_path):
    AlignmentMatrix(form()).save_pretrained(tmp_path)
    weights, config = (tmp_path / WEIGHTS), (tmp_path / CONFIG)
    whole, said = weights.read_bytes(), config.read_text()
    weights.write_bytes(whole[:-9])
    with pytest.raises(DSAError, match="is damaged or does not fit"):
        AlignmentMatrix.from_pretrained(tmp_path)
    weights.write_bytes(whole)
    config.write_text(said.replace('"dim": 6', '"dim": 5'))
    with pytest.raises(DSAError, match=r"does not fit its config\.json"):
        AlignmentMatrix.from_pretrained(tmp_path)
    for wrong in ('{"visual": 3}', "[]", said.replace('"rank"', '"rang"'), said[:-9]):
        config.write_text(wrong)
        with pytest.raises(DSAError, match=r"config\.json is not"):
            AlignmentMatrix.from_pretrained(tmp_path)
    config.write_text(said)
    state = {name: value * float("nan") for name, value in load_file(weights).items()}
    save_file(state, weights)
    with pytest.raises(DSAError, match="holds NaN or infinity"):
        AlignmentMatrix.from_pretrained(tmp_path)
    weights.unlink()
    with pytest.raises(DSAError, match=r"holds no model\.safetensors"):
        AlignmentMatrix.from_pretrained(tmp_path)


def test_features_of_another_width_or_modality_are_refused():
    model = AlignmentMatrix(form())
    with pytest.raises(DSAError, match="text features have width 5, but this alignment was made"):
        model(rows(5), "text")
    with pytest.raises(DSAError, match=r"Unknown modality 'txt'\. Did you mean 'text'"):
        model(rows(), "txt")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"init": "orthagonal"}, "Did you mean 'orthogonal'"),
        ({"project": "some"}, "Unknown projection 'some'"),
        ({"rank": 7}, "rank 7 is above the matrix's 6 x 6"),
        ({"rank": 0}, "rank of an alignment must be a whole number from 1"),
        ({"rank": 2, "init": "identity"}, "cannot start as the identity"),
        ({"dim": -1}, "dim of an alignment must be a whole number from 1"),
    ],
)
def test_impossible_forms_are_refused(options, message):
    with pytest.raises(DSAError, match=message):
        form(**options)
    with pytest.raises(DSAError, match="of different names"):
        AlignmentConfig({"text": 6}, {"text": 6})
    with pytest.raises(DSAError, match="needs visual and logical"):
        AlignmentConfig({}, {"text": 6})
