"""The network that judges whether a picture's regions support a phrase."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

OFFSETS, GEOMETRY = 3, 13  # distances between two boxes; inputs made from two boxes
PLACE = 9  # inputs that say what and where a token is
CONTEXT = 16  # what the last layer knows of the phrase
FAINT = 1e-6  # evidence below this is none


class ImageTokens(NamedTuple):
    """What the network keeps of B images; T tokens: coarse, fine and R regions.

    Attributes:
        first: [B, T, width], each token as what a phrase is first of all about.
        second: [B, T + 1, width], each token as what that is related to, and "nothing" at the end.
        pair: [B, T * (T + 1), geometry], how the first stands to the second.
        possible: [B, 1, T * (T + 1)], 1 where both exist and differ, else 0.
    """

    first: Tensor
    second: Tensor
    pair: Tensor
    possible: Tensor

    def take(self, rows: Tensor) -> ImageTokens:
        """The images named by `rows` ([m] ints), in that order."""
        return ImageTokens(*(part[rows] for part in self))


class SupportNetwork(nn.Module):
    """Scores how well images support phrases: is there a pair of things that fits?

    A phrase such as "a red cube left of a blue ball" asks for a first thing i, a second thing j
    and a way in which they stand to each other. For each of `heads` patterns h the evidence is

        e_h = sum_ij a_h(i) b_h(j) r_h(i, j)

    with a, b and r in (0, 1): a soft "there are i and j such that", of which log e_h, with what
    the phrase says by itself, makes the logit. Things are the image's regions, the image as a
    whole (its coarse and its fine features) and, for j, "nothing", so that scenes and single
    objects are judged by the same formula. a and b compare a phrase p with a token x by
    sigmoid(w . relu(p' * x + p'')), r compares it with the two boxes by sigmoid(p''' . geometry).

    The order of the regions does not matter, and what lies in the padding has no influence.

    Args:
        phrase_dim: features of a phrase.
        image_dim: features of an image and of a region.
        width: channels in which a phrase is compared with a token.
        heads: patterns looked for.
        geometry: channels in which a phrase is compared with a pair of boxes.
        hidden: hidden units of the two encoders.
    """

    phrase_mean: Tensor
    phrase_std: Tensor
    image_mean: Tensor
    image_std: Tensor

    def __init__(
        self,
        phrase_dim: int,
        image_dim: int,
        width: int = 48,
        heads: int = 6,
        geometry: int = 12,
        hidden: int = 128,
    ) -> None:
        super().__init__()
        self.heads = heads
        self._parts = [width] * 4 + [heads * geometry, CONTEXT]
        # Frozen standardisation, part of the saved weights; rows: coarse, fine, regions.
        self.register_buffer("phrase_mean", torch.zeros(phrase_dim))
        self.register_buffer("phrase_std", torch.ones(phrase_dim))
        self.register_buffer("image_mean", torch.zeros(3, image_dim))
        self.register_buffer("image_std", torch.ones(3, image_dim))
        self.phrase = _mlp(phrase_dim, hidden, sum(self._parts))
        self.token = _mlp(image_dim + PLACE, hidden, 2 * width)
        self.geometry = _mlp(GEOMETRY, 48, geometry)
        self.first, self.second = nn.Linear(width, heads), nn.Linear(width, heads)
        self.nothing = nn.Parameter(0.1 * torch.randn(width))
        self.whole_pair = nn.Parameter(0.1 * torch.randn(geometry))
        self.nothing_pair = nn.Parameter(0.1 * torch.randn(geometry))
        self.out = _mlp(heads + CONTEXT, 32, 1)

    def encode_phrases(self, features: Tensor) -> Tensor:
        """Phrase features [..., phrase_dim] to what `forward` takes, [..., codes]."""
        codes: Tensor = self.phrase((features - self.phrase_mean) / self.phrase_std)
        return codes

    def encode_images(
        self, coarse: Tensor, fine: Tensor, regions: Tensor, boxes: Tensor, used: Tensor
    ) -> ImageTokens:
        """What phrases are compared with; does not depend on them.

        Args:
            coarse: [B, D], the image as a whole.
            fine: [B, D], its detail in one vector.
            regions: [B, R, D]; R may be 0.
            boxes: [B, R, 4] (centre x, centre y, width, height) in [0, 1].
            used: [B, R] bool, False in the padding.
        """
        batch, count, _ = regions.shape
        regions = torch.where(used[..., None], regions, 0.0)
        boxes = torch.where(used[..., None], boxes, 0.0)
        whole = torch.stack([coarse, fine], dim=1)
        features = torch.cat(
            [
                (whole - self.image_mean[:2]) / self.image_std[:2],
                (regions - self.image_mean[2]) / self.image_std[2],
            ],
            dim=1,
        )
        place = _places(boxes, used.sum(dim=1))
        first, second = self.token(torch.cat([features, place], dim=-1)).chunk(2, dim=-1)
        nothing = self.nothing.expand(batch, 1, -1)
        pair = torch.cat(
            [
                nn.functional.pad(self.geometry(_geometry(boxes)), (0, 0, 2, 0, 2, 0))
                + self.whole_pair * _about_the_whole(count, boxes.device),
                self.nothing_pair.expand(batch, count + 2, 1, -1),
            ],
            dim=2,
        )
        exists = nn.functional.pad(used, (2, 0), value=True)
        target = nn.functional.pad(exists, (0, 1), value=True)
        different = ~torch.eye(count + 2, count + 3, dtype=torch.bool, device=boxes.device)
        possible = exists[:, :, None] & target[:, None, :] & different
        return ImageTokens(
            first,
            torch.cat([second, nothing], dim=1),
            pair.flatten(1, 2),
            possible.flatten(1).unsqueeze(1).to(pair.dtype),
        )

    def forward(self, codes: Tensor, images: ImageTokens) -> Tensor:
        """Logits [B, P] of P phrases for each of B images.

        Args:
            codes: [B, P, codes] from `encode_phrases`.
            images: of B images, from `encode_images`.
        """
        batch, phrases, _ = codes.shape
        things = images.first.shape[1]
        scale1, shift1, scale2, shift2, relation, context = codes.split(self._parts, dim=-1)
        first = self._match(self.first, scale1, shift1, images.first)
        second = self._match(self.second, scale2, shift2, images.second)
        relation = relation.reshape(batch, phrases * self.heads, -1)
        related = torch.bmm(relation, images.pair.transpose(1, 2)).sigmoid() * images.possible
        # [B * P * heads, 1, T] x [.., T, T + 1], then summed over the second thing
        both = torch.bmm(first.reshape(-1, 1, things), related.view(-1, things, things + 1))
        evidence = (both.squeeze(1) * second.reshape(-1, things + 1)).sum(dim=-1)
        evidence = torch.log(evidence.view(batch, phrases, self.heads) + FAINT)
        logits: Tensor = self.out(torch.cat([evidence, context], dim=-1)).squeeze(-1)
        return logits

    @staticmethod
    def _match(head: nn.Module, scale: Tensor, shift: Tensor, tokens: Tensor) -> Tensor:
        """How well each token fits each phrase, [B, P, heads, T] in (0, 1)."""
        compared = torch.addcmul(shift.unsqueeze(2), scale.unsqueeze(2), tokens.unsqueeze(1))
        fits: Tensor = head(torch.relu(compared)).sigmoid().transpose(2, 3)
        return fits


def _mlp(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, hidden), nn.GELU(), nn.Linear(hidden, outputs))


def _bottom(boxes: Tensor) -> Tensor:
    """Where boxes stand, [..., 1]: things further back stand higher in the picture."""
    return boxes[..., 1:2] + boxes[..., 3:4] / 2


def _places(boxes: Tensor, counts: Tensor) -> Tensor:
    """[B, 2 + R, PLACE]: box, where it stands, how many regions there are, what the token is."""
    batch, regions, _ = boxes.shape
    full = torch.tensor([0.5, 0.5, 1.0, 1.0], device=boxes.device).expand(batch, 2, 4)
    boxes = torch.cat([full, boxes], dim=1)
    number = torch.log1p(counts.to(boxes.dtype))[:, None, None].expand(batch, regions + 2, 1)
    role = torch.zeros(regions + 2, 3, device=boxes.device)
    role[0, 0] = role[1, 1] = 1.0
    role[2:, 2] = 1.0
    return torch.cat([boxes, _bottom(boxes), number, role.expand(batch, -1, -1)], dim=-1)


def _geometry(boxes: Tensor) -> Tensor:
    """[B, R, R, GEOMETRY]: how box i stands to box j, with soft signs of the distances."""
    anchors = torch.cat([boxes[..., :2], _bottom(boxes)], dim=-1)
    offset = anchors[:, :, None] - anchors[:, None]
    sizes = boxes[..., 2:]
    shape = (*offset.shape[:3], 2)
    return torch.cat(
        [
            offset,
            torch.tanh(5 * offset),
            torch.tanh(20 * offset),
            sizes[:, :, None].expand(shape),
            sizes[:, None].expand(shape),
        ],
        dim=-1,
    )


def _about_the_whole(regions: int, device: torch.device) -> Tensor:
    """[2 + R, 2 + R, 1]: 1 for pairs in which one thing is the image as a whole."""
    whole = torch.arange(regions + 2, device=device) < 2
    return (whole[:, None] | whole[None, :]).float().unsqueeze(-1)
