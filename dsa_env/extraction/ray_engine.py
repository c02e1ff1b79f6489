"""Extraction by a Ray cluster: actors that hold the models, mapped over the parts."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dsa_env.extraction.models import Looked, load_models
from dsa_env.extraction.settings import BuildSettings


def extract_with_ray(
    parts: Sequence[Sequence[Path]], settings: BuildSettings, workers: int | None = None
) -> Iterator[Looked]:
    """What the models see in the pictures of each part, in order.

    Joins the cluster that RAY_ADDRESS names, else starts one on this machine for as long as the
    work takes. Every node must see the pictures, and the models' folders, at the same paths.

    Args:
        parts: picture files of each part.
        settings: from which the actors load their models.
        workers: actors; None takes a cluster's every CPU, or with an accelerator every GPU.
    """
    import ray

    if not parts:
        return
    with _cluster(workers):
        resources = ray.cluster_resources()  # type: ignore[no-untyped-call]
        gpu = settings.device.startswith("cuda")
        room = int(resources.get("GPU" if gpu else "CPU", 1))
        actors = max(1, min(workers or room, room, len(parts)))
        rows = [
            {"part": number, "files": [str(Path(file).absolute()) for file in files]}
            for number, files in enumerate(parts)
        ]
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        context.execution_options.preserve_order = True
        looked = ray.data.from_items(rows, override_num_blocks=len(rows)).map_batches(
            Looker,
            fn_constructor_args=(settings,),
            batch_size=1,
            concurrency=actors,
            num_gpus=1 if gpu else 0,
            num_cpus=1,
        )
        for number, row in enumerate(looked.iter_rows()):
            assert row["part"] == number
            yield row["looked"]


class Looker:
    """An actor's models; answers one part at a time."""

    def __init__(self, settings: BuildSettings) -> None:
        import torch

        torch.set_num_threads(1)
        self._models = load_models(settings)

    def __call__(self, rows: dict[str, Any]) -> dict[str, list[Any]]:
        """Looks at each part of a batch of parts."""
        looked = [self._models.look([Path(file) for file in files]) for files in rows["files"]]
        return {"part": list(rows["part"]), "looked": looked}


@contextmanager
def _cluster(workers: int | None) -> Iterator[None]:
    """Joins or starts a cluster; one that was started here ends with the work."""
    import ray

    if ray.is_initialized():
        yield
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is sent anywhere
    address = os.environ.get("RAY_ADDRESS")
    options: dict[str, Any] = {} if address else {"num_cpus": workers or os.cpu_count() or 1}
    ray.init(
        address=address or "local",
        include_dashboard=False if not address else None,
        log_to_driver=False,
        logging_level=logging.ERROR,
        **options,
    )
    try:
        yield
    finally:
        ray.shutdown()
