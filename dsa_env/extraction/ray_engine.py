"""Extraction by a Ray cluster: actors that hold the models, mapped over the parts."""

from __future__ import annotations

import io
import json
import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np

from dsa_env.encoders.protocol import Views
from dsa_env.extraction.decode import Bad
from dsa_env.extraction.models import Looked, load_models
from dsa_env.extraction.settings import BuildSettings

QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",  # nothing is sent anywhere
    "RAY_BACKEND_LOG_LEVEL": "fatal",
    "RAY_worker_niceness": "0",  # Ray's own 15 starves beside any other work
}
"""The environment of a cluster that is started here."""


def extract_with_ray(
    parts: Sequence[Sequence[Path]], settings: BuildSettings, workers: int | None = None
) -> Iterator[Looked]:
    """What the models see in the pictures of each part, in order.

    Joins the cluster that RAY_ADDRESS names, else starts one on this machine for as long as the
    work takes. Every node must see the pictures and the models' folders at the same paths. An
    actor that dies is replaced, and its part done again.

    Args:
        parts: picture files of each part.
        settings: from which the actors load their models.
        workers: actors; None takes a cluster's every CPU, or with an accelerator every GPU.
    """
    if not parts:
        return
    with _cluster(workers):
        import ray

        resources = ray.cluster_resources()  # type: ignore[no-untyped-call]
        gpu = settings.device.startswith("cuda")
        room = int(resources.get("GPU" if gpu else "CPU", 1))
        rows = [
            {"part": number, "files": [str(Path(file).absolute()) for file in files]}
            for number, files in enumerate(parts)
        ]
        looked = ray.data.from_items(rows, override_num_blocks=len(rows)).map_batches(
            Looker,
            fn_constructor_kwargs={"settings": asdict(settings)},
            batch_size=1,
            compute=ray.data.ActorPoolStrategy(size=max(1, min(workers or room, room, len(parts)))),
            num_gpus=1 if gpu else 0,
            num_cpus=1,
        )
        for number, row in enumerate(looked.iter_rows()):
            assert row["part"] == number
            yield _from_bytes(row["looked"])


class Looker:
    """An actor's models; looks at the parts that come its way.

    Args:
        settings: the fields of `BuildSettings`.
    """

    def __init__(self, settings: dict[str, Any]) -> None:
        import torch

        torch.set_num_threads(1)  # as many actors as cores: threads would fight
        self._models = load_models(BuildSettings(**settings))

    def __call__(self, rows: dict[str, Any]) -> dict[str, list[Any]]:
        """Looks at each part of a batch of parts."""
        looked = [self._models.look([Path(file) for file in files]) for files in rows["files"]]
        return {"part": list(rows["part"]), "looked": [_to_bytes(one) for one in looked]}


def _to_bytes(looked: Looked) -> bytes:
    """A part's result as one npz document, which travels between nodes as it is."""
    stream = io.BytesIO()
    bad = json.dumps([asdict(one) for one in looked.bad])
    np.savez(stream, **vars(looked.views), seconds=looked.seconds, bad=bad)
    return stream.getvalue()


def _from_bytes(document: bytes) -> Looked:
    with np.load(io.BytesIO(document), allow_pickle=False) as arrays:
        views = Views(**{field.name: arrays[field.name] for field in fields(Views)})
        bad = tuple(Bad(**one) for one in json.loads(str(arrays["bad"])))
        detector, encoder = arrays["seconds"].tolist()
    return Looked(views, bad, (detector, encoder))


@contextmanager
def _cluster(workers: int | None) -> Iterator[None]:
    """Joins or starts a cluster, in silence; leaves it, or ends it, with the work."""
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    import ray

    logger = logging.getLogger("ray.data")
    level = logger.level
    address = os.environ.get("RAY_ADDRESS")
    joined = ray.is_initialized()
    if not joined:
        alone: dict[str, Any] = {"num_cpus": workers or os.cpu_count(), "include_dashboard": False}
        ray.init(
            address=address or "local",
            log_to_driver=False,
            logging_level=logging.ERROR,
            **({} if address else alone),
        )
    context = ray.data.DataContext.get_current()
    before = context.enable_progress_bars, context.execution_options.preserve_order
    context.enable_progress_bars, context.execution_options.preserve_order = False, True
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
        context.enable_progress_bars, context.execution_options.preserve_order = before
        if not joined:
            ray.shutdown()
