"""Retrievals on disk are read whole and intact, or computed again."""

from __future__ import annotations

import errno
import logging
import os
import shutil
import time
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dsa_env.bank import FeatureBank
from dsa_env.retrieval import cache as retrieval_cache
from dsa_env.retrieval import shortlist
from dsa_env.retrieval.shortlist import load_retrieval
from dsa_env.testing import synthetic_bank


@pytest.fixture(autouse=True)
def fresh_process() -> None:
    """Nothing is remembered from another test."""
    shortlist._loaded.clear()


@pytest.fixture
def stored(tmp_path: Path) -> FeatureBank:
    return synthetic_bank(60, path=tmp_path / "bank")


def cached_folder(bank: FeatureBank) -> Path:
    assert bank.path is not None
    (folder,) = (bank.path / "cache").glob("retrieval-*")
    return folder


def test_the_cache_on_disk_gives_the_same_retrieval(stored: FeatureBank) -> None:
    first = load_retrieval(stored, "text_to_image", "test")
    folder = cached_folder(stored)
    stamp = folder.stat().st_mtime_ns
    shortlist._loaded.clear()
    again = load_retrieval(stored, "text_to_image", "test")
    assert again is not first
    assert cached_folder(stored).stat().st_mtime_ns == stamp
    for name in ("query_ids", "cluster", "kind", "candidates", "positive", "fine", "coarse"):
        np.testing.assert_array_equal(getattr(again, name), getattr(first, name))
    for name in ("indptr", "start", "rank", "top", "item", "severity", "unsupported", "end"):
        np.testing.assert_array_equal(getattr(again.curves, name), getattr(first.curves, name))
    assert again.image_observation.tobytes() == first.image_observation.tobytes()
    assert again.text_observation.tobytes() == first.text_observation.tobytes()
    stored.verify()


@pytest.mark.parametrize("damage", ["flip", "truncate", "remove", "meta"])
def test_a_damaged_cache_is_computed_again(
    stored: FeatureBank, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    fine = load_retrieval(stored, "text_to_image", "test").fine.copy()
    folder = cached_folder(stored)
    file = folder / ("meta.json" if damage == "meta" else "fine.npy")
    data = bytearray(file.read_bytes())
    if damage == "remove":
        file.unlink()
    elif damage == "flip":
        data[-1] ^= 1
        file.write_bytes(data)
    else:
        file.write_bytes(data[: len(data) // 2])
    shortlist._loaded.clear()
    with caplog.at_level(logging.INFO):
        again = load_retrieval(stored, "text_to_image", "test")
    assert "is damaged" in caplog.text
    assert all(record.levelno == logging.INFO for record in caplog.records)
    np.testing.assert_array_equal(again.fine, fine)
    shortlist._loaded.clear()
    caplog.clear()
    load_retrieval(stored, "text_to_image", "test")
    assert "is damaged" not in caplog.text


def test_a_folder_that_cannot_be_written_goes_without_cache(
    stored: FeatureBank, caplog: pytest.LogCaptureFixture
) -> None:
    assert stored.path is not None
    (stored.path / "cache").write_text("a file where the folder should be")
    with caplog.at_level(logging.INFO):
        assert len(load_retrieval(stored, "text_to_image", "test")) == 18
    assert "is not cached" in caplog.text


def test_a_full_disk_goes_without_cache(
    stored: FeatureBank, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    wanted = load_retrieval(stored, "text_to_image", "train")
    shortlist._loaded.clear()
    shutil.rmtree(stored.path / "cache")
    monkeypatch.setattr("dsa_env.bank.store.create_array", full)
    with caplog.at_level(logging.INFO):
        found = load_retrieval(stored, "text_to_image", "train")
    assert "No space left" in caplog.text
    assert list((stored.path / "cache").iterdir()) == []
    np.testing.assert_array_equal(found.curves.records, wanted.curves.records)


def test_what_a_killed_build_left_is_removed_a_day_later(stored: FeatureBank) -> None:
    old, young = (stored.path / "cache" / f".retrieval-{name}.tmp" for name in ("old", "young"))
    for left in (old, young):
        left.mkdir(parents=True)
        (left / "fine.npy").write_bytes(b"half")
    yesterday = time.time() - retrieval_cache.ABANDONED - 60
    for path in (old / "fine.npy", old):
        os.utime(path, (yesterday, yesterday))
    load_retrieval(stored, "text_to_image", "test")
    assert (old.exists(), young.exists()) == (False, True)


def test_memory_stays_flat_when_a_large_retrieval_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dsa_env.retrieval.retrieval.CHUNK", 1 << 16)
    monkeypatch.setattr("dsa_env.curves.lookup.CHUNK", 1 << 14)
    rng = np.random.default_rng(0)
    n = 6000
    image, other, noise = (rng.standard_normal((n, 8), dtype=np.float32) for _ in range(3))
    bank = FeatureBank.from_arrays(
        image + other + 2 * noise, image, other, splits=["train"] * n, gallery_size=200,
        path=tmp_path / "bank",
    )  # fmt: skip
    load_retrieval(bank, "text_to_image", "train", shortlist=20)  # compiles
    shortlist._loaded.clear()
    tracemalloc.start()
    load_retrieval(bank, "text_to_image", "train", shortlist=200)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    written = sum(file.stat().st_size for file in (tmp_path / "bank" / "cache").rglob("*.npy"))
    assert written > 25e6
    assert peak < written / 4


def test_another_detector_or_parameter_makes_another_cache_entry(stored: FeatureBank) -> None:
    assert stored.path is not None
    names = {retrieval_cache.key(stored, "text_to_image", "test", size) for size in (None, 20)}
    (stored.path / "hallucination").mkdir()
    (stored.path / "hallucination" / "model.safetensors").write_bytes(b"weights")
    names.add(retrieval_cache.key(stored, "text_to_image", "test", None))
    (stored.path / "hallucination" / "model.safetensors").write_bytes(b"other weights")
    names.add(retrieval_cache.key(stored, "text_to_image", "test", None))
    assert len(names) == 4
