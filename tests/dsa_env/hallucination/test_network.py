"""The support network: padding is invisible, order is irrelevant, positions matter to pairs."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from dsa_env.hallucination.network import SupportNetwork

B, R, D, P = 3, 5, 12, 4


@pytest.fixture
def network() -> SupportNetwork:
    torch.manual_seed(0)
    return SupportNetwork(phrase_dim=8, image_dim=D, width=16, heads=3, geometry=6, hidden=24)


@pytest.fixture
def picture() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {
        "coarse": torch.randn(B, D, generator=generator),
        "fine": torch.randn(B, D, generator=generator),
        "regions": torch.randn(B, R, D, generator=generator),
        "boxes": torch.rand(B, R, 4, generator=generator),
        "used": torch.arange(R) < torch.tensor([R, 3, 0])[:, None],
    }


@torch.no_grad()
def score(network: SupportNetwork, picture: dict[str, Tensor]) -> Tensor:
    phrases = torch.randn(B, P, 8, generator=torch.Generator().manual_seed(2))
    logits: Tensor = network(network.encode_phrases(phrases), network.encode_images(**picture))
    assert logits.shape == (B, P)
    assert torch.isfinite(logits).all()
    return logits


@pytest.mark.parametrize("junk", [7.0, float("nan"), float("inf")])
def test_what_lies_in_the_padding_changes_nothing(
    network: SupportNetwork, picture: dict[str, Tensor], junk: float
) -> None:
    padding = ~picture["used"][..., None]
    dirty = {
        **picture,
        "regions": torch.where(padding, junk, picture["regions"]),
        "boxes": torch.where(padding, junk, picture["boxes"]),
    }
    torch.testing.assert_close(score(network, dirty), score(network, picture), rtol=0, atol=0)


def test_more_padding_changes_nothing(network: SupportNetwork, picture: dict[str, Tensor]) -> None:
    longer = {
        **picture,
        "regions": torch.nn.functional.pad(picture["regions"], (0, 0, 0, 4), value=3.0),
        "boxes": torch.nn.functional.pad(picture["boxes"], (0, 0, 0, 4), value=0.5),
        "used": torch.nn.functional.pad(picture["used"], (0, 4), value=False),
    }
    torch.testing.assert_close(score(network, longer), score(network, picture))


def test_a_region_that_counts_changes_the_score(
    network: SupportNetwork, picture: dict[str, Tensor]
) -> None:
    regions = picture["regions"].clone()
    regions[:, 2] += 1.0
    changed = score(network, {**picture, "regions": regions}) != score(network, picture)
    assert changed[:2].any(dim=1).all()
    assert not changed[2].any()  # the third picture has no regions


def test_the_order_of_the_regions_does_not_matter(
    network: SupportNetwork, picture: dict[str, Tensor]
) -> None:
    order = torch.tensor([2, 0, 1, 4, 3])
    turned = {**picture, **{name: picture[name][:, order] for name in ("regions", "boxes", "used")}}
    torch.testing.assert_close(score(network, turned), score(network, picture))


def test_swapping_the_boxes_of_two_things_matters(
    network: SupportNetwork, picture: dict[str, Tensor]
) -> None:
    boxes = picture["boxes"][:, [1, 0, 2, 3, 4]]
    changed = (score(network, {**picture, "boxes": boxes}) - score(network, picture)).abs()
    assert (changed[:2].amax(dim=1) > 1e-6).all()


def test_pictures_are_scored_one_by_one_as_in_a_batch(
    network: SupportNetwork, picture: dict[str, Tensor]
) -> None:
    phrases = torch.randn(B, P, 8)
    with torch.no_grad():
        codes = network.encode_phrases(phrases)
        tokens = network.encode_images(**picture)
        together = network(codes, tokens)
        alone = [network(codes[i : i + 1], tokens.take(torch.tensor([i]))) for i in range(B)]
    torch.testing.assert_close(torch.cat(alone), together)


def test_no_regions_at_all_are_fine(network: SupportNetwork, picture: dict[str, Tensor]) -> None:
    none = {
        **picture,
        **{name: picture[name][:, :0] for name in ("regions", "boxes", "used")},
    }
    without = score(network, none)
    assert without.std() > 0
    torch.testing.assert_close(without[2], score(network, picture)[2])
