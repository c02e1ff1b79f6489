"""From the embeddings people have to the arrays of a feature bank."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from dsa_env.bank.format import SPLITS, Array, row_blocks
from dsa_env.bank.ragged import Ragged
from dsa_env.errors import BankError, unknown

Allocate = Callable[[str, tuple[int, ...], DTypeLike], Array]
"""Makes the writable array of that name, shape and dtype: in memory or in a file."""
Rows = ArrayLike | Ragged | Sequence[Sequence[int]]

SHARES = (0.7, 0.15, 0.15)
"""Train, validation and test where no splits are given."""


def normalise_rows(
    rows: ArrayLike, name: str, first: int = 0, used: Array | None = None
) -> NDArray[np.float64]:
    """Vectors of any float dtype (last axis) scaled to length 1, in float64.

    Args:
        rows: [n, D], or [n, R, D] with regions.
        name: what the rows are called in errors.
        first: the number of row 0 in errors.
        used: [n, R] bool; vectors that are not used become zeros, whatever they held.

    Raises:
        BankError: a vector has NaN or infinity, or is all zeros.
    """
    values = np.asarray(rows, dtype=np.float64)
    if used is not None:
        values = np.where(used[..., None], values, 0.0)
    peak = np.abs(values).max(axis=-1, initial=0.0)
    for bad, what, cure in (
        (~np.isfinite(peak), "NaN or infinity", "clean the features first"),
        ((peak == 0) & (True if used is None else used), "an all-zero vector", "drop it"),
    ):
        if bad.any():
            row = first + int(np.flatnonzero(bad.reshape(len(bad), -1).any(axis=1))[0])
            raise BankError(f"{name} has {what} in row {row}; {cure}.")
    values = values / np.where(peak == 0, 1.0, peak)[..., None]  # no overflow, no underflow
    length = np.linalg.norm(values, axis=-1, keepdims=True)
    unit: NDArray[np.float64] = values / np.where(length == 0, 1.0, length)
    return unit


def put_features(allocate: Allocate, name: str, values: ArrayLike) -> Array:
    """Copy rows of features [n, D], normalised, into the bank's array of that name."""
    source = as_floats(values, name, ndim=2)
    target = allocate(name, source.shape, np.float32)
    for block in row_blocks(source):
        target[block] = normalise_rows(source[block], name, block.start)
    return target


def put_regions(
    allocate: Allocate, regions: ArrayLike | Sequence[ArrayLike], counts: ArrayLike | None
) -> Array:
    """Copy regions, normalised and zero padded; returns the counts.

    `regions` is [N, R, D] (zero rows at the end of an image are padding unless `counts` says
    otherwise) or one [r_i, D] array an image.
    """
    if not isinstance(regions, np.ndarray) and counts is None and _is_ragged(regions):
        regions, counts = _pad(regions)  # type: ignore[arg-type]
    source = as_floats(regions, "regions", ndim=3)
    target = allocate("image_regions", source.shape, np.float32)
    kept = allocate("region_counts", (len(source),), np.int16)
    kept[:] = _given_counts(counts, source) if counts is not None else 0
    for block in row_blocks(source):
        if counts is None:
            kept[block] = _filled(source[block], block.start)
        used = np.arange(source.shape[1]) < kept[block, None]
        target[block] = normalise_rows(source[block], "regions", block.start, used)
    return kept


def _is_ragged(regions: Any) -> bool:
    return len({len(np.asarray(rows)) for rows in regions}) > 1


def _pad(regions: Sequence[ArrayLike]) -> tuple[Array, Array]:
    parts = [np.asarray(rows, dtype=np.float64) for rows in regions]
    width = next((p.shape[1] for p in parts if p.ndim == 2), 0)
    counts = np.array([len(p) for p in parts])
    padded = np.zeros((len(parts), int(counts.max()), width))
    for i, part in enumerate(parts):
        if len(part) and part.shape != (len(part), width):
            raise BankError(f"regions of image {i} have shape {list(part.shape)}; give [r, D].")
        if len(part):
            padded[i, : len(part)] = part
    return padded, counts


def _given_counts(counts: ArrayLike, regions: Array) -> Array:
    given = as_ints(counts, "region_counts", (len(regions),))
    if given.min(initial=0) < 0 or given.max(initial=0) > regions.shape[1]:
        raise BankError(f"region_counts must lie in 0..{regions.shape[1]}, the regions given.")
    return given


def _filled(regions: Array, first: int) -> Array:
    """How many regions come before the padding; zeros between regions are refused."""
    filled = np.any(np.asarray(regions) != 0, axis=-1)
    counts: Array = filled.sum(axis=1)
    gaps = filled != (np.arange(filled.shape[1]) < counts[:, None])
    if gaps.any():
        image = first + int(np.flatnonzero(gaps.any(axis=1))[0])
        raise BankError(f"regions of image {image} have a zero row between others; drop that row.")
    return counts


def as_positives(positives: Rows | None, texts: int, images: int) -> Ragged:
    """The positives of each text: None (text i, image i), ids [T], lists of ids or `Ragged`."""
    if positives is None:
        if texts != images:
            raise BankError(
                f"{texts} texts and {images} images do not pair up one to one; pass positives= "
                "(the image id of each text, or a list of image ids for each text)."
            )
        positives = np.arange(texts)
    return as_ragged(positives, "positives", texts, images)


def as_ragged(rows: Rows, name: str, n: int, columns: int) -> Ragged:
    """Ids from a 1-D int array (one a row), lists of ids or a `Ragged`, checked."""
    ragged = rows if isinstance(rows, Ragged) else _ragged_from(rows, name)
    if len(ragged) != n:
        raise BankError(f"{name} has {len(ragged)} rows; it needs {n}.")
    if len(ragged.indices) and not 0 <= ragged.indices.min() <= ragged.indices.max() < columns:
        raise BankError(f"{name} has ids outside 0..{columns - 1}.")
    repeated = ragged.row_of * max(columns, 1) + ragged.indices
    if len(np.unique(repeated)) == len(repeated):
        return ragged
    return Ragged.from_lists(list(dict.fromkeys(row)) for row in ragged.to_lists())


def _ragged_from(rows: Any, name: str) -> Ragged:
    if isinstance(rows, np.ndarray) and rows.ndim == 1 and rows.dtype != object:
        ids = as_ints(rows, name, rows.shape)
        return Ragged(np.arange(len(ids) + 1, dtype=np.int64), ids.astype(np.int32))
    try:
        return Ragged.from_lists(
            [row] if isinstance(row, int | np.integer) else row for row in rows
        )
    except TypeError as error:
        raise BankError(f"{name}: {error}.") from None


def as_splits(splits: Any, positives: Ragged, images: int, seed: int) -> NDArray[np.int8]:
    """The split code of each image: from names or codes, or drawn 70/15/15 by image.

    Drawn splits keep images together that share a text, so that no text lies in two splits.
    """
    if splits is None:
        return _drawn_splits(positives, images, seed)
    given = np.asarray(splits)
    if given.shape != (images,):
        raise BankError(f"splits has shape {list(given.shape)}; it needs one entry per image "
                        f"[{images}].")  # fmt: skip
    if given.dtype.kind in "US" or given.dtype == object:
        names = [name.decode() if isinstance(name, bytes) else str(name) for name in given.tolist()]
        for name in dict.fromkeys(names):
            if name not in SPLITS:
                raise unknown("split", name, SPLITS)
        return np.array([SPLITS.index(name) for name in names], dtype=np.int8)
    codes = as_ints(given, "splits", (images,))
    if codes.min() < 0 or codes.max() >= len(SPLITS):
        raise BankError(f"splits has codes outside 0..{len(SPLITS) - 1} ({', '.join(SPLITS)}).")
    return codes.astype(np.int8)


def _drawn_splits(positives: Ragged, images: int, seed: int) -> NDArray[np.int8]:
    group = _connected(positives, images)
    order = np.random.default_rng(seed).permutation(group.max() + 1)
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    sizes = np.bincount(group)[order]
    middle = (np.cumsum(sizes) - sizes / 2) / images  # where each group lies in [0, 1]
    code = 1 + np.searchsorted(np.cumsum(SHARES)[:2], middle, side="right")
    if len(order) >= 3 and len(np.unique(code)) < 3:  # few images: still something everywhere
        code[0], code[-2:] = 1, (2, 3)
    return code[place][group].astype(np.int8)


def _connected(positives: Ragged, images: int) -> Array:
    """A group number for each image; images that share a text share their group."""
    if positives.lengths.max() == 1:
        return np.arange(images)
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    ends = (positives.first[positives.row_of], positives.indices)
    links = coo_array((np.ones(len(ends[0])), ends), shape=(images, images))
    group: Array = connected_components(links, directed=False)[1]
    return group


def as_kinds(kinds: Any, n: int, name: str) -> tuple[tuple[str, ...], NDArray[np.int8] | None]:
    """Names and codes from one name each; the names in their order of first appearance."""
    if kinds is None:
        return (), None
    given = [str(kind) for kind in kinds]
    if len(given) != n:
        raise BankError(f"{name} has {len(given)} entries; it needs {n}.")
    names = tuple(dict.fromkeys(given))
    if len(names) > 127:
        raise BankError(f"{name} has {len(names)} different names; at most 127 are allowed.")
    code = {kind: i for i, kind in enumerate(names)}
    return names, np.array([code[kind] for kind in given], dtype=np.int8)


def put_facts(
    allocate: Allocate, facts: Mapping[str, Any], texts: int, images: int
) -> tuple[list[str] | None, tuple[str, ...]]:
    """Copy the facts; returns their names and kinds.

    Args:
        allocate: makes an array of the bank.
        facts: ``features``, ``text`` and ``image``; ``names``, ``kinds`` and ``known`` ([N] whether
            an image's facts were looked for at all) may be there.
        texts: number of texts.
        images: number of images.
    """
    options = ("features", "text", "image", "names", "kinds", "known")
    for key in facts:
        if key not in options:
            raise unknown("entry of facts", key, options)
    for key in options[:3]:
        if key not in facts:
            raise BankError(f"facts has no {key!r}; it needs features, text and image.")
    n = len(put_features(allocate, "fact_features", facts["features"]))
    put_ragged(allocate, "text_facts", as_ragged(facts["text"], "facts['text']", texts, n))
    put_ragged(allocate, "image_facts", as_ragged(facts["image"], "facts['image']", images, n))
    known = np.asarray(facts.get("known", np.ones(images)), dtype=np.bool_)
    if known.shape != (images,):
        raise BankError(f"facts['known'] has shape {list(known.shape)}; it must be [{images}].")
    if not known.all():
        allocate("image_facts_known", known.shape, np.int8)[:] = known
    fact_kinds, codes = as_kinds(facts.get("kinds"), n, "facts['kinds']")
    if codes is not None:
        allocate("fact_kind", codes.shape, np.int8)[:] = codes
    return as_strings(facts.get("names"), n, "facts['names']"), fact_kinds


def put_ragged(allocate: Allocate, name: str, ragged: Ragged) -> None:
    """Copy a `Ragged` into its two arrays."""
    allocate(f"{name}_indptr", ragged.indptr.shape, np.int64)[:] = ragged.indptr
    allocate(f"{name}_indices", ragged.indices.shape, np.int32)[:] = ragged.indices


def put_shares(allocate: Allocate, name: str, values: ArrayLike, shape: Sequence[int]) -> None:
    """Copy values in [0, 1] of that shape."""
    source = as_floats(values, name, ndim=len(shape))
    if source.shape != tuple(shape):
        raise BankError(f"{name} has shape {list(source.shape)}; it must be {list(shape)}.")
    target = allocate(name, source.shape, np.float32)
    for block in row_blocks(source):
        part = source[block]
        if not np.all((part >= 0) & (part <= 1)):
            raise BankError(f"{name} has values outside [0, 1] (or NaN) in rows "
                            f"{block.start}..{block.stop - 1}; scale them.")  # fmt: skip
        target[block] = part


def as_floats(values: Any, name: str, ndim: int) -> Array:
    """An array of numbers with that many axes and at least one row."""
    try:
        array = values if isinstance(values, np.ndarray) else np.asarray(values)
    except ValueError:
        raise BankError(f"{name} is not rectangular; give an array with {ndim} axes.") from None
    if array.dtype.kind not in "fiu":
        raise BankError(f"{name} is {array.dtype.name}; give an array of floats.")
    if array.ndim != ndim:
        raise BankError(f"{name} has shape {list(array.shape)}; it needs {ndim} axes.")
    if array.size == 0:
        raise BankError(f"{name} is empty (shape {list(array.shape)}); give at least one row.")
    return array


def as_ints(values: ArrayLike, name: str, shape: tuple[int, ...]) -> NDArray[np.int64]:
    """An array of ints of that shape."""
    array = np.asarray(values)
    if array.dtype.kind not in "iu" or array.shape != shape:
        raise BankError(
            f"{name} is {array.dtype.name}{list(array.shape)}; it must be ints {list(shape)}."
        )
    return array.astype(np.int64)


def as_strings(values: Sequence[Any] | None, n: int, name: str) -> list[str] | None:
    """A list of n strings, or None."""
    if values is None:
        return None
    if len(values) != n:
        raise BankError(f"{name} has {len(values)} entries; it needs {n}.")
    return [str(value) for value in values]
