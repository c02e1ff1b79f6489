"""Files that are either whole or not there: atomic writing, strict reading, hashing."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from dsa_env.errors import DSAError

PathLike = str | os.PathLike[str]


@contextmanager
def atomic_write(path: PathLike) -> Iterator[Path]:
    """Yield a temporary file beside `path`; on success it is flushed to disk and renamed.

    A reader sees the old file or the new one, never half of one; when the body raises, the
    temporary file is removed and `path` stays as it was.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(6)}.tmp{target.suffix}")
    try:
        temporary.touch(exist_ok=False)
        yield temporary
        _flush(temporary)
        temporary.replace(target)
        _flush(target.parent)
    finally:
        with suppress(FileNotFoundError):
            temporary.unlink()


def write_text(path: PathLike, text: str) -> None:
    """Write `text` as UTF-8, atomically."""
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: PathLike, obj: Any) -> None:
    """Write `obj` as indented JSON, atomically; NaN and infinity are refused (not JSON)."""
    write_text(path, json.dumps(obj, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_npy(path: PathLike, array: ArrayLike) -> None:
    """Write an array as ``.npy``, atomically; arrays of objects (pickles) are refused."""
    with atomic_write(path) as temporary, temporary.open("wb") as stream:
        np.save(stream, np.asarray(array), allow_pickle=False)


def read_json(path: PathLike) -> Any:
    """Read JSON; `DSAError` when the file is missing, unreadable or not JSON."""
    source = Path(path)
    try:
        return json.loads(source.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DSAError(f"{source} does not exist; check the path or create it first.") from None
    except OSError as error:
        raise DSAError(f"{source} cannot be read ({error.strerror}); check the path.") from error
    except ValueError as error:
        raise DSAError(
            f"{source} is not valid JSON ({error}); it was cut off or edited: write it again."
        ) from error


def sha256_file(path: PathLike) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal; reads in chunks."""
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _flush(path: Path) -> None:
    """Ask the system to put a file, or a folder's entries, on disk."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except OSError:  # some systems cannot open folders
        return
    with suppress(OSError):
        os.fsync(handle)
    os.close(handle)
