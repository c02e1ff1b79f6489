"""A Ray cluster of two workers sees what one process sees, also when one of them is killed."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

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
def nodes() -> Iterator[tuple[Any, Any]]:
    """A cluster of two nodes with one worker each, joined by its address; its second node."""
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patched:
        for name, value in QUIET.items():
            patched.setenv(name, value)
        cluster = Cluster(
            initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False}
        )
        second = cluster.add_node(num_cpus=1)
        patched.setenv("RAY_ADDRESS", cluster.address)
        yield cluster, second
        cluster.shutdown()


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


def same(some: list[Looked], others: list[Looked]) -> None:
    assert len(some) == len(others)
    for one, other in zip(some, others, strict=True):
        assert one.bad == other.bad
        for field in fields(Views):
            np.testing.assert_array_equal(
                getattr(one.views, field.name), getattr(other.views, field.name)
            )


def test_the_bank_is_the_same_bank(
    nodes: tuple[Any, Any], parts: list[list[Path]], tmp_path: Path
) -> None:
    files = [file for part in parts[:2] for file in part]
    pictures = [Picture(file, (Caption(f"picture {n}"),)) for n, file in enumerate(files)]

    def built(engine: str) -> str:
        dataset = Dataset("world", files[0].parent, {"train": pictures}, {}, Problems("skip"))
        bank = build_bank(dataset, tmp_path / engine, SETTINGS, workers=1, engine=engine)
        assert dataset.problems.counts == {"broken image": 1}
        return bank.sha256

    assert built("ray") == built("local")


def test_a_killed_worker_and_a_killed_node_cost_their_parts_only(
    nodes: tuple[Any, Any], parts: list[list[Path]]
) -> None:
    models = load_models(SETTINGS)
    alone = [models.look(part) for part in parts[:2]] * 20
    looks = extract(parts, SETTINGS, models, engine="ray", workers=2)
    looked: list[Looked] = [next(looks)]
    victims = workers()
    assert len(victims) == 2
    os.kill(victims[0], signal.SIGKILL)
    looked += looks
    same(looked, alone)

    cluster, second = nodes
    looks = extract(parts, SETTINGS, models, engine="ray", workers=2)
    looked = [next(looks)]
    cluster.remove_node(second, allow_graceful=False)
    looked += looks
    same(looked, alone)
