"""A Ray cluster of two workers sees what one process sees, also when a worker is killed."""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from dsa_env.build import build_bank
from dsa_env.datasets import Caption, Dataset, Picture, Problems
from dsa_env.datasets.clevr import write_world
from dsa_env.encoders.protocol import Views
from dsa_env.extraction import BuildSettings, Looked, extract, load_models
from dsa_env.extraction.ray_engine import QUIET

ray = pytest.importorskip("ray", reason="needs the extra 'ray'")

pytestmark = [
    pytest.mark.slow,
    # ray.data sets its own deprecated settings
    pytest.mark.filterwarnings("ignore:.* is deprecated.*:DeprecationWarning:ray.data.context"),
]

SETTINGS = BuildSettings(batch=5)


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    ray.init(
        address="local",
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
    )
    yield
    ray.shutdown()


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> list[list[Path]]:
    root = tmp_path_factory.mktemp("world")
    write_world(root, "train", 10, workers=1)
    files = sorted((root / "images" / "train").iterdir())
    files[3].write_bytes(files[3].read_bytes()[:100])
    return [files[:5], files[5:]] * 20


def workers() -> list[int]:
    """The processes of the actors of this process's cluster."""
    found = []
    for folder in Path("/proc").iterdir():
        try:
            command = (folder / "cmdline").read_bytes()
            if command.startswith(b"ray::MapWorker") and os.getpid() in ancestors(folder.name):
                found.append(int(folder.name))
        except OSError:
            continue
    return found


def ancestors(process: str) -> list[int]:
    line = []
    while process not in ("0", "1"):
        status = Path(f"/proc/{process}/stat").read_text()
        process = status.rsplit(")", 1)[1].split()[1]
        line.append(int(process))
    return line


def test_two_workers_one_killed_see_what_one_process_sees(
    cluster: None, parts: list[list[Path]]
) -> None:
    models = load_models(SETTINGS)
    alone = [models.look(part) for part in parts[:2]] * 20
    looks = extract(parts, SETTINGS, models, engine="ray", workers=2)
    looked: list[Looked] = [next(looks)]
    victims = workers()
    assert len(victims) == 2
    os.kill(victims[0], signal.SIGKILL)
    looked += looks
    assert len(looked) == len(alone)
    for one, other in zip(looked, alone, strict=True):
        assert one.bad == other.bad
        for field in fields(Views):
            np.testing.assert_array_equal(
                getattr(one.views, field.name), getattr(other.views, field.name)
            )
    deadline = time.monotonic() + 10
    while victims[0] in workers():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_the_bank_is_the_same_bank(cluster: None, parts: list[list[Path]], tmp_path: Path) -> None:
    files = [file for part in parts[:2] for file in part]
    pictures = [Picture(file, (Caption(f"picture {n}"),)) for n, file in enumerate(files)]

    def built(engine: str) -> str:
        dataset = Dataset("world", files[0].parent, {"train": pictures}, {}, Problems("skip"))
        bank = build_bank(dataset, tmp_path / engine, SETTINGS, workers=1, engine=engine)
        assert dataset.problems.counts == {"broken image": 1}
        return bank.sha256

    assert built("ray") == built("local")
