"""The feature bank's format: which arrays there are, their shapes, and how a bank is hashed."""

from __future__ import annotations

import hashlib
import io
import json
import mmap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from dsa_env.errors import BankError, DSAError
from dsa_env.files import read_json

FORMAT = "dsa-feature-bank"
SCHEMA_VERSION = 1
MANIFEST = "bank.json"
SPLITS = ("pretrain", "train", "validation", "test")
FINE_VARIANTS = ("attended", "mean", "given")
BLOCK_BYTES = 16 * 2**20
"""How much of an array, as float64, is looked at or copied at a time."""

Array = NDArray[Any]


@dataclass(frozen=True)
class ArraySpec:
    """What one array of a bank must look like.

    Attributes:
        shape: a letter for each free size (the same letter is the same size everywhere:
            T texts, N images, R regions, D features, F facts), "T+1" and "N+1", or a number.
        dtypes: the dtypes allowed on disk.
        kind: "unit" rows of length 1, "share" values in [0, 1], "index" integers.
        required: whether every bank has it.
    """

    shape: tuple[str | int, ...]
    dtypes: tuple[str, ...]
    kind: str
    required: bool = False


_FLOAT = ("float32", "float16")
ARRAYS: dict[str, ArraySpec] = {
    "text_features": ArraySpec(("T", "D"), _FLOAT, "unit", required=True),
    "image_coarse": ArraySpec(("N", "D"), _FLOAT, "unit", required=True),
    "image_regions": ArraySpec(("N", "R", "D"), _FLOAT, "unit"),
    "region_counts": ArraySpec(("N",), ("int16",), "index"),
    "region_boxes": ArraySpec(("N", "R", 4), _FLOAT, "share"),
    "image_fine": ArraySpec(("N", "D"), _FLOAT, "unit"),
    "positives_indptr": ArraySpec(("T+1",), ("int64",), "index", required=True),
    "positives_indices": ArraySpec(("positives",), ("int32",), "index", required=True),
    "image_split": ArraySpec(("N",), ("int8",), "index", required=True),
    "text_split": ArraySpec(("T",), ("int8",), "index", required=True),
    "text_kind": ArraySpec(("T",), ("int8",), "index"),
    "fact_features": ArraySpec(("F", "D"), _FLOAT, "unit"),
    "fact_kind": ArraySpec(("F",), ("int8",), "index"),
    "text_facts_indptr": ArraySpec(("T+1",), ("int64",), "index"),
    "text_facts_indices": ArraySpec(("text facts",), ("int32",), "index"),
    "image_facts_indptr": ArraySpec(("N+1",), ("int64",), "index"),
    "image_facts_indices": ArraySpec(("image facts",), ("int32",), "index"),
    "image_facts_known": ArraySpec(("N",), ("int8",), "index"),
    "severity": ArraySpec(("T", "N"), _FLOAT, "share"),
}
TOGETHER = (
    ("image_regions", "region_counts"),
    (
        "fact_features",
        "text_facts_indptr",
        "text_facts_indices",
        "image_facts_indptr",
        "image_facts_indices",
    ),
)
"""Arrays that come together or not at all."""
MEANING = ("splits", "kinds", "fact_kinds", "fine", "temperature", "gallery_size")
"""The manifest's settings that change what the arrays mean; they are part of the bank's hash."""


def unit_rows(rows: Array) -> NDArray[np.float64]:
    """Rows in float64, scaled to length 1 (what float16 or float32 lost); zeros stay zeros."""
    values = np.asarray(rows, dtype=np.float64)
    length = np.linalg.norm(values, axis=-1, keepdims=True)
    unit: NDArray[np.float64] = values / np.where(length == 0, 1, length)
    return unit


def row_blocks(array: Array, block_bytes: int = BLOCK_BYTES) -> Iterator[slice]:
    """Slices over the first axis, each about `block_bytes` large as float64.

    What has been read of a mapped file is given back block by block, so memory stays flat.
    """
    row_bytes = max(1, int(np.prod(array.shape[1:], dtype=np.int64))) * 8
    step = max(1, block_bytes // row_bytes)
    for start in range(0, len(array), step):
        yield slice(start, min(start + step, len(array)))
        release(array)


def release(array: Array) -> None:
    """Give the memory of a mapped file's pages back; they are read again when needed.

    Does nothing for other arrays, nor for private copies of a file, whose changes would be lost.
    """
    mode, base = "", cast(Any, array)
    while isinstance(base, np.ndarray):
        mode = getattr(base, "mode", mode)
        base = base.base
    if isinstance(base, mmap.mmap) and mode in ("r", "r+", "w+") and hasattr(base, "madvise"):
        base.madvise(mmap.MADV_DONTNEED)


def describe_array(name: str, array: Array, sha256: str) -> dict[str, Any]:
    """The manifest's entry of one array."""
    return {
        "file": f"{name}.npy",
        "dtype": array.dtype.name,
        "shape": list(array.shape),
        "sha256": sha256,
    }


def hash_array(array: Array) -> str:
    """The SHA-256 that the array's ``.npy`` file has (version 1.0, C order), without the file."""
    stream = io.BytesIO()
    header = {
        "descr": np.lib.format.dtype_to_descr(array.dtype),
        "fortran_order": False,
        "shape": array.shape,
    }
    np.lib.format.write_array_header_1_0(stream, header)
    digest = hashlib.sha256(stream.getvalue())
    for rows in row_blocks(array):
        digest.update(np.ascontiguousarray(array[rows]).data.cast("B") if array.size else b"")
    return digest.hexdigest()


def data_hash(manifest: Mapping[str, Any]) -> str:
    """One hash for what a bank says: its arrays' hashes and the settings that give them meaning."""
    arrays = {name: entry["sha256"] for name, entry in sorted(manifest["arrays"].items())}
    settings = {name: manifest.get(name) for name in MEANING}
    text = json.dumps({"arrays": arrays, "settings": settings}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def open_array(folder: Path, name: str, entry: Mapping[str, Any]) -> Array:
    """Memory-map one array read-only after holding its file against the manifest.

    Reads the header alone, so it takes the same time whatever the size.

    Raises:
        BankError: the file is missing, no plain ``.npy``, holds pickled objects, was truncated
            or has another shape or dtype than the manifest says.
    """
    path = folder / f"{name}.npy"
    cure = "restore the file or build the bank again"
    try:
        size = path.stat().st_size
        with path.open("rb") as stream:
            version = np.lib.format.read_magic(stream)
            read = (
                np.lib.format.read_array_header_1_0
                if version == (1, 0)
                else np.lib.format.read_array_header_2_0
            )
            shape, fortran, dtype = read(stream)
            offset = stream.tell()
    except FileNotFoundError:
        raise BankError(f"{path} is missing, but the manifest lists it; {cure}.") from None
    except (OSError, ValueError) as error:
        raise BankError(f"{path} is not a readable .npy file ({error}); {cure}.") from error
    if dtype.hasobject:
        raise BankError(f"{path} holds pickled objects, which are never loaded; {cure}.")
    expected = (tuple(entry["shape"]), str(entry["dtype"]))
    if (shape, dtype.name) != expected or fortran:
        found = f"{dtype.name}{list(shape)}{' in Fortran order' if fortran else ''}"
        raise BankError(
            f"{path} holds {found}, but the manifest says {expected[1]}{list(expected[0])}; {cure}."
        )
    wanted = offset + int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    if size != wanted:
        state = "truncated" if size < wanted else "too long"
        raise BankError(f"{path} is {state}: {size} bytes instead of {wanted}; {cure}.")
    if wanted == offset:
        return np.empty(shape, dtype)
    mapped = np.memmap(path, dtype=dtype, mode="r", offset=offset, shape=shape)
    return mapped.view(np.ndarray)


def read_manifest(folder: Path) -> dict[str, Any]:
    """Read and check ``bank.json``; `BankError` when the folder is no bank."""
    file = folder / MANIFEST
    if not file.is_file():
        partial = folder.with_name(folder.name + ".partial")
        hint = (
            f"{partial.name} beside it is an unfinished build: continue that with the same command"
            if partial.is_dir()
            else "give the folder of a bank (dsa build makes one)"
        )
        raise BankError(f"{folder} is no feature bank (it has no {MANIFEST}); {hint}.")
    try:
        manifest = read_json(file)
    except DSAError as error:
        raise BankError(str(error)) from None
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise BankError(f"{file} is not the manifest of a feature bank; build the bank again.")
    if manifest.get("schema_version") != SCHEMA_VERSION:
        raise BankError(
            f"{file} has schema version {manifest.get('schema_version')!r}, this version reads "
            f"{SCHEMA_VERSION}; build the bank again."
        )
    entries = manifest.get("arrays")
    if not isinstance(entries, dict) or not all(
        isinstance(entry, dict) and {"file", "dtype", "shape", "sha256"} <= entry.keys()
        for entry in entries.values()
    ):
        raise BankError(f"{file} does not list the bank's arrays; build the bank again.")
    return manifest
