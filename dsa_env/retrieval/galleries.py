"""Which queries are asked of which items, and their components block by block."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dsa_env.bank.ragged import Ragged
from dsa_env.errors import BankError
from dsa_env.retrieval.similarity import Components, component_blocks

if TYPE_CHECKING:
    from dsa_env.bank import FeatureBank

Ids = NDArray[np.integer[Any]]


@dataclass(frozen=True, eq=False)
class Gallery:
    """Queries that are asked of the same items.

    Attributes:
        queries: [Q] bank ids.
        items: [n] bank ids, ascending.
        positives: query -> positions of its positives in `items`.
    """

    queries: Ids
    items: Ids
    positives: Ragged


@dataclass(frozen=True, eq=False)
class Block:
    """Some of a gallery's queries with the items that they are compared with.

    Attributes:
        rows: which of the gallery's queries, B of them.
        items: [n] bank ids.
        positives: query -> positions of its positives in `items`, B rows.
        components: [B, n].
        found: [B, n], the same, but out of reach (cosine -1) where retrieval did not find an item
            by itself.
    """

    rows: slice
    items: Ids
    positives: Ragged
    components: Components
    found: Components


def split_galleries(bank: FeatureBank, direction: str, split: str) -> list[Gallery]:
    """The galleries of a split that have queries.

    A text is asked of the gallery of its first positive; images without texts are candidates only.

    Raises:
        BankError: the split has no images, or none of them has a text.
    """
    home = np.full(bank.n_images, -1)
    cuts = bank.galleries(split)
    for number, images in enumerate(cuts):
        home[images] = number
    texts = bank.split_texts(split)
    if not len(texts):
        raise BankError(f"Split {split!r} has images but no texts; add texts or choose another.")
    asked = home[bank.positives.first[texts]]
    galleries = []
    for number, images in enumerate(cuts):
        if direction == "text_to_image":
            queries, items = texts[asked == number], images
            rows = bank.positives.take(queries)
        else:
            held = bank.captions_of.take(images)
            queries, items = images[held.lengths > 0], np.unique(held.indices)
            rows = bank.captions_of.take(queries)
        if len(queries):
            galleries.append(Gallery(queries, items, positions(rows, items)))
    return galleries


def positions(rows: Ragged, items: Ids) -> Ragged:
    """Positions in `items` (ascending ids) in place of ids; ids that are not there are dropped."""
    place = np.searchsorted(items, rows.indices)
    here = items[np.minimum(place, len(items) - 1)] == rows.indices
    lengths = np.bincount(rows.row_of[here], minlength=len(rows))
    indptr = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return Ragged(indptr, place[here].astype(np.int32))


def exact_blocks(
    bank: FeatureBank, direction: str, gallery: Gallery, begin: int = 0
) -> Iterator[Block]:
    """Compare every query (from the one at `begin` on) with every item of its gallery."""
    asked = gallery.queries[begin:]
    for part, components in component_blocks(bank, direction, asked, gallery.items):
        rows = slice(begin + part.start, begin + part.stop)
        positives = gallery.positives.take(np.arange(rows.start, rows.stop))
        yield Block(rows, gallery.items, positives, components, components)
