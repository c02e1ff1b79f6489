"""Which processes do the work: this machine's, or a Ray cluster's."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from dsa_env.errors import DSAError, unknown
from dsa_env.extraction.models import Looked, Models
from dsa_env.extraction.settings import BuildSettings

ENGINES = ("local", "ray")


def check_engine(engine: str) -> None:
    """Refuses an engine that does not exist or that is not installed, before any work.

    Raises:
        DSAError: naming the nearest engine, or the extra to install.
    """
    if engine not in ENGINES:
        raise unknown("engine", engine, ENGINES)
    if engine == "ray":
        try:
            importlib.import_module("ray.data")
        except ImportError as error:
            raise DSAError(
                f"--engine ray needs Ray, which cannot be imported ({error}); install it with: "
                "pip install 'dsa-env[ray]'"
            ) from error


def extract(
    parts: Sequence[Sequence[Path]],
    settings: BuildSettings,
    models: Models,
    *,
    engine: str = "local",
    workers: int | None = None,
) -> Iterator[Looked]:
    """What the models see in the pictures of each part, in order; same numbers by any engine.

    Args:
        parts: picture files, `settings.batch` to a part.
        settings: what `models` were loaded from; other processes load them from it too.
        models: the models of this process.
        engine: one of `ENGINES`.
        workers: processes; None takes every core.

    Raises:
        DSAError: for an unknown engine, or work at which workers die again and again.
    """
    check_engine(engine)
    if engine == "ray":
        from dsa_env.extraction.ray_engine import extract_with_ray

        return extract_with_ray(parts, settings, workers)
    from dsa_env.extraction.local import extract_locally

    return extract_locally(parts, settings, models, workers)
