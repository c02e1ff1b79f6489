"""The captions of a split for a grid of granularities: written once, in chunks, and kept."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dsa_env.captioning.families import model_bytes, model_identity, own_dtype
from dsa_env.errors import BankError, DSAError
from dsa_env.files import read_json, write_json, write_npy
from dsa_env.progress import bar
from dsa_env.retrieval import cache as retrieval_cache
from dsa_env.workers import one_thread_each, process_pool, stay_quiet

if TYPE_CHECKING:
    from dsa_env.bank import FeatureBank
    from dsa_env.captioning.captioner import Captioner

CHUNK = 64
"""Pictures whose captions are written, and kept, together."""
SMALL = 64 * 2**20
"""Bytes of a model's files up to which each processor core gets a copy of its own."""
SOURCES = (
    "captioning/captioner.py",
    "captioning/families.py",
    "captioning/written.py",
    "mllm",
)
"""The modules and packages whose code captions depend on."""
COARSE = "pooled"
"""The coarse view that captions are written with."""


@dataclass(frozen=True, eq=False)
class Written:
    """Captions of N pictures x P prompts x G granularities, and what the model knew before.

    Attributes:
        captions: N lists of P lists of G captions.
        text: [P, Dt] float32, the features of the prompts, as `Captioner.observe` has them.
        image: [N, Di] float32, the features of the pictures, likewise.
    """

    captions: list[list[list[str]]]
    text: NDArray[np.float32]
    image: NDArray[np.float32]


def write_captions(
    bank: FeatureBank,
    pictures: NDArray[np.integer[Any]],
    prompts: Sequence[str],
    grid: Sequence[float],
    *,
    model: str = "embedded",
) -> Written:
    """Have a model caption pictures of a bank, at every granularity of a grid.

    What was written is kept in the bank's cache folder, chunk by chunk: a call that was killed is
    gone on with by the next one, and done work is read. On a graphics card where there is one; on
    processors, small models are copied into as many processes as there are cores.

    Args:
        bank: a bank with picture files.
        pictures: [N] bank ids.
        prompts: what is asked of each picture.
        grid: G granularities in [0, 1]; none for the features alone.
        model: ``"embedded"``, a local folder or a hub name.

    Raises:
        BankError: the bank has no pictures, or a file of them is missing.
        DSAError: the model cannot be loaded.
    """
    files = picture_files(bank, pictures)
    job = _Job(model, tuple(prompts), tuple(map(float, grid)))
    parts = [files[start : start + CHUNK] for start in range(0, len(files), CHUNK)]
    folder = _folder(bank, job, pictures)
    kept = {number: _read(folder, number) for number in range(len(parts))}
    missing = [number for number, chunk in kept.items() if chunk is None]
    if missing:
        each = len(job.prompts) * max(1, len(job.grid))
        done = sum(len(parts[number]) for number in kept.keys() - set(missing))
        with bar("Writing captions", len(files) * each, done * each) as shown:
            for number, chunk in _work(job, parts, missing):
                kept[number] = chunk
                _keep(folder, number, chunk)
                shown.advance(len(parts[number]) * each)
    chunks = [chunk for chunk in kept.values() if chunk is not None]
    return Written(
        [captions for chunk in chunks for captions in chunk.captions],
        chunks[0].text,
        np.concatenate([chunk.image for chunk in chunks]),
    )


def picture_files(bank: FeatureBank, pictures: NDArray[np.integer[Any]]) -> list[Path]:
    """The files of a bank's pictures.

    Raises:
        BankError: it has none, or one is missing.
    """
    files = []
    for picture in pictures:
        file = bank.image_path(int(picture))
        if file is None:
            raise BankError(
                "The bank does not say where its pictures lie, and captions are written about "
                "pictures; build it with dsa build, or give image_files= to from_arrays."
            )
        files.append(file)
    missing = next((file for file in files if not file.is_file()), None)
    if missing is not None:
        raise BankError(
            f"The picture {missing} is missing, and captions are written about pictures; put the "
            "pictures back where the bank was built from."
        )
    return files


def read_picture(file: Path) -> Image.Image:
    """A picture in RGB.

    Raises:
        BankError: it cannot be read.
    """
    try:
        with Image.open(file) as picture:
            return picture.convert("RGB")
    except OSError as error:
        raise BankError(f"The picture {file} cannot be read ({error}); put it back.") from None


@lru_cache(maxsize=1)
def load_captioner(model: str) -> Captioner:
    """A model where it runs best: on a graphics card in its own precision, else in float32."""
    import torch

    from dsa_env.captioning.captioner import Captioner

    if not torch.cuda.is_available():
        return Captioner.load(model, coarse=COARSE)
    return Captioner.load(model, device="cuda", dtype=own_dtype(model), coarse=COARSE)


@dataclass(frozen=True)
class _Job:
    """What all chunks share."""

    model: str
    prompts: tuple[str, ...]
    grid: tuple[float, ...]

    def chunk(self, files: Sequence[Path]) -> Written:
        """Look at some pictures and write about them."""
        captioner = load_captioner(self.model)
        pictures = [read_picture(file) for file in files]
        asked = [prompt for _ in pictures for prompt in self.prompts]
        told = [[""]] * len(asked)
        if self.grid:
            repeated = [picture for picture in pictures for _ in self.prompts]
            told = captioner.sweep(repeated, asked, self.grid)
        every = len(self.prompts)
        rows = [told[start : start + every] for start in range(0, len(told), every)]
        _, image = captioner.observe(pictures, [self.prompts[0]] * len(pictures))
        text, _ = captioner.observe(pictures[:1] * every, self.prompts)
        return Written(rows, text, image)


def _work(
    job: _Job, parts: Sequence[Sequence[Path]], missing: Sequence[int]
) -> Iterator[tuple[int, Written]]:
    """The missing chunks as they are done, each with its number."""
    workers = min(_copies(job.model), len(missing))
    if workers <= 1:
        for number in missing:
            yield number, job.chunk(parts[number])
        return
    with one_thread_each(), process_pool(workers, stay_quiet) as pool:
        futures = {pool.submit(job.chunk, parts[number]): number for number in missing}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        except BrokenProcessPool:
            raise DSAError(
                "A process that writes captions was killed, perhaps for want of memory; the same "
                "call goes on where it stopped."
            ) from None
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _copies(model: str) -> int:
    """How many processes have a copy of the model: one for each core if it is small."""
    import torch

    if torch.cuda.is_available() or model_bytes(model) > SMALL:
        return 1
    return os.cpu_count() or 1


def _folder(bank: FeatureBank, job: _Job, pictures: NDArray[np.integer[Any]]) -> Path | None:
    """Where the chunks lie; None for a bank in memory."""
    if bank.path is None:
        return None
    code = retrieval_cache.code_hash(SOURCES)
    asked = [job.prompts, job.grid, [int(picture) for picture in pictures]]
    parts = [bank.sha256, model_identity(job.model), COARSE, code, CHUNK, asked]
    name = hashlib.sha256(json.dumps(parts).encode()).hexdigest()
    return bank.path / retrieval_cache.FOLDER / f"captions-{name[:20]}"


def _read(folder: Path | None, number: int) -> Written | None:
    """A chunk that was kept; None where there is none, or a damaged one."""
    if folder is None or not (folder / f"{number:05d}.json").is_file():
        return None
    try:
        text, image = (
            np.load(folder / f"{number:05d}.{part}.npy", allow_pickle=False)
            for part in ("text", "image")
        )
        return Written(read_json(folder / f"{number:05d}.json"), text, image)
    except (OSError, ValueError):
        return None


def _keep(folder: Path | None, number: int, chunk: Written) -> None:
    """Keep a chunk, its captions last; quietly not where the folder cannot be written."""
    if folder is None:
        return
    with suppress(OSError):
        write_npy(folder / f"{number:05d}.text.npy", chunk.text)
        write_npy(folder / f"{number:05d}.image.npy", chunk.image)
        write_json(folder / f"{number:05d}.json", chunk.captions)
