"""The answering network: shapes, padding, and a blind one that is blind."""

from __future__ import annotations

import pytest
import torch

from dsa_env.errors import DSAError
from dsa_env.vqa.model import FUSION_NAMES, QUESTION_ONLY, Batch, ProgramEncoder, VQAModel

SIZES = {"visual": 12, "text": 8, "steps": 6, "answers": 5}


def batch(rows: int = 4, regions: int = 3) -> Batch:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Batch(
            torch.randn(rows, regions, 12),
            torch.tensor([0, 1, 2, 3])[:rows],
            torch.randn(rows, 12),
            torch.randn(rows, 8),
            torch.randint(1, 6, (rows, 7)),
        )


@pytest.mark.parametrize("name", FUSION_NAMES)
@pytest.mark.parametrize("granularity", [0.5, None])
def test_every_fusion_answers(name: str, granularity: float | None) -> None:
    model = VQAModel(name, **SIZES, granularity=granularity).eval()
    logits = model(batch())
    assert logits.shape == (4, 5)
    assert torch.isfinite(logits).all()
    alone = model(Batch(*(part[:1] for part in vars(batch()).values())))
    assert torch.allclose(alone, logits[:1], atol=1e-5)
    found, loss = model.losses(batch(), None)
    assert torch.allclose(found, logits, atol=1e-5)
    assert (loss > 0) == name.startswith("dynamic")


def test_the_same_seed_gives_the_same_weights() -> None:
    first, second, other = (VQAModel("dynamic", **SIZES, seed=s).eval() for s in (1, 1, 2))
    assert torch.equal(first(batch()), second(batch()))
    assert not torch.equal(first(batch()), other(batch()))


def test_the_blind_one_does_not_see() -> None:
    model, seen = VQAModel(QUESTION_ONLY, **SIZES).eval(), batch()
    other = Batch(-seen.visual, seen.counts, -seen.coarse, seen.text, seen.program)
    assert torch.equal(model(seen), model(other))


def test_padding_changes_nothing_and_order_does() -> None:
    encoder = ProgramEncoder(6, 16).eval()
    program = torch.tensor([[1, 2, 3, 0], [4, 5, 0, 0]])
    assert torch.allclose(encoder(program)[1], encoder(program[1:, :2])[0], atol=1e-6)
    assert not torch.allclose(encoder(program.flip(1)[:1, 1:]), encoder(program[:1]))


def test_an_empty_program_is_zero() -> None:
    encoder = ProgramEncoder(6, 16)
    found = encoder(torch.tensor([[0, 0], [2, 3]]))
    assert torch.equal(found[0], torch.zeros(16))
    assert encoder(torch.zeros(3, 0, dtype=torch.long)).shape == (3, 16)


def test_an_unknown_fusion_suggests_the_nearest() -> None:
    with pytest.raises(DSAError, match="Did you mean 'static'"):
        VQAModel("statics", **SIZES)
