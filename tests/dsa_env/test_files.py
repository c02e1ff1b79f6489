"""Files are whole or not there."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import numpy as np
import pytest

from dsa_env.errors import DSAError
from dsa_env.files import atomic_write, read_json, sha256_file, write_json, write_npy, write_text


def test_atomic_write_makes_folders_and_leaves_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "a" / "b" / "note.txt"
    write_text(target, "grün\n")
    assert target.read_bytes() == "grün\n".encode()
    assert list(target.parent.iterdir()) == [target]


def test_a_failing_body_keeps_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "note.txt"
    write_text(target, "old")

    def write_half() -> None:
        with atomic_write(target) as temporary:
            temporary.write_text("new, half")
            raise RuntimeError("half")

    with pytest.raises(RuntimeError, match="half"):
        write_half()
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_written_files_have_the_usual_mode(tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.write_text("")
    write_text(tmp_path / "ours", "")
    assert os.stat(plain).st_mode == os.stat(tmp_path / "ours").st_mode


def test_json_round_trip(tmp_path: Path) -> None:
    obj = {"name": "ü", "values": [1, 2.5, None, True]}
    write_json(tmp_path / "x.json", obj)
    assert read_json(tmp_path / "x.json") == obj


def test_json_refuses_nan(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "x.json", {"loss": float("nan")})
    assert not list(tmp_path.iterdir())


def test_read_json_names_what_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(DSAError, match=r"missing\.json does not exist"):
        read_json(tmp_path / "missing.json")
    (tmp_path / "cut.json").write_text('{"a": ')
    with pytest.raises(DSAError, match=r"cut\.json is not valid JSON"):
        read_json(tmp_path / "cut.json")
    (tmp_path / "bytes.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DSAError, match=r"bytes\.json is not valid JSON"):
        read_json(tmp_path / "bytes.json")
    with pytest.raises(DSAError, match="cannot be read"):
        read_json(tmp_path)


def test_npy_round_trip_and_no_pickles(tmp_path: Path) -> None:
    array = np.arange(6, dtype=np.float16).reshape(2, 3)
    write_npy(tmp_path / "x.npy", array)
    loaded = np.load(tmp_path / "x.npy", allow_pickle=False)
    assert loaded.dtype == array.dtype
    np.testing.assert_array_equal(loaded, array)
    with pytest.raises(ValueError, match="Object arrays"):
        write_npy(tmp_path / "y.npy", np.array([{}], dtype=object))
    assert not (tmp_path / "y.npy").exists()


def test_sha256_of_a_file(tmp_path: Path) -> None:
    data = os.urandom(300_000)
    (tmp_path / "x").write_bytes(data)
    assert sha256_file(tmp_path / "x") == hashlib.sha256(data).hexdigest()
