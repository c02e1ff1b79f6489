"""Retrievals on disk: read whole and intact, or computed again."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import fields
from functools import cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from dsa_env.bank.store import ROWS, FolderStore, Store
from dsa_env.files import read_json, sha256_file, write_json
from dsa_env.retrieval.retrieval import OutcomeCurves, Retrieval
from dsa_env.retrieval.severity import DETECTOR_FOLDER

if TYPE_CHECKING:
    from dsa_env.bank import FeatureBank

FOLDER = "cache"
"""Where a bank's folder holds what can be computed again."""
SOURCES = ("blend.py", "bank/ragged.py", "curves", "retrieval", "hallucination")
"""The modules and packages whose code a retrieval depends on."""
ABANDONED = 7 * 24 * 3600
"""Seconds without a write after which an interrupted build is given up."""
CURVES = tuple(field.name for field in fields(OutcomeCurves))
_log = logging.getLogger(__name__)
R = TypeVar("R", bound=Retrieval)


def key(bank: FeatureBank, *parameters: Any, sources: tuple[str, ...] = SOURCES) -> str:
    """A name for the retrieval of this data, detector, code and these parameters."""
    parts = [bank.sha256, _detector_hash(bank.path), code_hash(sources), *parameters]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def read(bank: FeatureBank, name: str, kind: type[R]) -> R | None:
    """The retrieval of that name and kind, memory-mapped; None where there is none, or damaged."""
    folder = _folder(bank, name)
    if folder is None or not folder.is_dir():
        return None
    try:
        for array, digest in read_json(folder / "meta.json")["sha256"].items():
            if sha256_file(folder / f"{array}.npy") != digest:
                raise ValueError(f"{array}.npy has another content than when it was written")
        return _open(folder, kind)
    except (OSError, ValueError, KeyError, TypeError) as error:
        _log.info("The cached retrieval %s is damaged (%s); computing it again.", folder, error)
        shutil.rmtree(folder, ignore_errors=True)
        return None


def load(bank: FeatureBank, name: str, kind: type[R], make: Callable[[Store], R]) -> R:
    """The retrieval of that name and kind, made where it is not there yet.

    It is made in its files, so that memory stays flat, and goes on where it was interrupted; only
    what is complete gets the folder's name. Of several processes one makes it and the others wait.
    Quietly made in memory where the folder cannot be written or the disk is full.

    Args:
        bank: the bank.
        name: from `key`.
        kind: the class.
        make: makes it, with its large arrays in the store that it is given.
    """
    found = read(bank, name, kind)
    if found is not None:
        return found
    folder = _folder(bank, name)
    if folder is None:
        return make(Store())
    partial = folder.with_name(f"{folder.name}.partial")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.with_name(f".{folder.name}.lock")):
            if not folder.exists():  # another process may have made it meanwhile
                _sweep(folder.parent)
                _write(partial, make)
                partial.rename(folder)
        return _open(folder, kind)
    except OSError as error:
        _log.info("The retrieval is not cached: %s cannot be written (%s).", folder.parent, error)
        return make(Store())


def _sweep(folder: Path) -> None:
    """Remove what builds that were interrupted have left, a week after they last wrote."""
    for left in folder.glob("retrieval-*.partial"):
        with suppress(OSError):
            last = max(file.stat().st_mtime for file in (left, *left.iterdir()))
            if time.time() - last > ABANDONED:
                shutil.rmtree(left, ignore_errors=True)


def _write(folder: Path, make: Callable[[Store], Retrieval]) -> None:
    """Make a retrieval in its files; `OSError` leaves none of them."""
    try:
        folder.mkdir(exist_ok=True)
        store = FolderStore(folder)
        retrieval = make(store)
        digests = {}
        for array, values in _arrays(retrieval).items():
            mapped = store.arrays.get(array)
            if mapped is None:
                np.save(store.file(array), values, allow_pickle=False)
            elif isinstance(mapped, np.memmap):
                mapped.flush()
            digests[array] = sha256_file(store.file(array))
        words = {name: getattr(retrieval, name) for name in _words(retrieval)}
        write_json(folder / "meta.json", {"words": words, "sha256": digests})
        (folder / ROWS).unlink(missing_ok=True)
    except OSError:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _open(folder: Path, kind: type[R]) -> R:
    """A retrieval that lies in a folder, memory-mapped; its content is not checked."""
    meta = read_json(folder / "meta.json")
    arrays: dict[str, Any] = {
        name: np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False).view(np.ndarray)
        for name in meta["sha256"]
    }
    bends = OutcomeCurves(*(arrays.pop(f"curves.{part}") for part in CURVES))
    words = {name: _tuples(value) for name, value in meta["words"].items()}
    return kind(**{"kind": None, **words, **arrays, "curves": bends})


@cache
def code_hash(sources: tuple[str, ...] = SOURCES) -> str:
    """A hash over the source code that retrievals depend on."""
    digest = hashlib.sha256()
    package = Path(str(resources.files("dsa_env")))
    for part in sources:
        source = package / part
        for file in sorted(source.glob("*.py")) if source.is_dir() else [source]:
            digest.update(file.read_bytes())
    return digest.hexdigest()


def _arrays(retrieval: Retrieval) -> dict[str, NDArray[Any]]:
    """All arrays of a retrieval by name, those of its curves as ``curves.NAME``."""
    own = {field.name: getattr(retrieval, field.name) for field in fields(retrieval)}
    bends = own.pop("curves")
    arrays = {name: value for name, value in own.items() if isinstance(value, np.ndarray)}
    return arrays | {f"curves.{part}": getattr(bends, part) for part in CURVES}


def _words(retrieval: Retrieval) -> list[str]:
    """The fields that are words or numbers, or tuples of such."""
    own = {field.name: getattr(retrieval, field.name) for field in fields(retrieval)}
    return [name for name, value in own.items() if isinstance(value, str | int | float | tuple)]


def _tuples(value: Any) -> Any:
    """JSON's lists as the tuples that they were."""
    return tuple(value) if isinstance(value, list) else value


def _folder(bank: FeatureBank, name: str) -> Path | None:
    return None if bank.path is None else bank.path / FOLDER / f"retrieval-{name[:20]}"


def _detector_hash(path: Path | None) -> str:
    """A hash over the files of the bank's hallucination detection network."""
    folder = path / DETECTOR_FOLDER if path is not None else None
    if folder is None or not folder.is_dir():
        return ""
    files = sorted(file for file in folder.iterdir() if file.is_file())
    return "".join(file.name + sha256_file(file) for file in files)
