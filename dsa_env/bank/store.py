"""Where arrays that are being made live: in memory, or in the ``.npy`` files of a folder."""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import DTypeLike, NDArray

from dsa_env.bank.format import Array
from dsa_env.errors import DSAError
from dsa_env.files import read_json, write_json

ROWS = "rows.json"
"""Where a folder says how many rows of its unfinished arrays are finished."""


class Store:
    """Makes arrays by name, in memory.

    Attributes:
        arrays: those that are made, by name.
        done: how many of their rows are finished, as far as was recorded.
    """

    def __init__(self, arrays: Mapping[str, Array] | None = None) -> None:
        self.arrays: dict[str, Array] = dict(arrays or {})
        self.done = 0
        self._parts: dict[str, list[Array]] = {}

    def allocate(self, name: str, shape: tuple[int, ...], dtype: DTypeLike) -> Array:
        """A new zeroed array of that name."""
        self.arrays[name] = np.zeros(shape, dtype)
        return self.arrays[name]

    def record(self, done: int) -> None:
        """Remember that the first `done` rows of the arrays are finished."""
        self.done = done

    def append(self, name: str, part: NDArray[Any]) -> None:
        """Put `part` [n] at the end of an array whose length is not known yet; see `joined`."""
        self._parts.setdefault(name, []).append(part)

    def joined(self, name: str) -> Array:
        """The array of all parts of that name, in their order; at least one was appended."""
        self.arrays[name] = np.concatenate(self._parts.pop(name))
        return self.arrays[name]


class FolderStore(Store):
    """Keeps the arrays in the ``.npy`` files of a folder, so that memory stays flat.

    A store that is made again on the folder of an interrupted one goes on from the rows that were
    recorded: allocate everything, then look at `done`.
    """

    def __init__(self, folder: Path, arrays: Mapping[str, Array] | None = None) -> None:
        super().__init__(arrays)
        self.folder = folder
        with suppress(DSAError, TypeError, KeyError):
            self.done = int(read_json(folder / ROWS)["done"])
        self._growing: dict[str, tuple[BinaryIO, np.dtype[Any], int]] = {}

    def file(self, name: str) -> Path:
        """Where an array of that name lies."""
        return self.folder / f"{name}.npy"

    def allocate(self, name: str, shape: tuple[int, ...], dtype: DTypeLike) -> Array:
        """An array of that name, mapped from its file; zeros, or what was recorded there before.

        Raises:
            OSError: the disk is full.
        """
        self.arrays[name] = self._recorded(name, shape, np.dtype(dtype))
        return self.arrays[name]

    def _recorded(self, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
        if self.done:
            with suppress(OSError, ValueError):
                found = np.load(self.file(name), mmap_mode="r", allow_pickle=False)  # whole?
                if (found.shape, found.dtype) == (shape, dtype):
                    return reopen(self.file(name))
            self.done = 0  # one array without its rows, and all have to be made anew
        return create_array(self.file(name), shape, dtype)

    def record(self, done: int) -> None:
        """Remember on disk, with the rows themselves, that the first `done` are finished."""
        super().record(done)
        for array in self.arrays.values():
            if isinstance(array, np.memmap):
                array.flush()
        write_json(self.folder / ROWS, {"done": done})

    def append(self, name: str, part: NDArray[Any]) -> None:
        """Put `part` [n] at the end of a file whose length is not known yet."""
        if name not in self._growing:
            stream = self.file(name).open("wb")
            write_header(stream, part.dtype, (0,))
            self._growing[name] = stream, part.dtype, stream.tell()
        self._growing[name][0].write(np.ascontiguousarray(part).data)

    def joined(self, name: str) -> Array:
        """The array of all parts of that name, mapped from its file."""
        stream, dtype, begin = self._growing.pop(name)
        with stream:
            rows = (stream.tell() - begin) // dtype.itemsize
            stream.seek(0)
            write_header(stream, dtype, (rows,))
        self.arrays[name] = reopen(self.file(name)) if rows else np.empty(0, dtype)
        return self.arrays[name]


def create_array(file: Path, shape: tuple[int, ...], dtype: DTypeLike) -> Array:
    """A new ``.npy`` file of zeros, mapped for writing (an array without entries: in memory).

    Raises:
        OSError: the disk is full; found out here, a mapped page without a place on disk is fatal.
    """
    if 0 in shape:
        empty = np.zeros(shape, dtype)
        np.save(file, empty, allow_pickle=False)
        return empty
    mapped: Array = np.lib.format.open_memmap(file, mode="w+", dtype=dtype, shape=shape)
    if hasattr(os, "posix_fallocate"):
        with file.open("r+b") as stream:
            try:
                os.posix_fallocate(stream.fileno(), 0, file.stat().st_size)
            except OSError as error:
                if error.errno == errno.ENOSPC:  # others: the file system cannot tell
                    raise
    return mapped


def reopen(file: Path) -> np.memmap[Any, Any]:
    """A ``.npy`` file, mapped for writing."""
    mapped: np.memmap[Any, Any] = np.lib.format.open_memmap(file, mode="r+")
    return mapped


def shorten(file: Path, array: Array, rows: int) -> Array:
    """Cut a mapped ``.npy`` file to its first rows; interrupted, it can be done again."""
    shape = (rows, *array.shape[1:])
    with file.open("r+b") as stream:
        write_header(stream, array.dtype, shape)
        stream.truncate(stream.tell() + int(np.prod(shape)) * array.dtype.itemsize)
    return reopen(file)


def write_header(stream: BinaryIO, dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
    """The header of a ``.npy`` file, as long whatever the first axis is: numpy leaves room."""
    descr = np.lib.format.dtype_to_descr(dtype)
    header = {"descr": descr, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(stream, header)
