"""How fast pictures become features, beside the bare models; and in how much memory.

    python benchmarks/extraction.py [--pictures N] [--rounds N] [--batch N] [--workers N]
    python benchmarks/extraction.py --memory 1000 5000 10000

Speed: the forward passes of the embedded detector and encoder alone, on inputs that lie ready in
memory, beside the extraction of the same pictures from their files (read, decoded, resized, cut,
looked at, handed over). Both have the same batch size, dtype and number of processes, and hand
their parts out in the same way. Rounds are interleaved; medians are compared. Memory: the peak
resident memory of a build by the number of small JPEG files, each in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from PIL import Image

from dsa_env.datasets import Caption, Dataset, Picture
from dsa_env.datasets.clevr import write_world
from dsa_env.extraction import BuildSettings, load_models
from dsa_env.extraction.crew import Crew, Talk
from dsa_env.extraction.decode import Cut, Open
from dsa_env.extraction.local import make_looker

BAR = 0.6
"""Least share of the bare models' rate."""


class Bare:
    """A worker's answerer: forward passes alone, on inputs made before the clock runs.

    Args:
        settings: which models, in which dtype.
        parts: the picture files of each part.
    """

    def __init__(self, settings: BuildSettings, parts: Sequence[Sequence[Path]]) -> None:
        import torch

        torch.set_num_threads(1)
        models = load_models(settings)
        assert models.detector is not None
        self._detector: Any = models.detector
        self._encoder: Any = models.encoder
        self._inputs = []
        decoder = models.decoder()
        for files in parts:
            opened = decoder(0, Open(files))
            cut = decoder(0, Cut(self._detector.detect(opened.prepared)))
            pictures = [np.asarray(one["pixels"]) for one in cut.prepared]
            pixels = np.concatenate([some[:1] for some in pictures] + [p[1:] for p in pictures])
            values = torch.from_numpy(self._encoder.preprocess.normalize(pixels))
            self._inputs.append((self._detector._stack(opened.prepared), values))

    def __call__(self, _: int, part: int) -> None:
        """Runs the models on one part."""
        import torch

        inputs, values = self._inputs[part]
        with torch.inference_mode():
            self._detector._model(**inputs)
            for block in values.split(256):
                self._encoder._model.get_image_features(pixel_values=block)


def ask(request: Any) -> Talk[Any]:
    """A conversation of one question."""
    answer = yield request
    return answer


def seconds(crew: Crew[Any], requests: Sequence[Any]) -> float:
    """How long a crew takes for all requests."""
    started = time.perf_counter()
    for _ in crew.results(partial(ask, request) for request in requests):
        pass
    return time.perf_counter() - started


def speed(folder: Path, pictures: int, rounds: int, batch: int, workers: int) -> dict[str, Any]:
    """Pictures a second of the bare models and of the extraction, and their ratio."""
    write_world(folder, "train", pictures, workers=workers)
    files = sorted((folder / "images" / "train").iterdir())
    parts = [files[start : start + batch] for start in range(0, len(files), batch)]
    settings = BuildSettings(batch=batch)
    bare: list[float] = []
    whole: list[float] = []
    with (
        Crew[Any](workers, Bare, settings, parts) as models,
        Crew[Any](workers, make_looker, settings) as extraction,
    ):
        for _ in range(rounds + 1):
            bare.append(seconds(models, range(len(parts))))
            whole.append(seconds(extraction, parts))
    del bare[0], whole[0]  # they waited for the models to be loaded
    ratios = sorted(one / other for one, other in zip(bare, whole, strict=True))
    return {
        "pictures": pictures,
        "batch": batch,
        "dtype": settings.dtype,
        "processes": workers,
        "rounds": rounds,
        "bare models, pictures/s": round(pictures / median(bare), 1),
        "extraction, pictures/s": round(pictures / median(whole), 1),
        "extraction / bare": round(median(bare) / median(whole), 3),
        "lowest and highest round": [round(ratios[0], 3), round(ratios[-1], 3)],
        "bar": BAR,
    }


def memory(folder: Path, counts: Sequence[int]) -> list[dict[str, Any]]:
    """Peak resident memory of builds of so many pictures."""
    rng = np.random.default_rng(0)
    for number in range(max(counts)):
        pixels = rng.integers(0, 256, (4, 6, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((96, 64)).save(folder / f"{number:06d}.jpg")
    rows = []
    for count in counts:
        words = [sys.executable, __file__, "--one-build", str(folder), str(count)]
        done = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True)
        rows.append({"pictures": count, **json.loads(done.stdout)})
    return rows


def one_build(folder: Path, count: int) -> dict[str, Any]:
    """Builds one bank in this process; what it took."""
    import resource

    import torch

    from dsa_env.build import build_bank

    torch.set_num_threads(1)
    files = [folder / f"{number:06d}.jpg" for number in range(count)]
    pictures = [Picture(file, (Caption(f"picture {n}"),)) for n, file in enumerate(files)]
    out = folder.parent / f"bank-{count}"
    started = time.perf_counter()
    build_bank(Dataset("noise", folder, {"train": pictures}), out, workers=1)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    size = sum(file.stat().st_size for file in out.iterdir())
    return {
        "peak memory, MB": round(peak / 1e6),
        "bank, MB": round(size / 1e6),
        "seconds": round(time.perf_counter() - started, 1),
    }


def markdown(rows: Sequence[dict[str, Any]]) -> str:
    """Rows as a Markdown table."""
    lines = [list(rows[0]), ["---"] * len(rows[0]), *(map(str, row.values()) for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> None:
    """Measures what was asked for and prints it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--pictures", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--memory", type=int, nargs="+", help="pictures of each build")
    parser.add_argument("--json", action="store_true", help="print JSON instead of Markdown")
    parser.add_argument(
        "--one-build", nargs=2, metavar=("FOLDER", "PICTURES"), help=argparse.SUPPRESS
    )
    given = parser.parse_args()
    if given.one_build:
        print(json.dumps(one_build(Path(given.one_build[0]), int(given.one_build[1]))))
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "pictures"
        folder.mkdir()
        if given.memory:
            rows = memory(folder, given.memory)
        else:
            rows = [speed(folder, given.pictures, given.rounds, given.batch, given.workers)]
    print(json.dumps(rows, indent=2) if given.json else markdown(rows))


if __name__ == "__main__":
    main()
