"""Building a bank from pictures on disk with models on disk."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from dsa_env.build import BuildSettings, build_bank
from dsa_env.datasets import Dataset, Picture
from dsa_env.datasets.clevr import read_dataset, write_world
from dsa_env.errors import DSAError

COUNTS = {"train": 20, "validation": 6, "test": 6}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("build")
    for split, count in COUNTS.items():
        write_world(root / "world", split, count, captions=3, workers=1)
    from dsa_env.pretrain import detector, encoder

    torch.manual_seed(0)
    (root / "encoder").mkdir()
    words = ["a small large red cube sphere on in with and left of"]
    encoder.build_tokenizer(words).save_pretrained(root / "encoder")
    encoder.build_model(32).save_pretrained(root / "encoder")
    encoder.build_processor().save_pretrained(root / "encoder")
    detector.build_detector().save_pretrained(root / "detector")
    detector.build_processor().save_pretrained(root / "detector")
    return root


def _settings(world: Path, **changes: object) -> BuildSettings:
    values = {"threshold": 0.0, "regions": 4, "gallery_size": 8} | changes
    return BuildSettings(str(world / "encoder"), str(world / "detector"), **values)  # type: ignore[arg-type]


def test_a_bank_holds_what_the_dataset_says(world: Path, tmp_path: Path) -> None:
    dataset = read_dataset(world / "world")
    bank = build_bank(dataset, tmp_path / "bank", _settings(world), workers=1, command="me")
    bank.verify()
    assert {split: len(bank.split_images(split)) for split in COUNTS} == COUNTS
    assert bank.n_texts == 3 * bank.n_images
    assert bank.fine == "attended"
    assert [len(gallery) for gallery in bank.galleries("train")] == [8, 8, 4]
    assert bank.region_counts is not None
    assert bank.region_counts.max() == 4
    assert bank.manifest["provenance"]["command"] == "me"
    assert bank.manifest["provenance"]["encoder"]["class"] == "CLIPModel"
    assert bank.image_path(0) is not None
    assert bank.image_path(0).exists()  # type: ignore[union-attr]


def test_every_asserted_fact_holds_of_the_own_picture(world: Path, tmp_path: Path) -> None:
    bank = build_bank(read_dataset(world / "world"), tmp_path / "bank", _settings(world), workers=1)
    assert bank.text_facts is not None
    assert bank.image_facts is not None
    for text in range(bank.n_texts):
        own = bank.positives.row(text)[0]
        assert set(bank.text_facts.row(text)) <= set(bank.image_facts.row(own))


def test_two_workers_build_the_same_bank(world: Path, tmp_path: Path) -> None:
    dataset = read_dataset(world / "world")
    one = build_bank(dataset, tmp_path / "one", _settings(world), workers=1)
    two = build_bank(dataset, tmp_path / "two", _settings(world, batch=10), workers=2)
    assert one.sha256 == two.sha256


def test_a_killed_build_goes_on(world: Path, tmp_path: Path) -> None:
    script = f"""
        import dsa_env.build as b
        from pathlib import Path
        import time, torch
        torch.set_num_threads(1)
        from dsa_env.extraction import Models, writing
        writing.SHARD = 4
        look = Models.look
        def slow(*arguments):
            time.sleep(0.3)
            return look(*arguments)
        Models.look = slow
        from dsa_env.datasets.clevr import read_dataset
        world = Path({str(world)!r})
        settings = b.BuildSettings(str(world / "encoder"), str(world / "detector"),
                                   threshold=0.0, regions=4, gallery_size=8, batch=4)
        b.build_bank(read_dataset(world / "world"), Path({str(tmp_path)!r}) / "bank", settings,
                     workers=1)
    """
    process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(script)])
    progress = tmp_path / "bank.partial" / "progress.json"
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        if progress.exists() and '"region_counts": 8' in progress.read_text():
            break
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert progress.exists()
    assert not (tmp_path / "bank").exists()
    dataset = read_dataset(world / "world")
    resumed = build_bank(dataset, tmp_path / "bank", _settings(world, batch=4), workers=1)
    whole = build_bank(dataset, tmp_path / "whole", _settings(world), workers=1)
    np.testing.assert_allclose(resumed.image_coarse, whole.image_coarse, atol=1e-5)
    np.testing.assert_allclose(resumed.image_regions, whole.image_regions, atol=1e-5)


def test_an_unfinished_build_with_other_settings_is_not_mixed_in(
    world: Path, tmp_path: Path
) -> None:
    dataset = read_dataset(world / "world")
    broken = Dataset(
        dataset.name,
        dataset.root,
        {"train": [*dataset.splits["train"], Picture(tmp_path / "no.png", ())]},
        dataset.provenance,
    )
    with pytest.raises(DSAError, match=r"missing image: .*no\.png"):
        build_bank(broken, tmp_path / "bank", _settings(world), workers=1)
    with pytest.raises(DSAError, match="another configuration"):
        build_bank(dataset, tmp_path / "bank", _settings(world, fine="mean"), workers=1)
    bank = build_bank(
        dataset, tmp_path / "bank", _settings(world, fine="mean"), workers=1, restart=True
    )
    assert bank.fine == "mean"


def test_a_dataset_without_captions_is_refused(world: Path, tmp_path: Path) -> None:
    dataset = read_dataset(world / "world")
    silent = Dataset("silent", dataset.root, {"train": [Picture(tmp_path / "a.png", ())]})
    with pytest.raises(DSAError, match="no captions"):
        build_bank(silent, tmp_path / "bank", _settings(world))
