"""Retrievals on disk are read whole and intact, or computed again."""

from __future__ import annotations

import errno
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dsa_env.bank import FeatureBank
from dsa_env.bank.store import Store
from dsa_env.retrieval import cache as retrieval_cache
from dsa_env.retrieval import shortlist
from dsa_env.retrieval.observation import observe
from dsa_env.retrieval.retrieval import ShortlistRetrieval
from dsa_env.retrieval.shortlist import build_retrieval, load_retrieval
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
    assert again.observation.tobytes() == first.observation.tobytes()
    assert again.text_width == first.text_width
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
    assert list((stored.path / "cache").glob("retrieval-*")) == []
    np.testing.assert_array_equal(found.curves.records, wanted.curves.records)


def test_what_is_not_taken_up_again_is_removed_a_week_later(stored: FeatureBank) -> None:
    assert stored.path is not None
    old, young = (stored.path / "cache" / f"retrieval-{name}.partial" for name in ("old", "young"))
    for left in (old, young):
        left.mkdir(parents=True)
        (left / "fine.npy").write_bytes(b"half")
    long_ago = time.time() - retrieval_cache.ABANDONED - 60
    for path in (old / "fine.npy", old):
        os.utime(path, (long_ago, long_ago))
    load_retrieval(stored, "text_to_image", "test")
    assert (old.exists(), young.exists()) == (False, True)


@pytest.fixture
def blocks(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Small blocks of queries, whose sizes are listed as they are made."""
    sizes: list[int] = []

    def counted(*arguments: Any) -> Any:
        sizes.append(len(arguments[2]))
        return observe(*arguments)

    monkeypatch.setattr("dsa_env.retrieval.similarity.BLOCK_BYTES", 2000)
    monkeypatch.setattr("dsa_env.retrieval.shortlist.observe", counted)
    return sizes


def same(one: ShortlistRetrieval, other: ShortlistRetrieval) -> None:
    for name, values in retrieval_cache._arrays(one).items():
        np.testing.assert_array_equal(values, retrieval_cache._arrays(other)[name])


def interrupt(*_: Any) -> Any:
    raise KeyboardInterrupt


@pytest.mark.parametrize("where", ["shortlists", "curves"])
def test_an_interrupted_build_goes_on_where_it_was(
    stored: FeatureBank, blocks: list[int], where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = build_retrieval(stored, "text_to_image", "train", None, False)
    total = sum(blocks)
    blocks.clear()

    with monkeypatch.context() as patch:
        if where == "curves":
            patch.setattr("dsa_env.retrieval.retrieval.pair_severity", interrupt)
        else:
            real = shortlist.with_positives
            once = [real, real, real, interrupt]
            patch.setattr(
                "dsa_env.retrieval.shortlist.with_positives", lambda *given: once.pop(0)(*given)
            )
        with pytest.raises(KeyboardInterrupt):
            load_retrieval(stored, "text_to_image", "train")
    assert 0 < sum(blocks) < total or where == "curves"
    same(load_retrieval(stored, "text_to_image", "train"), whole)
    assert sum(blocks) == total
    assert not list(cached_folder(stored).glob("rows*"))


def test_a_build_whose_files_were_cut_starts_anew(
    stored: FeatureBank, blocks: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("dsa_env.retrieval.retrieval.pair_severity", interrupt)
        with pytest.raises(KeyboardInterrupt):
            load_retrieval(stored, "text_to_image", "train")
    file = cached_folder(stored) / "cross.npy"
    file.write_bytes(file.read_bytes()[:200])
    blocks.clear()
    found = load_retrieval(stored, "text_to_image", "train")
    assert sum(blocks) == len(found)
    same(found, build_retrieval(stored, "text_to_image", "train", None, False))


KILLED = """
import os, signal, sys
from dsa_env.bank import FeatureBank
from dsa_env.retrieval import shortlist, similarity
similarity.BLOCK_BYTES, shortlist.RECORD_SECONDS = 2000, 0.0
made = []
def observe(*arguments, real=shortlist.observe):
    made.append(1)
    if len(made) > 4:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(*arguments)
shortlist.observe = observe
shortlist.load_retrieval(FeatureBank.open(sys.argv[1]), "text_to_image", "train")
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="the system has no SIGKILL")
def test_a_killed_build_goes_on_where_it_was_recorded(
    stored: FeatureBank, blocks: list[int]
) -> None:
    whole = build_retrieval(stored, "text_to_image", "train", None, False)
    total, each = sum(blocks), blocks[0]
    blocks.clear()
    done = subprocess.run([sys.executable, "-c", KILLED, str(stored.path)], check=False)
    assert done.returncode == -signal.SIGKILL
    same(load_retrieval(stored, "text_to_image", "train"), whole)
    assert sum(blocks) == total - 4 * each


def test_of_several_at_once_one_builds_and_the_others_wait(
    stored: FeatureBank, blocks: list[int]
) -> None:
    key = retrieval_cache.key(stored, "a name")

    def make(store: Store) -> ShortlistRetrieval:
        time.sleep(0.2)
        return build_retrieval(stored, "text_to_image", "train", None, False, store)

    with ThreadPoolExecutor(4) as pool:
        loads = [
            pool.submit(retrieval_cache.load, stored, key, ShortlistRetrieval, make)
            for _ in range(4)
        ]
        found = [load.result() for load in loads]
    assert sum(blocks) == len(found[0])
    for other in found[1:]:
        same(found[0], other)


def test_memory_stays_flat_when_a_large_retrieval_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dsa_env.retrieval.retrieval.CHUNK", 1 << 16)
    monkeypatch.setattr("dsa_env.curves.breakpoints.CHUNK", 1 << 14)
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
