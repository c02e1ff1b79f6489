"""Texts and images that belong together, and how alike an alignment finds them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor
from torch.nn.functional import normalize

from dsa_env.alignment.matrix import AlignmentMatrix
from dsa_env.bank.ragged import Ragged
from dsa_env.errors import DSAError

if TYPE_CHECKING:
    from dsa_env.bank import FeatureBank

Array = NDArray[Any]

TEXT = "text"
NO_LENGTH = 1e-12
"""Attended features with a squared length below this have no direction."""


@dataclass(frozen=True, eq=False)
class Batch:
    """B pairs as float32 tensors; pair i is text i and image i.

    Attributes:
        text: [B, Dt].
        coarse: [B, Dc].
        fine: [B, Df], or [B, R, Df] where the fine view is made of regions; None: there is none.
        used: [B, R] bool, which regions count; None without regions.
        also_positive: [B, B] bool, text i belongs to image j.
    """

    text: Tensor
    coarse: Tensor
    fine: Tensor | None
    used: Tensor | None
    also_positive: Tensor


@dataclass(frozen=True, eq=False)
class Pairs:
    """n pairs of a text and its image, in arrays that may lie on disk.

    Attributes:
        texts: [n] rows of `text`.
        images: [n] rows of `coarse` and `fine`, the main image of each text.
        text: [T, Dt].
        coarse: [N, Dc].
        fine: [N, Df], or regions [N, R, Df] with `counts`; None: no fine view.
        counts: [N] ints.
        positives: text -> all its images.
        attended: regions are weighted by the text that asks; else their mean is the fine view.
        temperature: of that attention.
    """

    texts: NDArray[np.int64]
    images: NDArray[np.int64]
    text: Array
    coarse: Array
    fine: Array | None
    counts: Array | None
    positives: Ragged
    attended: bool = True
    temperature: float = 0.05

    def __post_init__(self) -> None:
        """Check that there is something to tell apart.

        Raises:
            DSAError: fewer than two images, or every text belongs to every image.
        """
        images = np.unique(self.images)
        if len(images) < 2:
            raise DSAError(
                f"An alignment learns by telling images apart, but there is {len(images)} image "
                "with a text; give at least two."
            )
        few = self.positives.take(self.texts).lengths.min()
        if few >= len(images):
            raise DSAError(
                f"Every text belongs to all {len(images)} images, so there is nothing to tell "
                "apart; check the positives."
            )

    @classmethod
    def from_bank(cls, bank: FeatureBank, split: str) -> Pairs:
        """The pairs of a bank's split.

        Raises:
            DSAError: the split is unknown, has no texts or fewer than two images.
        """
        texts = bank.split_texts(split)
        if not len(texts):
            raise DSAError(
                f"The bank's split {split!r} has no texts, but an alignment needs train and "
                "validation; pass splits= when making the bank."
            )
        fine = bank.image_fine if bank.image_regions is None else bank.image_regions
        return cls(
            texts=texts,
            images=bank.positives.first[texts].astype(np.int64),
            text=bank.text_features,
            coarse=bank.image_coarse,
            fine=fine,
            counts=bank.region_counts,
            positives=bank.positives,
            attended=bank.fine == "attended",
            temperature=bank.temperature,
        )

    @classmethod
    def from_arrays(cls, text: ArrayLike, image: ArrayLike, fine: ArrayLike | None = None) -> Pairs:
        """Pairs row by row, of any widths.

        Args:
            text: [n, Dt] floats.
            image: [n, Dc] floats, the coarse view.
            fine: [n, Df] floats; None: there is one view.

        Raises:
            DSAError: the rows do not pair up, or hold NaN or infinity.
        """
        given = {"text": text, "image": image} | ({} if fine is None else {"fine": fine})
        arrays = {name: np.asarray(rows, dtype=np.float32) for name, rows in given.items()}
        n = len(arrays["text"])
        for name, rows in arrays.items():
            if rows.ndim != 2 or len(rows) != n:
                raise DSAError(
                    f"{name} has shape {list(rows.shape)}; it must be [{n}, features], one row a "
                    "pair."
                )
            if not np.isfinite(rows).all():
                raise DSAError(f"{name} holds NaN or infinity; clean the features first.")
        own = np.arange(n)
        positives = Ragged(np.arange(n + 1, dtype=np.int64), own.astype(np.int32))
        return cls(
            own, own, arrays["text"], arrays["image"], arrays.get("fine"), None, positives, False
        )

    def __len__(self) -> int:
        return len(self.texts)

    @property
    def widths(self) -> tuple[dict[str, int], dict[str, int]]:
        """Widths of the visual and of the logical modalities, as `AlignmentConfig` takes them."""
        visual = {"coarse": int(self.coarse.shape[1])}
        if self.fine is not None:
            visual["fine"] = int(self.fine.shape[-1])
        return visual, {TEXT: int(self.text.shape[1])}

    def batch(self, rows: NDArray[np.int64]) -> Batch:
        """The pairs at `rows` [B]."""
        texts, images = self.texts[rows], self.images[rows]
        fine = None if self.fine is None else _tensor(self.fine[images])
        used = None
        if fine is not None and self.counts is not None:
            used = torch.arange(fine.shape[1]) < _tensor(self.counts[images])[:, None]
        return Batch(
            _tensor(self.text[texts]),
            _tensor(self.coarse[images]),
            fine,
            used,
            torch.from_numpy(self._belong(texts, images)),
        )

    def _belong(self, texts: Array, images: Array) -> NDArray[np.bool_]:
        """[B, B], whether text i belongs to image j."""
        rows = self.positives.take(texts)
        if len(rows.indices) == len(texts):
            return np.asarray(rows.indices[:, None] == images)
        belong = np.zeros((len(texts), len(images)), dtype=np.bool_)
        np.logical_or.at(belong, rows.row_of, rows.indices[:, None] == images)
        return belong


@dataclass(frozen=True, eq=False)
class Similarity:
    """How alike B texts and B images are in the shared space, [text, image] each.

    Attributes:
        coarse: cosine of text and coarse view.
        fine: of text and fine view; None: there is no fine view.
        cross: of the two views.
    """

    coarse: Tensor
    fine: Tensor | None = None
    cross: Tensor | None = None

    def at(self, g: float) -> Tensor:
        """The cosine of text and blend V' = g V_fine + (1 - g) V_coarse; see `dsa_env.blend`."""
        if self.fine is None or self.cross is None or g == 0:
            return self.coarse
        if g == 1:
            return self.fine
        square = g * g + 2 * g * (1 - g) * self.cross + (1 - g) ** 2
        mixed: Tensor = (g * self.fine + (1 - g) * self.coarse) / square.clamp(min=NO_LENGTH).sqrt()
        return mixed


def similarities(
    model: AlignmentMatrix, pairs: Pairs, batch: Batch
) -> tuple[Similarity, Similarity]:
    """How alike texts and images are, as texts ask and as images ask.

    Texts attend to regions, images ask with the mean of theirs: as the environment compares them.
    """
    text = model.unit(batch.text, TEXT)
    coarse = model.unit(batch.coarse, "coarse")
    scene = text @ coarse.T
    if batch.fine is None:
        return Similarity(scene), Similarity(scene)
    fine = model.unit(batch.fine, "fine")
    bare = torch.zeros(len(scene), dtype=torch.bool, device=scene.device)
    mean = fine
    if batch.used is not None:
        total = (fine * batch.used[..., None]).sum(dim=1)
        bare = (total.square().sum(dim=-1) < NO_LENGTH) | ~batch.used.any(dim=1)
        mean = torch.where(bare[:, None], coarse, normalize(total, dim=-1))
    of_image = Similarity(scene, text @ mean.T, (mean * coarse).sum(dim=-1).expand_as(scene))
    if batch.used is None or not pairs.attended:
        return of_image, of_image
    asked, cross = _attended(text, fine, coarse, batch.used, pairs.temperature)
    asked, cross = torch.where(bare, scene, asked), cross.masked_fill(bare, 1.0)
    return Similarity(scene, asked, cross), of_image


def _attended(
    text: Tensor, regions: Tensor, coarse: Tensor, used: Tensor, temperature: float
) -> tuple[Tensor, Tensor]:
    """Cosines [T, N] of what texts attend to in each image with the text and the coarse view.

    With w_j proportional to exp(<t, r_j> / temperature) and x the text or the coarse view it is
    sum_j w_j <x, r_j> over the length |sum_j w_j r_j| = sqrt(w^T G w), G the Gram matrix of the
    image's regions.
    """
    similarity = regions @ text.T  # [N, R, T]
    there = used | ~used.any(dim=1, keepdim=True)
    logits = (similarity / temperature).masked_fill(~there[..., None], -torch.inf)
    weight = (logits - logits.detach().amax(dim=1, keepdim=True)).exp()  # its scale cancels
    gram = regions @ regions.transpose(1, 2)
    square = ((gram @ weight) * weight).sum(dim=1)
    length = square.clamp(min=NO_LENGTH).sqrt()
    across = (weight * (regions @ coarse[..., None])).sum(dim=1)
    return ((weight * similarity).sum(dim=1) / length).T, (across / length).T


def _tensor(rows: Array) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(rows, dtype=np.float32))
