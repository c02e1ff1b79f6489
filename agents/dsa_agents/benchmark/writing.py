"""Captions of all queries, in parts on disk: an interrupted benchmark goes on where it stopped."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dsa_agents.benchmark.controllers import beside
from dsa_agents.benchmark.data import Queries
from dsa_env.controller import GranularityController
from dsa_env.errors import DSAError
from dsa_env.files import read_json, write_json
from dsa_env.progress import bar

if TYPE_CHECKING:
    from dsa_env.captioning.captioner import Captioner

PART = 256
"""Captions in one file."""


@dataclass(frozen=True, eq=False)
class Written:
    """What a model wrote.

    Attributes:
        captions: Q of them.
        granularity: [Q] float32, the g that wrote each; 1 where nothing was attached.
    """

    captions: list[str]
    granularity: NDArray[np.float32]


def write_captions(
    captioner: Captioner,
    queries: Queries,
    granularity: float | GranularityController | None,
    folder: Path,
    *,
    batch: int,
    max_new_tokens: int,
    title: str,
    progress: bool = True,
) -> Written:
    """Caption every query, or read what an earlier call with the same settings wrote.

    Args:
        captioner: the model.
        queries: what it is asked.
        granularity: g for all, a controller that is attached, or None for the native model.
        folder: where the parts are kept.
        batch: captions that are written at once.
        max_new_tokens: where a caption ends at the latest.
        title: of the progress bar.
        progress: show it, on standard error.
    """
    key = {
        "model": captioner.identity,
        "granularity": _named(granularity),
        "batch": batch,
        "max_new_tokens": max_new_tokens,
    }
    captions: list[str] = []
    chosen: list[float] = []
    starts = range(0, len(queries), PART)
    kept = [_kept(folder, start, key, queries) for start in starts]
    done = sum(len(part["captions"]) for part in kept if part is not None)
    shows = progress and done < len(queries)
    with bar(title, len(queries), done) if shows else nullcontext() as shown:
        for start, part in zip(starts, kept, strict=True):
            if part is None:
                rows = list(range(start, min(start + PART, len(queries))))
                part = _write(captioner, queries, rows, granularity, batch, max_new_tokens)
                content = {"key": key, "of": _digest(queries, rows), **part}
                write_json(folder / f"{start:07d}.json", content)
                if shown is not None:
                    shown.advance(len(rows))
            captions += part["captions"]
            chosen += part["granularity"]
    return Written(captions, np.array(chosen, dtype=np.float32))


def _write(
    captioner: Captioner,
    queries: Queries,
    rows: list[int],
    granularity: float | GranularityController | None,
    batch: int,
    max_new_tokens: int,
) -> dict[str, Any]:
    """The captions of some queries, and the g of each."""
    pictures, prompts = queries.pictures(rows), [queries.prompts[row] for row in rows]
    given: Any = granularity
    if isinstance(granularity, GranularityController):
        given = beside(granularity, captioner.model)
    told = captioner.captions(pictures, prompts, given, batch=batch, max_new_tokens=max_new_tokens)
    if isinstance(granularity, GranularityController):
        text, image = captioner.observe(pictures, prompts, batch=batch)
        seen = {"text": text, "image": image}
        g = granularity.predict({name: seen[name] for name in granularity.inputs})
    else:
        g = np.full(len(rows), 1.0 if granularity is None else granularity, dtype=np.float32)
    return {"captions": told, "granularity": [float(value) for value in g]}


def _kept(
    folder: Path, start: int, key: Mapping[str, Any], queries: Queries
) -> dict[str, Any] | None:
    """A part that was written before for the same queries with the same settings."""
    file = folder / f"{start:07d}.json"
    rows = list(range(start, min(start + PART, len(queries))))
    if not file.is_file():
        return None
    try:
        found: dict[str, Any] = read_json(file)
    except DSAError:
        return None
    same = found.get("key") == key and found.get("of") == _digest(queries, rows)
    return found if same and len(found["captions"]) == len(rows) else None


def _digest(queries: Queries, rows: list[int]) -> str:
    """A hash of which pictures and prompts these are."""
    asked = [[str(queries.files[row]), queries.prompts[row]] for row in rows]
    return hashlib.sha256(json.dumps(asked).encode()).hexdigest()


def _named(granularity: float | GranularityController | None) -> str:
    """What chooses g, by a name that changes with it."""
    if not isinstance(granularity, GranularityController):
        return str(granularity)
    digest = hashlib.sha256()
    for name, value in sorted(granularity.state_dict().items()):
        digest.update(name.encode() + value.detach().cpu().numpy().tobytes())
    return digest.hexdigest()
