"""Arrays made in a folder's files are those made in memory."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dsa_env.bank.store import FolderStore, Store, create_array, shorten

PAIR = np.dtype([("end", "<f4"), ("item", "<i4")])


def fill(store: Store) -> None:
    store.allocate("table", (7, 3), np.float32)[2:4] = 1.5
    store.allocate("none", (0, 3), np.int8)
    for n in (3, 0, 5):
        store.append("numbers", np.arange(n, dtype=np.int32))
        store.append("pairs", np.array([(0.5, n)] * n, dtype=PAIR)[::-1])
        store.append("empty", np.empty(0, np.float64))
    for name in ("numbers", "pairs", "empty"):
        store.joined(name)


def test_a_folder_keeps_what_memory_keeps(tmp_path: Path) -> None:
    memory, folder = Store(), FolderStore(tmp_path)
    fill(memory)
    fill(folder)
    assert memory.arrays.keys() == folder.arrays.keys()
    assert memory.arrays["numbers"].tolist() == [0, 1, 2, 0, 1, 2, 3, 4]
    for name, values in memory.arrays.items():
        for other in (folder.arrays[name], np.load(folder.file(name), allow_pickle=False)):
            assert (other.dtype, other.shape) == (values.dtype, values.shape)
            np.testing.assert_array_equal(other, values)


def test_a_file_is_cut_to_its_first_rows(tmp_path: Path) -> None:
    array = create_array(tmp_path / "a.npy", (6, 2), np.float32)
    array[:] = np.arange(12).reshape(6, 2)
    assert shorten(tmp_path / "a.npy", array, 4).tolist() == array[:4].tolist()
    assert np.load(tmp_path / "a.npy").shape == (4, 2)
    assert (tmp_path / "a.npy").stat().st_size == 128 + 32


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="the system cannot reserve files")
def test_a_full_disk_is_found_out_when_a_file_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(number: int) -> Any:
        def fallocate(*_: Any) -> None:
            raise OSError(number, os.strerror(number))

        return fallocate

    monkeypatch.setattr(os, "posix_fallocate", refuse(errno.ENOSPC))
    with pytest.raises(OSError, match="No space left"):
        create_array(tmp_path / "a.npy", (6, 2), np.float32)
    monkeypatch.setattr(os, "posix_fallocate", refuse(errno.EOPNOTSUPP))
    assert create_array(tmp_path / "b.npy", (6, 2), np.float32).shape == (6, 2)
