"""Candidates from FAISS indexes, for galleries too large to compare everything with everything."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dsa_env.bank.format import BLOCK_BYTES, unit_rows
from dsa_env.blend import blend
from dsa_env.errors import DSAError
from dsa_env.retrieval.galleries import Block, Gallery, positions
from dsa_env.retrieval.similarity import Components, component_blocks

if TYPE_CHECKING:
    from dsa_env.bank import FeatureBank

BLENDS = (0.0, 0.5, 1.0)
"""The granularities that are searched for."""
BATCH = 32
"""Queries whose pools are compared at once."""
FEWEST = 64
"""A pool is never smaller, so that the observation has its candidates."""
FLAT = 20_000
"""Up to so many vectors an index compares a query with all of them."""

Ids = NDArray[np.integer[Any]]
Vectors = Callable[[Ids], NDArray[Any]]
Search = Callable[[Ids], NDArray[np.int64]]
"""From query ids [B] to positions of items [B, m], -1 where fewer were found."""


def require_faiss() -> Any:
    """The faiss module; `DSAError` with the cure when it is not installed."""
    try:
        import faiss
    except ImportError:
        raise DSAError("faiss=True needs FAISS: pip install 'dsa-env[faiss]'.") from None
    return faiss


def pooled_blocks(
    bank: FeatureBank, direction: str, gallery: Gallery, keep: int, begin: int = 0
) -> Iterator[Block]:
    """Compare every query with a pool of items that indexes found for it.

    The pool unites the `keep` nearest items of the coarse view, the fine one and the blend of both
    (and, for attended features, the images of the nearest regions); components on it are exact. An
    item that is near in none of these, and yet among the best for some g, is missed.

    Args:
        bank: the bank.
        direction: "text_to_image" or "image_to_text".
        gallery: the queries and items.
        keep: how many items each search returns.
        begin: the first query.

    Yields:
        Blocks whose items are the pools of their queries and the positives.
    """
    searches = list(_searches(bank, direction, gallery.items, max(keep, FEWEST)))
    for start in range(begin, len(gallery.queries), BATCH):
        rows = slice(start, min(start + BATCH, len(gallery.queries)))
        asked = gallery.queries[rows]
        pool = np.concatenate([search(asked) for search in searches], axis=1)
        own = gallery.positives.take(np.arange(rows.start, rows.stop))
        used = np.union1d(pool[pool >= 0], own.indices)
        reached = np.zeros((len(asked), len(used)), dtype=np.bool_)
        reached[np.nonzero(pool >= 0)[0], np.searchsorted(used, pool[pool >= 0])] = True
        parts = [part for _, part in component_blocks(bank, direction, asked, gallery.items[used])]
        components = Components.stack(parts)
        found = Components(
            np.where(reached, components.fine, np.float32(-1)),
            np.where(reached, components.coarse, np.float32(-1)),
            np.where(reached, components.cross, np.float32(1)),
        )
        yield Block(rows, gallery.items[used], positions(own, used), components, found)


def _searches(bank: FeatureBank, direction: str, items: Ids, keep: int) -> Iterator[Search]:
    def text(ids: Ids) -> NDArray[Any]:
        return unit_rows(bank.text_features[ids])

    def view(g: float) -> Vectors:
        return lambda ids: unit_rows(
            blend(unit_rows(bank.image_coarse[ids]), bank.fine_features(ids, np.float64), g)
        )

    if direction == "image_to_text":
        index = _index(text, items, bank.dim)
        for g in BLENDS:
            yield _search(index, view(g), keep)
        return
    for g in BLENDS:
        yield _search(_index(view(g), items, bank.dim), text, keep)
    if bank.fine == "attended":
        yield _region_search(bank, items, text, keep)


def _search(index: Any, vectors: Vectors, keep: int) -> Search:
    def search(asked: Ids) -> NDArray[np.int64]:
        found: NDArray[np.int64] = index.search(vectors(asked).astype(np.float32), keep)[1]
        return found

    return search


def _region_search(bank: FeatureBank, items: Ids, text: Vectors, keep: int) -> Search:
    """The images of the regions that are nearest to a text."""
    assert bank.image_regions is not None
    assert bank.region_counts is not None
    regions, counts = bank.image_regions, bank.region_counts[items].astype(np.int64)
    owner = np.repeat(np.arange(len(items)), counts)
    place = np.arange(len(owner)) - np.repeat(np.cumsum(counts) - counts, counts)

    def region(number: Ids) -> NDArray[Any]:
        return unit_rows(regions[items[owner[number]], place[number]])

    if not len(owner):
        return lambda asked: np.full((len(asked), 1), -1, dtype=np.int64)
    near = _search(_index(region, np.arange(len(owner)), bank.dim), text, keep)

    def search(asked: Ids) -> NDArray[np.int64]:
        found = near(asked)
        return np.where(found >= 0, owner[found], -1)

    return search


def _index(vectors: Vectors, ids: Ids, dim: int) -> Any:
    """An index of inner products over the vectors of `ids`: exact if small, else inverted lists."""
    faiss = require_faiss()
    lists = int(2 * np.sqrt(len(ids)))
    kind = "Flat" if len(ids) <= FLAT else f"IVF{lists},Flat"
    index = faiss.index_factory(dim, kind, faiss.METRIC_INNER_PRODUCT)
    if not index.is_trained:
        sample = np.random.default_rng(0).choice(ids, min(len(ids), 64 * lists), replace=False)
        index.train(vectors(np.sort(sample)).astype(np.float32))
        index.nprobe = max(1, lists // 8)
    step = max(1, BLOCK_BYTES // (8 * dim))
    for start in range(0, len(ids), step):
        index.add(vectors(ids[start : start + step]).astype(np.float32))
    return index
