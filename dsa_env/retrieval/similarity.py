"""The three similarity components of (query, candidate) pairs, in blocks of flat memory.

Computed in float64 from renormalised features and rounded to float32, so that equal embeddings
have equal components and tie exactly.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dsa_env.bank.format import unit_rows
from dsa_env.curves.jit import compiled

if TYPE_CHECKING:
    from dsa_env.bank import FeatureBank

Floats = NDArray[np.float64]
Ids = NDArray[np.integer[Any]]

BLOCK_BYTES = 64 * 2**20
"""Components of a block of queries, and the features of a chunk of items, are this large."""
SMALL_BLOCK_BYTES = 4 * 2**20
"""Region similarities are worked on in pieces of this size, which stay in the processor's cache."""
STRIP = 256
"""Images that are worked on at a time; the innermost loops run over them as vector instructions."""
PADDING = -1e3
"""The similarity of a region that is padding: its attention weight underflows to 0."""
NO_DIRECTION = 1e-12
"""Attended features with a squared length below this cancel out; the coarse ones stand in."""


@dataclass(frozen=True, eq=False)
class Components:
    """Similarities of B queries with n candidates, [B, n] float32 each.

    Attributes:
        fine: of query and fine view.
        coarse: of query and coarse view.
        cross: of fine and coarse view.
    """

    fine: NDArray[np.float32]
    coarse: NDArray[np.float32]
    cross: NDArray[np.float32]

    def take(self, position: Ids) -> Components:
        """The components of the candidates at `position` [B, K]."""
        parts = (self.fine, self.coarse, self.cross)
        return Components(*(np.take_along_axis(part, position, axis=1) for part in parts))

    @classmethod
    def stack(cls, parts: Sequence[Components], axis: int = 0) -> Components:
        """Join the components of several blocks of queries (or of candidates: axis 1)."""
        if len(parts) == 1:
            return parts[0]
        return cls(
            np.concatenate([part.fine for part in parts], axis),
            np.concatenate([part.coarse for part in parts], axis),
            np.concatenate([part.cross for part in parts], axis),
        )


@dataclass(frozen=True, eq=False)
class ImageViews:
    """What is needed of n images to answer any text; regions come first in the layout.

    Attributes:
        coarse: [n, D] unit vectors.
        fine: [n, D] unit vectors; None when the fine view depends on the query.
        regions: [D, R n] unit vectors, region j of image i in column j n + i; zeros are padding.
        gram: [R (R - 1) / 2, n], twice the similarity of each pair of an image's regions.
        to_coarse: [R, n], similarity of each region and the image's coarse view.
        padding: [R, n], 0 for a region and `PADDING` where there is none.
        bare: [n], whether an image has no region.
    """

    coarse: Floats
    fine: Floats | None
    regions: Floats
    gram: Floats
    to_coarse: Floats
    padding: Floats
    bare: NDArray[np.bool_]


def image_views(bank: FeatureBank, images: Ids) -> ImageViews:
    """Read and prepare the views of some images."""
    coarse = unit_rows(bank.image_coarse[images])
    n, dim = coarse.shape
    if bank.fine != "attended" or bank.image_regions is None or bank.region_counts is None:
        nothing = np.empty((0, n))
        bare = np.zeros(n, dtype=np.bool_)
        fine = bank.fine_features(images, np.float64)
        return ImageViews(coarse, fine, np.empty((dim, 0)), nothing, nothing, nothing, bare)
    regions = unit_rows(bank.image_regions[images])
    counts = bank.region_counts[images]
    first, second = np.tril_indices(regions.shape[1], -1)
    gram = 2.0 * (regions @ regions.transpose(0, 2, 1))[:, first, second].T
    used = np.arange(regions.shape[1])[:, None] < counts
    return ImageViews(
        coarse=coarse,
        fine=None,
        regions=np.ascontiguousarray(regions.transpose(2, 1, 0).reshape(dim, -1)),
        gram=np.ascontiguousarray(gram),
        to_coarse=np.ascontiguousarray((regions @ coarse[:, :, None])[:, :, 0].T),
        padding=np.where(used, 0.0, PADDING),
        bare=counts == 0,
    )


def texts_against_images(texts: Floats, views: ImageViews, temperature: float) -> Components:
    """Components of unit text features [B, D] and n images.

    The attended fine view of image i for text t is the unit vector along sum_j w_j r_j with
    w = softmax_j(<t, r_j> / temperature). Its length needs the regions' Gram matrix alone:
    |sum_j w_j r_j|^2 = sum_j w_j^2 + 2 sum_{j>k} w_j w_k <r_j, r_k>.
    """
    coarse = (texts @ views.coarse.T).astype(np.float32)
    if views.fine is not None:
        fine = (texts @ views.fine.T).astype(np.float32)
        cross = np.einsum("nd,nd->n", views.fine, views.coarse).astype(np.float32)
        return Components(fine, coarse, np.tile(cross, (len(fine), 1)))
    fine, cross = np.empty_like(coarse), np.empty_like(coarse)
    regions, n = views.to_coarse.shape
    step = max(1, SMALL_BLOCK_BYTES // (8 * max(1, regions * n)))
    similarity = np.empty((min(step, len(texts)), regions * n))
    weight = np.empty_like(similarity)
    for start in range(0, len(texts), step):
        stop = min(start + step, len(texts))
        size = stop - start
        s = np.matmul(texts[start:stop], views.regions, out=similarity[:size])
        s, w = s.reshape(size, regions, n), weight[:size].reshape(size, regions, n)
        _centre(s, views.padding, 1.0 / temperature, w)
        np.exp(w, out=w)
        _attend(s, w, views.gram, views.to_coarse, fine[start:stop], cross[start:stop])
    return _with_fallback(fine, coarse, cross, views.bare)


def _with_fallback(
    fine: NDArray[np.float32],
    coarse: NDArray[np.float32],
    cross: NDArray[np.float32],
    bare: NDArray[np.bool_],
) -> Components:
    """Coarse in place of fine where an image has no region, or its attended ones cancel out."""
    absent = np.isnan(fine) | bare
    if absent.any():
        fine[absent], cross[absent] = coarse[absent], 1.0
    return Components(fine, coarse, cross)


@compiled
def _centre(
    similarity: NDArray[np.float64], padding: NDArray[np.float64], scale: float, out: Any
) -> None:
    """Fill [B, R, n] with how far each region's similarity is below its image's best, scaled."""
    queries, regions, n = similarity.shape
    best = np.empty(STRIP)
    for begin in range(0, n, STRIP):
        size = min(STRIP, n - begin)
        for q in range(queries):
            best[:] = -np.inf
            for j in range(regions):
                s = similarity[q, j, begin : begin + size]
                p = padding[j, begin : begin + size]
                for i in range(size):
                    best[i] = max(best[i], s[i] + p[i])
            for j in range(regions):
                s = similarity[q, j, begin : begin + size]
                p = padding[j, begin : begin + size]
                w = out[q, j, begin : begin + size]
                for i in range(size):
                    w[i] = (s[i] + p[i] - best[i]) * scale


@compiled
def _attend(
    similarity: NDArray[np.float64],
    weight: NDArray[np.float64],
    gram: NDArray[np.float64],
    to_coarse: NDArray[np.float64],
    fine: NDArray[np.float32],
    cross: NDArray[np.float32],
) -> None:
    """Fill fine and cross [B, n] from weights (not normalised) and similarities [B, R, n]."""
    queries, regions, n = similarity.shape
    along, across, square, part = np.empty(STRIP), np.empty(STRIP), np.empty(STRIP), np.empty(STRIP)
    for begin in range(0, n, STRIP):
        size = min(STRIP, n - begin)
        for q in range(queries):
            along[:], across[:], square[:] = 0.0, 0.0, 0.0
            pair = 0
            for j in range(regions):
                w = weight[q, j, begin : begin + size]
                s = similarity[q, j, begin : begin + size]
                r = to_coarse[j, begin : begin + size]
                for i in range(size):
                    along[i] += w[i] * s[i]
                    across[i] += w[i] * r[i]
                    part[i] = w[i]
                for k in range(j):
                    other = weight[q, k, begin : begin + size]
                    product = gram[pair, begin : begin + size]
                    for i in range(size):
                        part[i] += other[i] * product[i]
                    pair += 1
                for i in range(size):
                    square[i] += w[i] * part[i]
            for i in range(size):
                total = square[i]
                length = np.sqrt(total) if total > NO_DIRECTION else np.nan
                fine[q, begin + i] = along[i] / length
                cross[q, begin + i] = across[i] / length


def images_against_texts(coarse: Floats, fine: Floats, texts: Floats) -> Components:
    """Components of B images (unit coarse and fine features [B, D]) and texts [n, D].

    The blend is on the query's side, so that its cross is the same for all candidates.
    """
    f, c = (fine @ texts.T).astype(np.float32), (coarse @ texts.T).astype(np.float32)
    cross = np.einsum("nd,nd->n", fine, coarse).astype(np.float32)
    return Components(f, c, np.repeat(cross[:, None], len(texts), axis=1))


def component_blocks(
    bank: FeatureBank, direction: str, queries: Ids, items: Ids
) -> Iterator[tuple[slice, Components]]:
    """Components of all queries with all items, a block of queries at a time.

    Args:
        bank: the bank.
        direction: "text_to_image" (queries are texts) or "image_to_text" (queries are images).
        queries: bank ids of the queries.
        items: bank ids of the candidates, n of them.

    Yields:
        A slice of `queries` and their `Components` [b, n], about `BLOCK_BYTES` large.
    """
    step = max(1, BLOCK_BYTES // (12 * len(items)))
    row_bytes = 8 * bank.dim
    if direction == "text_to_image" and bank.image_regions is not None:
        row_bytes *= bank.image_regions.shape[1]
    chunk = max(1, BLOCK_BYTES // row_bytes)

    @lru_cache(maxsize=1)  # prepared once where all items fit into one chunk
    def views(begin: int) -> ImageViews:
        return image_views(bank, items[begin : begin + chunk])

    @lru_cache(maxsize=1)
    def texts(begin: int) -> Floats:
        return unit_rows(bank.text_features[items[begin : begin + chunk]])

    for start in range(0, len(queries), step):
        block = slice(start, min(start + step, len(queries)))
        asked = queries[block]
        begins = range(0, len(items), chunk)
        if direction == "text_to_image":
            text = unit_rows(bank.text_features[asked])
            parts = [texts_against_images(text, views(b), bank.temperature) for b in begins]
        else:
            coarse = unit_rows(bank.image_coarse[asked])
            fine = bank.fine_features(asked, np.float64)
            parts = [images_against_texts(coarse, fine, texts(b)) for b in begins]
        yield block, Components.stack(parts, axis=1)
