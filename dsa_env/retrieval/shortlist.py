"""From a bank's split to its `ShortlistRetrieval`: shortlists, components, observations, curves."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dsa_env.bank import FeatureBank
from dsa_env.bank.format import release
from dsa_env.bank.store import Store
from dsa_env.errors import DSAError, unknown
from dsa_env.progress import bar
from dsa_env.retrieval import cache as retrieval_cache
from dsa_env.retrieval.galleries import Block, Gallery, exact_blocks, split_galleries
from dsa_env.retrieval.observation import observe, observed_widths
from dsa_env.retrieval.pool import pooled_blocks, require_faiss
from dsa_env.retrieval.retrieval import (
    K_MAX,
    OutcomeCurves,
    ShortlistRetrieval,
    null_retrieval,
    outcome_curves,
)
from dsa_env.retrieval.selection import natural_shortlist, shortlist_size, with_positives
from dsa_env.retrieval.severity import pair_severity, pair_unsupported

__all__ = [
    "DIRECTIONS",
    "OutcomeCurves",
    "ShortlistRetrieval",
    "load_retrieval",
    "null_retrieval",
    "pair_severity",
    "pair_unsupported",
]

DIRECTIONS = ("text_to_image", "image_to_text")
SMALLEST = 2 * K_MAX
"""A shorter shortlist could miss what belongs among the K_MAX best."""
KEPT = 8
"""How many retrievals a process keeps."""
RECORD_SECONDS = 30.0
"""So much work is lost at most when a build is killed; an interrupted one loses nothing."""

_loaded: OrderedDict[str, ShortlistRetrieval] = OrderedDict()


def load_retrieval(
    bank: FeatureBank,
    direction: str,
    split: str,
    *,
    shortlist: int | None = None,
    faiss: bool = False,
) -> ShortlistRetrieval:
    """The queries of a split with everything an environment needs of them.

    Computed once: kept in the process, and in ``<bank.path>/cache/`` where the bank has a folder
    that can be written.

    Args:
        bank: the bank.
        direction: "text_to_image" asks each text of its gallery's images, "image_to_text" each
            image of its gallery's texts.
        split: "pretrain", "train", "validation" or "test".
        shortlist: candidates a query; None keeps galleries of up to 512 items whole and 256
            candidates of larger ones.
        faiss: find candidates through an index (for galleries too large to compare everything
            with); needs ``pip install 'dsa-env[faiss]'``.

    Raises:
        DSAError: unknown direction or split, a shortlist that is too short, faiss not installed.
        BankError: the split is empty.
    """
    if direction not in DIRECTIONS:
        raise unknown("direction", direction, DIRECTIONS)
    if shortlist is not None and shortlist < SMALLEST:
        raise DSAError(f"shortlist must be at least {SMALLEST}, got {shortlist}.")
    if faiss:
        require_faiss()
    key = retrieval_cache.key(bank, direction, split, shortlist, faiss)
    if key in _loaded:
        _loaded.move_to_end(key)
        return _loaded[key]
    found = retrieval_cache.load(
        bank, key, ShortlistRetrieval,
        lambda store: build_retrieval(bank, direction, split, shortlist, faiss, store),
    )  # fmt: skip
    _loaded[key] = found
    while len(_loaded) > KEPT:
        _loaded.popitem(last=False)
    return found


def build_retrieval(
    bank: FeatureBank,
    direction: str,
    split: str,
    shortlist: int | None,
    faiss: bool,
    store: Store | None = None,
) -> ShortlistRetrieval:
    """`load_retrieval` without any cache; `store` keeps the large arrays, memory by default."""
    store = Store() if store is None else store
    galleries = split_galleries(bank, direction, split)
    queries = np.concatenate([gallery.queries for gallery in galleries]).astype(np.int32)
    size = max(shortlist_size(shortlist, len(gallery.items)) for gallery in galleries)
    shape = (len(queries), size)
    store.allocate("candidates", shape, np.int32)
    store.allocate("positive", shape, np.bool_)
    for name in ("fine", "coarse", "cross"):
        store.allocate(name, shape, np.float32)
    widths = observed_widths(bank, direction)
    store.allocate("observation", (len(queries), sum(widths)), np.float32)
    what = f"Shortlists {split} {direction.replace('_', ' ')}"
    recorded, written = time.monotonic(), store.done
    with bar(what, len(queries), store.done) as shown:
        try:
            for rows, arrays in _rows(bank, direction, galleries, shortlist, faiss, store.done):
                for name, values in arrays.items():
                    target = store.arrays[name]
                    target[rows, : values.shape[1]] = values
                    target[rows, values.shape[1] :] = -1 if name == "candidates" else 0
                    release(target)
                written = rows.stop
                shown.advance(rows.stop - rows.start)
                if time.monotonic() - recorded > RECORD_SECONDS:
                    store.record(written)
                    recorded = time.monotonic()
        finally:
            store.record(written)
    texts = direction == "text_to_image"
    made = {name: np.asarray(array) for name, array in store.arrays.items()}
    parts = {name: made[name] for name in ("candidates", "positive", "fine", "coarse", "cross")}
    return ShortlistRetrieval(
        direction=direction,
        split=split,
        k_max=K_MAX,
        query_ids=queries,
        cluster=bank.positives.first[queries] if texts else queries,
        kind=bank.text_kind[queries] if texts and bank.text_kind is not None else None,
        **made,
        text_width=widths[0],
        curves=outcome_curves(bank, direction, queries, **parts, store=store),
    )


def _rows(
    bank: FeatureBank,
    direction: str,
    galleries: list[Gallery],
    shortlist: int | None,
    faiss: bool,
    begin: int,
) -> Iterator[tuple[slice, dict[str, NDArray[Any]]]]:
    """Rows of a retrieval's arrays by name, a block of queries at a time, from query `begin` on."""
    before = 0
    for gallery in galleries:
        skipped = max(0, begin - before)
        if skipped < len(gallery.queries):
            wanted = shortlist_size(shortlist, len(gallery.items))
            for block in _blocks(bank, direction, gallery, wanted, faiss, skipped):
                natural = natural_shortlist(block.found, min(wanted, len(block.items)))
                chosen, relevant = with_positives(natural, block.positives)
                asked = gallery.queries[block.rows]
                seen = observe(bank, direction, asked, block.items, block.found)
                yield (
                    slice(before + block.rows.start, before + block.rows.stop),
                    {
                        "candidates": block.items[chosen].astype(np.int32),
                        "positive": relevant,
                        **vars(block.components.take(chosen)),
                        "observation": np.concatenate(seen, axis=1),
                    },
                )
        before += len(gallery.queries)


def _blocks(
    bank: FeatureBank, direction: str, gallery: Gallery, keep: int, faiss: bool, begin: int
) -> Iterator[Block]:
    if not faiss:
        return exact_blocks(bank, direction, gallery, begin)
    return pooled_blocks(bank, direction, gallery, keep, begin)
