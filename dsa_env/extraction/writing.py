"""Writing what the models see into a bank, shard by shard."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from dsa_env.bank.writer import BankWriter
from dsa_env.datasets import Dataset, Picture
from dsa_env.extraction.engines import extract
from dsa_env.extraction.models import Looked, Models
from dsa_env.extraction.settings import BuildSettings
from dsa_env.progress import bar

if TYPE_CHECKING:
    from dsa_env.encoders.protocol import FrozenEncoder

SHARD = 128  # pictures that are written together: what a killed build loses at most
TEXTS = 4096  # texts that are written together


def write_texts(writer: BankWriter, texts: Sequence[str], encoder: FrozenEncoder) -> float | None:
    """Writes the text features; returns milliseconds a text, None where all were there."""
    first, seconds = writer.done("text_features"), 0.0
    with bar("encoding captions", len(texts), first) as progress:
        for start in range(first, len(texts), TEXTS):
            started = time.perf_counter()
            rows = encoder.text(texts[start : start + TEXTS])
            seconds += time.perf_counter() - started
            writer.write("text_features", start, rows)
            progress.advance(len(rows))
    return round(1000 * seconds / (len(texts) - first), 3) if first < len(texts) else None


def write_views(
    writer: BankWriter,
    dataset: Dataset,
    pictures: Sequence[Picture],
    settings: BuildSettings,
    models: Models,
    engine: str,
    workers: int | None,
) -> dict[str, float | None]:
    """Writes the picture features shard by shard; returns milliseconds a picture.

    The writer's note says how many pictures were looked at and which of them are bad; the rows of
    the others follow each other without gaps.
    """
    note = writer.note or {"looked": 0, "bad": [], "arrays": []}
    for index, kind, detail in note["bad"]:
        dataset.problems.report(kind, pictures[index].file, detail)
    first, looked_at = note["looked"], note["looked"]
    files = [picture.file for picture in pictures]
    parts = [files[n : n + settings.batch] for n in range(first, len(files), settings.batch)]
    seconds = np.zeros(2)
    with bar("encoding pictures", len(files), first) as progress:
        shard: list[Looked] = []
        looks = extract(parts, settings, models, engine=engine, workers=workers)
        for part, looked in zip(parts, looks, strict=True):
            for one in looked.bad:
                index = looked_at + one.index
                dataset.problems.report(one.kind, files[index], one.detail)
                note["bad"].append([index, one.kind, one.detail])
            looked_at += len(part)
            seconds += looked.seconds
            shard.append(looked)
            progress.advance(len(part))
            if sum(len(some.views.coarse) for some in shard) >= SHARD or looked_at == len(files):
                rows = _rows(shard)
                note |= {"looked": looked_at, "arrays": list(rows)}
                writer.write_rows(writer.done("image_coarse"), rows, note)
                shard = []
    if looked_at == first:
        return {"detector": None, "image_encoder": None}
    each = 1000 * seconds / (looked_at - first)
    return {"detector": round(each[0], 3), "image_encoder": round(each[1], 3)}


def _rows(shard: Sequence[Looked]) -> dict[str, Any]:
    """The rows that some parts add to the bank's arrays."""
    views = [looked.views for looked in shard]
    return {
        "image_coarse": np.concatenate([one.coarse for one in views]),
        "image_regions": np.concatenate([one.regions for one in views]),
        "region_boxes": np.concatenate([one.boxes for one in views]),
        "region_counts": np.concatenate([one.counts for one in views]),
    }
