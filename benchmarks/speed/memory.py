"""Memory of stepping through a million queries that lie on disk, and of preparing many."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from dsa_env.bank import FeatureBank
from dsa_env.curves.breakpoints import curves
from dsa_env.curves.lookup import pack
from dsa_env.retrieval.retrieval import OutcomeCurves
from dsa_env.retrieval.shortlist import load_retrieval
from dsa_env.testing import synthetic_bank
from dsa_env.vector import RetrievalVectorEnv

from .measure import Row

QUERIES = (10_000, 100_000, 1_000_000)
MADE = (20_000, 100_000)
GALLERY = 1000
CANDIDATES = 128
DIM = 64
BATCH, STEPS = 1024, 10_000
DRAWN = 10_000
"""So many queries are drawn; more are the same ones again, at other places of the files."""
GOAL = 1.5
"""Times the memory of the smallest number of queries."""
MIB = 2**20


def rows(_bank: str) -> list[Row]:
    """The memory of the largest number of queries beside that of the smallest."""
    found = [measured(queries, CANDIDATES, 4 * DIM) for queries in QUERIES]
    small, large = found[0], found[-1]
    note = (
        f"private memory (Linux: RssAnon) of a process after {STEPS:,} steps of batch {BATCH:,}, "
        "one of them with its info, so with the exact oracle of all queries; "
        f"{CANDIDATES} candidates, {4 * DIM} floats. The large one's files hold "
        f"{large.files / 2**30:.1f} GiB, of which {large.mapped / MIB:,.0f} MiB were mapped at the "
        f"end and can be given back at any time (peak of both {large.peak / MIB:,.0f} MiB); "
        f"{large.rate / 1e6:.1f} M steps/s, the small one's {small.rate / 1e6:.1f} M; similarities "
        f"of {DRAWN:,} queries are drawn and repeat"
    )
    less, more = (made(queries) for queries in MADE)
    return [
        Row(
            f"memory for {QUERIES[-1]:,} queries / for {QUERIES[0]:,}", large.private / MIB,
            small.private / MIB, "MiB", large.private / small.private, GOAL, None, note,
            at_most=True,
        ),
        Row(
            f"memory to prepare {MADE[-1]:,} queries / {MADE[0]:,}", more / MIB, less / MIB, "MiB",
            more / less, GOAL, None,
            "the largest private memory while a bank's queries are compared with galleries of "
            f"{GALLERY:,} pictures and their exact curves are made and written; {CANDIDATES} "
            "candidates", at_most=True,
        ),
    ]  # fmt: skip


@dataclass(frozen=True)
class Measured:
    """Bytes of private and of mapped memory, of both at their peak, of the files; steps/s."""

    private: float
    mapped: float
    peak: float
    files: float
    rate: float


def measured(queries: int, candidates: int, floats: int, batch: int = BATCH) -> Measured:
    """Write the files, then step through them in a process of its own."""
    folder = Path(tempfile.mkdtemp(prefix="dsa-bench-"))
    try:
        write_files(folder, queries, candidates, floats)
        command = [sys.executable, "-m", __name__, str(folder), str(batch)]
        output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        files = sum(file.stat().st_size for file in folder.iterdir())
        return Measured(files=files, **json.loads(output.splitlines()[-1]))
    finally:
        shutil.rmtree(folder)


def made(queries: int) -> float:
    """The most private memory of a process that makes a retrieval of so many queries, in bytes."""
    rng = np.random.default_rng(0)
    coarse, fine, noise = (
        unit(rng.standard_normal((queries, DIM), dtype=np.float32)) for _ in range(3)
    )
    with tempfile.TemporaryDirectory(prefix="dsa-bench-") as folder:
        FeatureBank.from_arrays(
            coarse + fine + 7 * noise, coarse, fine, splits=["train"] * queries,
            gallery_size=GALLERY, path=f"{folder}/bank",
        )  # fmt: skip
        command = [sys.executable, "-m", __name__, f"{folder}/bank"]
        output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return float(output.splitlines()[-1])


def most_private(bank: str) -> float:
    """Make the retrieval of a bank, watching this process's private memory, in bytes."""
    seen: list[float] = []
    ready = threading.Event()

    def watch() -> None:
        while not ready.wait(0.01):
            seen.append(status("RssAnon"))

    watcher = threading.Thread(target=watch)
    watcher.start()
    load_retrieval(FeatureBank.open(bank), "text_to_image", "train", shortlist=CANDIDATES)
    ready.set()
    watcher.join()
    return max(seen)


def status(name: str) -> float:
    """A figure of this process that Linux keeps, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return float(dict(line.split(":", 1) for line in lines)[name].split()[0]) * 1024


def write_files(folder: Path, queries: int, candidates: int, floats: int) -> None:
    """What a retrieval's cache holds, for drawn similarities: a block of queries at a time."""
    rng = np.random.default_rng(0)
    drawn = min(DRAWN, queries, max(200, 30_000_000 // candidates**2))
    parts = drawn_components(rng, drawn, candidates)
    positive = parts.pop("positive")
    found = curves(*parts.values(), positive, np.ones_like(positive))
    severity = rng.random(len(found.start), dtype=np.float32)
    columns = {
        "start": found.start, "rank": found.rank, "top": found.top, "item": found.top,
        "severity": severity, "unsupported": severity,
    }  # fmt: skip
    records, first = pack(found.indptr, found.start, found.rank, severity, found.top)
    columns["records"] = records
    features = rng.uniform(-1, 1, (drawn, floats)).astype(np.float32)
    table = {
        **parts, "positive": positive, "candidates": np.arange(candidates, dtype=np.int32)[None],
        "observation": features,
        "query_ids": np.arange(drawn, dtype=np.int32), "cluster": np.arange(drawn, dtype=np.int32),
    }  # fmt: skip
    blocks = -(-queries // drawn)
    for name, values in (table | columns).items():
        shape = values.shape if name != "candidates" else (drawn, candidates)
        whole = np.broadcast_to(values, shape)
        with writing(folder / f"{name}.npy", (blocks * shape[0], *shape[1:]), values.dtype) as out:
            for block in range(blocks):
                out[block * shape[0] : (block + 1) * shape[0]] = whole
    segments = len(found.start)
    offsets = np.arange(blocks, dtype=np.int64)[:, None] * segments
    np.save(
        folder / "indptr.npy", np.append((offsets + found.indptr[:-1]).ravel(), segments * blocks)
    )
    with writing(folder / "first.npy", (blocks * drawn, first.shape[1]), first.dtype) as out:
        for block in range(blocks):
            out[block * drawn : (block + 1) * drawn] = first + first.dtype.type(block * segments)


class writing:  # noqa: N801 (used like a function)
    """A ``.npy`` file that is filled part by part; its pages are given back at the end."""

    def __init__(self, path: Path, shape: tuple[int, ...], dtype: Any) -> None:
        self.array = np.lib.format.open_memmap(path, "w+", dtype, shape)

    def __enter__(self) -> Any:
        return self.array

    def __exit__(self, *_: object) -> None:
        self.array.flush()
        del self.array


def drawn_components(
    rng: np.random.Generator, queries: int, candidates: int
) -> dict[str, np.ndarray[Any, Any]]:
    """Cosines of a query with two views of each candidate, and of the views; one positive each."""
    query = unit(rng.standard_normal((queries, 1, DIM), dtype=np.float32))
    found = {
        name: np.empty((queries, candidates), np.float32) for name in ("fine", "coarse", "cross")
    }
    step = max(1, 32_768 // candidates)
    for begin in range(0, queries, step):
        part = slice(begin, begin + step)
        shape = (len(query[part]), candidates, DIM)
        item = 0.5 * query[part] + 3 * unit(rng.standard_normal(shape, dtype=np.float32))
        fine, coarse = (
            unit(item + 2 * unit(rng.standard_normal(shape, dtype=np.float32))) for _ in range(2)
        )
        found["fine"][part] = (fine * query[part]).sum(axis=2)
        found["coarse"][part] = (coarse * query[part]).sum(axis=2)
        found["cross"][part] = (fine * coarse).sum(axis=2)
    positive = np.zeros((queries, candidates), dtype=np.bool_)
    best = np.argsort(-(found["fine"] + found["coarse"]), axis=1)
    place = rng.integers(0, min(20, candidates), queries)
    positive[np.arange(queries), best[np.arange(queries), place]] = True
    return found | {"positive": positive}


def unit(vectors: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Each vector at length 1."""
    scaled: np.ndarray[Any, Any] = vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
    return scaled


def step_through(folder: Path, batch: int) -> dict[str, float]:
    """Open the files and step through them."""
    arrays: dict[str, Any] = {
        file.stem: np.load(file, mmap_mode="r").view(np.ndarray) for file in folder.glob("*.npy")
    }
    names = {field.name for field in fields(OutcomeCurves)}
    outcomes = OutcomeCurves(**{name: arrays.pop(name) for name in names})
    env = RetrievalVectorEnv(batch, synthetic_bank(60, dim=4), direction="image_to_text")
    arrays["text_width"] = arrays["observation"].shape[1] // 2
    env.core.retrieval = replace(env.core.retrieval, kind=None, curves=outcomes, **arrays)
    return stepped(env)


def stepped(env: RetrievalVectorEnv) -> dict[str, float]:
    """Step, and say how fast that was and how much memory this process has taken by then."""
    batch = env.num_envs
    env.reset(seed=0)
    rng = np.random.default_rng(0)
    actions = rng.random((16, batch, 1), dtype=np.float32)
    env.step(actions[0])[4]["final_info"]
    for step in range(STEPS // 10):
        held = env.step(actions[step % 16])
    seconds = []
    for step in range(STEPS):
        begun = time.perf_counter()
        held = env.step(actions[step % 16])
        seconds.append(time.perf_counter() - begun)
    del held
    rate = batch / float(np.median(seconds))
    private, mapped, peak = (status(name) for name in ("RssAnon", "RssFile", "VmHWM"))
    return {"private": private, "mapped": mapped, "peak": peak, "rate": rate}


if __name__ == "__main__":
    if len(sys.argv) > 2:
        print(json.dumps(step_through(Path(sys.argv[1]), int(sys.argv[2]))))
    else:
        print(most_private(sys.argv[1]))
