"""Extraction by the processes of one machine."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from dsa_env.extraction.crew import Crew, Talk
from dsa_env.extraction.models import Looked, Models, load_models, make_decoder
from dsa_env.extraction.settings import BuildSettings

WORTH = 128
"""Pictures that are worth another process."""
SMALL = 64 * 2**20
"""Bytes of weights of models that several threads make no faster."""
SHARE = 0.25
"""Of the machine's memory that copies of the models may take."""


def extract_locally(
    parts: Sequence[Sequence[Path]],
    settings: BuildSettings,
    models: Models,
    workers: int | None = None,
    *,
    copies: bool | None = None,
) -> Iterator[Looked]:
    """What the models see in the pictures of each part, in order.

    On an accelerator, or with large models, workers read and prepare pictures while this process
    runs the models. Small models on the CPU are copied into every worker, one thread each: several
    threads of one small model wait for each other more than they work.

    Args:
        parts: picture files of each part.
        settings: what `models` were loaded from.
        models: the models of this process.
        workers: processes; None takes every core, fewer where there is little to do.
        copies: whether each worker has models of its own; None decides.
    """
    pictures = sum(map(len, parts))
    most = max(1, -(-pictures // WORTH)) if workers is None else len(parts)
    workers = max(1, min(workers or os.cpu_count() or 1, most))
    on_cpu = settings.device == "cpu"
    if not parts or (on_cpu and workers == 1 and copies is None):
        with _threads(1 if models.bytes <= SMALL else None):
            yield from map(models.look, parts)
        return
    if copies is None:
        copies = on_cpu and models.bytes * workers <= SHARE * _memory()
    talk = _ask if copies else models.converse
    make, arguments = (make_looker, (settings,)) if copies else (make_decoder, models.preparers)
    with Crew[Looked](workers, make, *arguments) as crew:
        yield from crew.results(partial(talk, files) for files in parts)


def make_looker(settings: BuildSettings) -> Any:
    """A worker's answerer with models of its own."""
    import torch

    torch.set_num_threads(1)  # as many processes as cores: threads would fight
    models = load_models(settings)

    def answer(_: int, files: Sequence[Path]) -> Looked:
        return models.look(files)

    return answer


def _ask(files: Sequence[Path]) -> Talk[Looked]:
    looked: Looked = yield files
    return looked


@contextmanager
def _threads(count: int | None) -> Iterator[None]:
    """As many torch threads while the body runs; None leaves them as they are."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _memory() -> int:
    """The machine's memory in bytes."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
