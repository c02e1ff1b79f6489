"""Records of large JSON files one at a time, so that memory does not grow with the file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from dsa_env.datasets.problems import BadRecordError
from dsa_env.errors import DSAError
from dsa_env.progress import bar

LARGE = 32
"""From how many million bytes on the reading of a file shows its progress."""


def stream(path: Path, prefix: str, expected: str, *, empty: bool = False) -> Iterator[Any]:
    """The items of one list in a JSON file, in order, without reading the file as a whole.

    Args:
        path: the file.
        prefix: where the list's items lie, in ijson's words: "item" for a list at the top,
            "images.item" for the list under "images".
        expected: what the file should be, for the error: "a COCO captions file ...".
        empty: whether an empty list is fine.

    Yields:
        Each item as Python's own types; numbers with a point as float.

    Raises:
        DSAError: for a file that is missing, unreadable or cut off, is no JSON, or has no such
            list.
    """
    import ijson

    found = False
    try:
        with _opened(path) as file:
            for item in ijson.items(file, prefix, use_float=True):
                found = True
                yield item
    except FileNotFoundError:
        raise DSAError(f"{path} does not exist; it should be {expected}.") from None
    except OSError as error:
        raise DSAError(f"{path} cannot be read ({error.strerror}); check the path.") from error
    except (ijson.JSONError, UnicodeDecodeError) as error:
        said = " ".join(str(error).split())
        raise DSAError(
            f"{path} is not valid JSON ({said}); it was cut off or is another file: "
            f"it should be {expected}."
        ) from error
    if not found and not empty:
        raise DSAError(f"{path} has no records at {prefix!r}; it should be {expected}.")


class _Told:
    """A file that tells a bar how many million bytes were read; for ijson, which calls `read`."""

    def __init__(self, file: BinaryIO, advance: Callable[[float], None]) -> None:
        self._file = file
        self._advance = advance

    def read(self, size: int = -1) -> bytes:
        """What `BinaryIO.read` returns."""
        found = self._file.read(size)
        self._advance(len(found) / 1e6)
        return found


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO | _Told]:
    """A file to read, with a progress bar where it is large."""
    with path.open("rb") as file:
        size = path.stat().st_size / 1e6
        if size < LARGE:
            yield file
            return
        with bar(f"reading {path.name} (MB)", size) as progress:
            yield _Told(file, progress.advance)


def get(record: Any, name: str, kind: type | tuple[type, ...], path: Path, number: int) -> Any:
    """A field of a record that must be there and of a type.

    Raises:
        BadRecordError: naming the file, the record's number and the field.
    """
    value = record.get(name) if isinstance(record, dict) else None
    if not isinstance(value, kind) or isinstance(value, bool):
        kinds = kind if isinstance(kind, tuple) else (kind,)
        words = " or ".join(one.__name__ for one in kinds)
        found = "lacks" if value is None else f"has {type(value).__name__} as"
        raise BadRecordError(path, number, f"{found} {name!r}, which should be {words}")
    return value
