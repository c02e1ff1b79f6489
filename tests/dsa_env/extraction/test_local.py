"""One process, copies of the models, or decode workers: the same numbers, whoever dies."""

from __future__ import annotations

import os
import signal
import threading
import time
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dsa_env.datasets.clevr import write_world
from dsa_env.encoders.protocol import Views
from dsa_env.extraction import BuildSettings, Looked, Models, load_models
from dsa_env.extraction.crew import Crew
from dsa_env.extraction.local import extract_locally

SETTINGS = BuildSettings(threshold=0.3, batch=5)


@pytest.fixture(scope="module")
def models() -> Models:
    return load_models(SETTINGS)


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> list[list[Path]]:
    """Four parts of five pictures, of two sizes, one of them broken."""
    root = tmp_path_factory.mktemp("world")
    write_world(root, "train", 19, workers=1)
    files = sorted((root / "images" / "train").iterdir())
    with Image.open(files[2]) as image:
        image.resize((200, 150)).save(files[2])
    broken = root / "broken.png"
    broken.write_bytes(files[0].read_bytes()[:100])
    files.insert(7, broken)
    return [files[start : start + 5] for start in range(0, 20, 5)]


@pytest.fixture(scope="module")
def alone(parts: list[list[Path]], models: Models) -> list[Looked]:
    return list(extract_locally(parts, SETTINGS, models, 1))


def same(some: list[Looked], others: list[Looked]) -> None:
    assert len(some) == len(others)
    for one, other in zip(some, others, strict=True):
        assert one.bad == other.bad
        for field in fields(Views):
            np.testing.assert_array_equal(
                getattr(one.views, field.name), getattr(other.views, field.name)
            )


def test_a_bad_picture_leaves_the_others_of_its_part(alone: list[Looked]) -> None:
    assert [len(looked.views.coarse) for looked in alone] == [5, 4, 5, 5]
    assert [[bad.index for bad in looked.bad] for looked in alone] == [[], [2], [], []]
    assert max(int(looked.views.counts.max()) for looked in alone) > 1


def test_batches_do_not_change_the_numbers(
    parts: list[list[Path]], models: Models, alone: list[Looked]
) -> None:
    together = models.look([file for part in parts for file in part])
    for field in fields(Views):
        apart = np.concatenate([getattr(looked.views, field.name) for looked in alone])
        loose = 1e-3 if field.name == "regions" else 1e-5  # a box moves a crop by part of a pixel
        np.testing.assert_allclose(getattr(together.views, field.name), apart, atol=loose)


@pytest.mark.parametrize("copies", [True, False])
def test_workers_see_what_one_process_sees(
    parts: list[list[Path]], models: Models, alone: list[Looked], copies: bool
) -> None:
    same(list(extract_locally(parts, SETTINGS, models, 2, copies=copies)), alone)


@pytest.mark.parametrize("copies", [True, False])
def test_a_killed_worker_costs_its_parts_only(
    parts: list[list[Path]],
    models: Models,
    alone: list[Looked],
    copies: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    crews: list[Crew[Looked]] = []
    enter = Crew.__enter__
    monkeypatch.setattr(Crew, "__enter__", lambda crew: crews.append(crew) or enter(crew))

    def kill_the_first() -> None:
        while not crews:
            time.sleep(0.001)
        os.kill(crews[0].processes[0], signal.SIGKILL)

    killer = threading.Thread(target=kill_the_first)
    killer.start()
    looked = list(extract_locally(parts, SETTINGS, models, 1, copies=copies))
    killer.join()
    assert crews[0].replaced == 1
    same(looked, alone)
