"""Putting a feature bank together from what people give: arrays, settings, lists."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from dsa_env.bank import arrays as given
from dsa_env.bank.checks import check_layout, text_splits
from dsa_env.bank.format import (
    FINE_VARIANTS,
    FORMAT,
    SCHEMA_VERSION,
    SPLITS,
    Array,
    describe_array,
    hash_array,
)
from dsa_env.bank.store import Store
from dsa_env.errors import BankError, unknown

Lists = dict[str, list[str]]
Manifest = dict[str, Any]


@dataclass(frozen=True)
class Features:
    """The large arrays of `FeatureBank.from_arrays`."""

    text: ArrayLike
    coarse: ArrayLike
    fine: ArrayLike | None
    regions: Any
    region_counts: ArrayLike | None
    region_boxes: ArrayLike | None


@dataclass(frozen=True)
class Details:
    """Everything else a bank is made from; see `FeatureBank.from_arrays`."""

    positives: given.Rows | None = None
    splits: Any = None
    kinds: Sequence[str] | None = None
    facts: Mapping[str, Any] | None = None
    severity: ArrayLike | None = None
    texts: Sequence[str] | None = None
    image_files: Sequence[Any] | None = None
    image_root: str | None = None
    fine_variant: str = "attended"
    temperature: float = 0.05
    gallery_size: int | None = None
    seed: int = 0
    provenance: Mapping[str, Any] | None = None


def assemble(features: Features, details: Details) -> tuple[Manifest, dict[str, Array], Lists]:
    """Manifest, arrays and lists of a bank in memory."""
    store = Store()
    put_features(store, features)
    manifest, lists = put_details(store, details)
    manifest["arrays"] = {
        name: describe_array(name, array, hash_array(array)) for name, array in store.arrays.items()
    }
    return manifest, store.arrays, lists


def put_features(store: Store, features: Features) -> None:
    """Copy the large arrays, normalised, block by block."""
    if (features.fine is None) == (features.regions is None):
        raise BankError("Give either fine= (one vector an image) or regions= (several an image).")
    given.put_features(store.allocate, "text_features", features.text)
    given.put_features(store.allocate, "image_coarse", features.coarse)
    if features.fine is not None:
        given.put_features(store.allocate, "image_fine", features.fine)
        return
    given.put_regions(store.allocate, features.regions, features.region_counts)
    if features.region_boxes is not None:
        shape = (*store.arrays["image_regions"].shape[:2], 4)
        given.put_shares(store.allocate, "region_boxes", features.region_boxes, shape)


def put_details(store: Store, details: Details) -> tuple[Manifest, Lists]:
    """Add everything else to a store that has the features; returns manifest and lists."""
    if details.fine_variant not in FINE_VARIANTS[:2]:
        raise unknown("fine variant", details.fine_variant, FINE_VARIANTS[:2])
    texts, images = len(store.arrays["text_features"]), len(store.arrays["image_coarse"])
    rows = given.as_positives(details.positives, texts, images)
    split = given.as_splits(details.splits, rows, images, details.seed)
    given.put_ragged(store.allocate, "positives", rows)
    store.allocate("image_split", split.shape, np.int8)[:] = split
    store.allocate("text_split", (texts,), np.int8)[:] = text_splits(rows, split)
    kinds, codes = given.as_kinds(details.kinds, texts, "kinds")
    if codes is not None:
        store.allocate("text_kind", codes.shape, np.int8)[:] = codes
    if details.severity is not None:
        given.put_shares(store.allocate, "severity", details.severity, (texts, images))
    fact_names: list[str] | None = None
    fact_kinds: tuple[str, ...] = ()
    if details.facts is not None:
        fact_names, fact_kinds = given.put_facts(store.allocate, details.facts, texts, images)
    manifest: Manifest = {
        "format": FORMAT,
        "schema_version": SCHEMA_VERSION,
        "splits": list(SPLITS),
        "kinds": list(kinds),
        "fact_kinds": list(fact_kinds),
        "fine": "given" if "image_fine" in store.arrays else details.fine_variant,
        "temperature": details.temperature,
        "gallery_size": details.gallery_size,
        "image_root": details.image_root,
        "provenance": dict(details.provenance or {}),
    }
    check_layout(manifest, store.arrays)
    lists = {
        "texts": given.as_strings(details.texts, texts, "texts"),
        "images": given.as_strings(details.image_files, images, "image_files"),
        "facts": fact_names,
    }
    return manifest, {name: values for name, values in lists.items() if values is not None}
