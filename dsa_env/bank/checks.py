"""Whether a feature bank's arrays fit together and hold what they must."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dsa_env.bank.format import ARRAYS, FINE_VARIANTS, SPLITS, TOGETHER, Array, row_blocks
from dsa_env.bank.ragged import Ragged
from dsa_env.errors import BankError, unknown

SAMPLE = 64
NORM_TOLERANCE = 2e-3
"""How far the length of a unit row may be from 1: what float16 leaves."""


def check_layout(manifest: Mapping[str, Any], arrays: Mapping[str, Array]) -> None:
    """Names, shapes, dtypes and settings; reads no data.

    Raises:
        BankError: naming the array or setting and what it must be.
    """
    for name, spec in ARRAYS.items():
        if spec.required and name not in arrays:
            raise BankError(f"The bank has no {name}; build it again or add the array.")
    for group in TOGETHER:
        missing = [name for name in group if name not in arrays]
        if 0 < len(missing) < len(group):
            given = next(name for name in group if name in arrays)
            raise BankError(f"The bank has {given} but no {missing[0]}; they come together.")
    sizes: dict[str, int] = {}
    for name, array in arrays.items():
        _check_shape(name, array, sizes)
    if min(sizes["T"], sizes["N"], sizes["D"]) == 0:
        raise BankError(
            f"The bank is empty ({sizes['T']} texts, {sizes['N']} images, {sizes['D']} features); "
            "it needs at least one of each."
        )
    _check_settings(manifest, arrays)


def _check_shape(name: str, array: Array, sizes: dict[str, int]) -> None:
    if name not in ARRAYS:
        raise unknown("array", name, ARRAYS)
    spec = ARRAYS[name]
    if array.dtype.name not in spec.dtypes:
        raise BankError(
            f"{name} is {array.dtype.name}; a bank stores it as {' or '.join(spec.dtypes)}."
        )
    if array.ndim != len(spec.shape):
        wanted = ", ".join(map(str, spec.shape))
        raise BankError(f"{name} has shape {list(array.shape)}; it must be [{wanted}].")
    for axis, (letter, size) in enumerate(zip(spec.shape, array.shape, strict=True)):
        if isinstance(letter, int):
            expected = letter
        elif letter.endswith("+1"):
            expected = sizes.setdefault(letter[0], size - 1) + 1
        else:
            expected = sizes.setdefault(letter, size)
        if size != expected:
            raise BankError(
                f"{name} has shape {list(array.shape)}, but axis {axis} ({letter}) must be "
                f"{expected} as in the other arrays."
            )


def _check_settings(manifest: Mapping[str, Any], arrays: Mapping[str, Array]) -> None:
    fine, temperature = manifest.get("fine"), manifest.get("temperature")
    gallery_size = manifest.get("gallery_size")
    if fine not in FINE_VARIANTS:
        raise unknown("fine variant", str(fine), FINE_VARIANTS)
    needed = "image_fine" if fine == "given" else "image_regions"
    if needed not in arrays:
        raise BankError(f"fine={fine!r} needs {needed}, which the bank does not have; add it.")
    if not isinstance(temperature, int | float) or not 0 < temperature < np.inf:
        raise BankError(f"temperature must be a positive number, not {temperature!r}.")
    if gallery_size is not None and (not isinstance(gallery_size, int) or gallery_size < 1):
        raise BankError(f"gallery_size must be a positive int or None, not {gallery_size!r}.")
    if tuple(manifest.get("splits", ())) != SPLITS:
        raise BankError(f"splits must be {list(SPLITS)}, not {manifest.get('splits')!r}.")


def check_sample(arrays: Mapping[str, Array], where: str = "") -> None:
    """Look at a few rows of every array of floats, first and last included: finite, unit, in range.

    Every row is looked at by `check_all`.
    """
    for name, array in arrays.items():
        if ARRAYS[name].kind != "index" and len(array):
            rows = np.unique(np.linspace(0, len(array) - 1, SAMPLE).astype(np.int64))
            _check_values(name, array[rows], rows, _counts(name, arrays, rows), where)


def check_all(arrays: Mapping[str, Array], manifest: Mapping[str, Any], where: str = "") -> None:
    """Look at everything, in blocks: values, index ranges, ragged rows, and splits."""
    for name, array in arrays.items():
        if ARRAYS[name].kind == "index":
            continue
        for block in row_blocks(array):
            rows = np.arange(block.start, block.stop)
            _check_values(name, array[block], rows, _counts(name, arrays, rows), where)
    images, texts = len(arrays["image_coarse"]), len(arrays["text_features"])
    kinds, fact_kinds = len(manifest.get("kinds", ())), len(manifest.get("fact_kinds", ()))
    facts = len(arrays.get("fact_features", ()))
    _check_ragged("positives", arrays, images, where)
    _check_ragged("text_facts", arrays, facts, where)
    _check_ragged("image_facts", arrays, facts, where)
    _check_range("image_split", arrays, len(SPLITS), where)
    _check_range("text_split", arrays, len(SPLITS), where)
    _check_range("image_facts_known", arrays, 2, where)
    _check_range("text_kind", arrays, kinds, where)
    _check_range("fact_kind", arrays, fact_kinds, where)
    if "image_regions" in arrays:
        _check_range("region_counts", arrays, arrays["image_regions"].shape[1] + 1, where)
    positives = Ragged(arrays["positives_indptr"], arrays["positives_indices"])
    split = text_splits(positives, arrays["image_split"])
    if not np.array_equal(split, arrays["text_split"]):
        text = int(np.flatnonzero(split != arrays["text_split"])[0])
        raise BankError(
            f"{where}text_split of text {text} is not its images' split; build the bank again."
        )
    if texts != len(positives):
        raise BankError(f"{where}positives has {len(positives)} rows for {texts} texts.")


def text_splits(positives: Ragged, image_split: Array) -> NDArray[np.int8]:
    """The split of each text: that of its positives, which must agree.

    Raises:
        BankError: a text has no positive, or positives in two splits (test data would leak).
    """
    if np.any(positives.lengths == 0):
        text = int(np.flatnonzero(positives.lengths == 0)[0])
        raise BankError(f"Text {text} has no positive image; give it one or drop the text.")
    codes = np.asarray(image_split)[positives.indices]
    low = np.minimum.reduceat(codes, positives.indptr[:-1])
    high = np.maximum.reduceat(codes, positives.indptr[:-1])
    if np.any(low != high):
        text = int(np.flatnonzero(low != high)[0])
        raise BankError(
            f"Text {text} has positives in {SPLITS[low[text]]} and in {SPLITS[high[text]]}, so "
            "one split would leak into the other; put its images into one split."
        )
    return low.astype(np.int8)


def _counts(name: str, arrays: Mapping[str, Array], rows: Array) -> Array | None:
    return arrays["region_counts"][rows] if name in ("image_regions", "region_boxes") else None


def _check_values(name: str, values: Array, rows: Array, counts: Array | None, where: str) -> None:
    """Finite; unit rows of length 1; shares in [0, 1]; nothing beyond the region count."""
    values = np.asarray(values, dtype=np.float32 if values.dtype.itemsize < 8 else np.float64)
    cure = "build the bank again, or clean the data before"
    finite = np.isfinite(values).reshape(len(values), -1).all(axis=1)
    if not finite.all():
        row = rows[~finite][0]
        raise BankError(f"{where}{name} has NaN or infinity in row {row}; {cure}.")
    if ARRAYS[name].kind == "share":
        fits = ((values >= 0) & (values <= 1)).reshape(len(values), -1).all(axis=1)
        message = "a value outside [0, 1]"
    else:
        length = np.sqrt(np.einsum("...d,...d->...", values, values, dtype=np.float64))
        wanted: Any = 1.0
        if counts is not None:
            wanted = (np.arange(values.shape[1]) < counts[:, None]).astype(np.float64)
        near = np.abs(length - wanted) <= NORM_TOLERANCE
        fits = near.reshape(len(values), -1).all(axis=1)
        message = "a vector whose length is not 1 (or that is not padding)"
    if not fits.all():
        row = rows[~fits][0]
        raise BankError(f"{where}{name} has {message} in row {row}; {cure}.")


def _check_ragged(name: str, arrays: Mapping[str, Array], columns: int, where: str) -> None:
    if f"{name}_indptr" not in arrays:
        return
    indptr, indices = arrays[f"{name}_indptr"], arrays[f"{name}_indices"]
    if indptr[0] != 0 or indptr[-1] != len(indices) or np.any(np.diff(indptr) < 0):
        raise BankError(f"{where}{name}_indptr does not ascend from 0 to {len(indices)}.")
    if len(indices) and not (indices.min() >= 0 and indices.max() < columns):
        raise BankError(f"{where}{name}_indices points outside 0..{columns - 1}.")


def _check_range(name: str, arrays: Mapping[str, Array], below: int, where: str) -> None:
    if name in arrays and not (arrays[name].min() >= 0 and arrays[name].max() < below):
        raise BankError(f"{where}{name} has values outside 0..{below - 1}; build the bank again.")
