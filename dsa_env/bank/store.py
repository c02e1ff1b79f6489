"""Where arrays that are being made live: in memory, or in the ``.npy`` files of a folder."""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import DTypeLike, NDArray

from dsa_env.bank.format import Array


class Store:
    """Makes arrays by name, in memory.

    Attributes:
        arrays: those that are made, by name.
    """

    def __init__(self, arrays: Mapping[str, Array] | None = None) -> None:
        self.arrays: dict[str, Array] = dict(arrays or {})
        self._parts: dict[str, list[Array]] = {}

    def allocate(self, name: str, shape: tuple[int, ...], dtype: DTypeLike) -> Array:
        """A new zeroed array of that name."""
        self.arrays[name] = np.zeros(shape, dtype)
        return self.arrays[name]

    def append(self, name: str, part: NDArray[Any]) -> None:
        """Put `part` [n] at the end of an array whose length is not known yet; see `joined`."""
        self._parts.setdefault(name, []).append(part)

    def joined(self, name: str) -> Array:
        """The array of all parts of that name, in their order; at least one was appended."""
        self.arrays[name] = np.concatenate(self._parts.pop(name))
        return self.arrays[name]


class FolderStore(Store):
    """Keeps the arrays in the ``.npy`` files of a folder, so that memory stays flat."""

    def __init__(self, folder: Path, arrays: Mapping[str, Array] | None = None) -> None:
        super().__init__(arrays)
        self.folder = folder
        self._growing: dict[str, tuple[BinaryIO, np.dtype[Any]]] = {}

    def file(self, name: str) -> Path:
        """Where an array of that name lies."""
        return self.folder / f"{name}.npy"

    def allocate(self, name: str, shape: tuple[int, ...], dtype: DTypeLike) -> Array:
        """A new zeroed array of that name, mapped from its file.

        Raises:
            OSError: the disk is full.
        """
        self.arrays[name] = create_array(self.file(name), shape, dtype)
        return self.arrays[name]

    def append(self, name: str, part: NDArray[Any]) -> None:
        """Put `part` [n] at the end of a file whose length is not known yet."""
        if name not in self._growing:
            self._growing[name] = self.file(name).open("wb"), part.dtype
            write_header(*self._growing[name], (0,))
        self._growing[name][0].write(np.ascontiguousarray(part).data)

    def joined(self, name: str) -> Array:
        """The array of all parts of that name, mapped from its file."""
        stream, dtype = self._growing.pop(name)
        with stream:
            end = stream.tell()
            stream.seek(0)
            write_header(stream, dtype, (0,))
            rows = (end - stream.tell()) // dtype.itemsize
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
