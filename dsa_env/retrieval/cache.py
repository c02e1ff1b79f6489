"""Retrievals on disk: read whole and intact, or computed again."""

from __future__ import annotations

import hashlib
import json
import logging
import secrets
import shutil
from contextlib import suppress
from dataclasses import fields
from functools import cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from dsa_env.files import read_json, sha256_file, write_json
from dsa_env.retrieval.retrieval import OutcomeCurves, Retrieval
from dsa_env.retrieval.severity import DETECTOR_FOLDER

if TYPE_CHECKING:
    from dsa_env.bank import FeatureBank

FOLDER = "cache"
"""Where a bank's folder holds what can be computed again."""
SOURCES = ("blend.py", "bank/ragged.py", "curves", "retrieval", "hallucination")
"""The modules and packages whose code a retrieval depends on."""
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
        meta = read_json(folder / "meta.json")
        arrays: dict[str, Any] = {}
        for array, digest in meta["sha256"].items():
            file = folder / f"{array}.npy"
            if sha256_file(file) != digest:
                raise ValueError(f"{file.name} has another content than when it was written")
            arrays[array] = np.load(file, mmap_mode="r", allow_pickle=False).view(np.ndarray)
        bends = OutcomeCurves(*(arrays.pop(f"curves.{part}") for part in CURVES))
        words = {name: _tuples(value) for name, value in meta["words"].items()}
        return kind(**{"kind": None, **words, **arrays, "curves": bends})
    except (OSError, ValueError, KeyError, TypeError) as error:
        _log.info("The cached retrieval %s is damaged (%s); computing it again.", folder, error)
        shutil.rmtree(folder, ignore_errors=True)
        return None


def write(bank: FeatureBank, name: str, retrieval: Retrieval) -> None:
    """Store a retrieval, whole or not at all; quietly not where the folder cannot be written."""
    folder = _folder(bank, name)
    if folder is None:
        return
    temporary = folder.with_name(f".{folder.name}.{secrets.token_hex(6)}.tmp")
    try:
        temporary.mkdir(parents=True)
        digests = {}
        for array, values in _arrays(retrieval).items():
            file = temporary / f"{array}.npy"
            np.save(file, values, allow_pickle=False)
            digests[array] = sha256_file(file)
        words = {name: getattr(retrieval, name) for name in _words(retrieval)}
        write_json(temporary / "meta.json", {"words": words, "sha256": digests})
        with suppress(OSError):  # another process was faster
            temporary.rename(folder)
    except OSError as error:
        _log.info("The retrieval is not cached: %s cannot be written (%s).", folder.parent, error)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


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
