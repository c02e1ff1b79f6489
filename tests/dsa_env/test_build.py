"""Building a bank from pictures on disk with models on disk."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from dsa_env.bank.writer import BankWriter
from dsa_env.build import BuildSettings, build_bank
from dsa_env.datasets import Caption, Dataset, Picture, Problems
from dsa_env.datasets.clevr import read_dataset, write_world
from dsa_env.datasets.problems import OnBad
from dsa_env.errors import DSAError
from dsa_env.hallucination.pope_sampling import QuestionSampler

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


def _damaged(world: Path, tmp_path: Path, on_bad: OnBad) -> Dataset:
    """The world with one picture cut off and one that is not there."""
    dataset = read_dataset(world / "world")
    splits = {name: list(pictures) for name, pictures in dataset.splits.items()}
    cut = tmp_path / "cut.png"
    cut.write_bytes(splits["train"][3].file.read_bytes()[:80])
    splits["train"][3] = replace(splits["train"][3], file=cut)
    splits["test"][1] = replace(splits["test"][1], file=tmp_path / "gone.png")
    return replace(dataset, splits=splits, problems=Problems(on_bad))


def test_what_cannot_be_read_leaves_the_bank_with_all_that_is_its(
    world: Path, tmp_path: Path
) -> None:
    whole = build_bank(read_dataset(world / "world"), tmp_path / "w", _settings(world), workers=1)
    dataset = _damaged(world, tmp_path, "skip")
    bank = build_bank(dataset, tmp_path / "bank", _settings(world, batch=4), workers=1)
    bank.verify()
    images = np.delete(np.arange(whole.n_images), [3, 27])
    texts = np.flatnonzero(np.isin(whole.positives.first, images))
    np.testing.assert_allclose(bank.image_coarse, whole.image_coarse[images], atol=1e-5)
    np.testing.assert_allclose(bank.text_features, whole.text_features[texts], atol=1e-5)
    np.testing.assert_array_equal(bank.image_split, whole.image_split[images])
    assert bank.texts == [whole.texts[n] for n in texts]  # type: ignore[index]
    for text, original in enumerate(texts):
        own = whole.positives.row(int(original))
        assert images[bank.positives.row(text)].tolist() == own.tolist()
    listed = json.loads((tmp_path / "bank" / "problems.json").read_text())
    assert [(one["kind"], Path(one["where"]).name) for one in listed["problems"]] == [
        ("broken image", "cut.png"),
        ("missing image", "gone.png"),
    ]
    assert bank.manifest["provenance"]["problems"]["counts"] == listed["counts"]


def test_pictures_can_be_fatal_and_the_build_goes_on_when_they_are_skipped(
    world: Path, tmp_path: Path
) -> None:
    settings = _settings(world, batch=4)
    with pytest.raises(DSAError, match=r"broken image: .*cut\.png"):
        build_bank(_damaged(world, tmp_path, "fail"), tmp_path / "bank", settings, workers=1)
    skipping = _damaged(world, tmp_path, "skip")
    assert build_bank(skipping, tmp_path / "bank", settings, workers=1).n_images == 30


@pytest.mark.parametrize("where", ["write_rows", "shrink", "write"])
def test_an_interrupted_build_knows_what_it_had_skipped(
    world: Path, tmp_path: Path, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dsa_env.extraction.writing.SHARD", 8)
    settings = _settings(world, batch=4)
    calls = 0

    def interrupt(writer: BankWriter, *arguments: object) -> None:
        nonlocal calls
        calls += 1
        if calls > 2:
            raise KeyboardInterrupt
        original(writer, *arguments)

    original = getattr(BankWriter, where)
    damaged = _damaged(world, tmp_path, "skip")
    with monkeypatch.context() as patched:
        patched.setattr(BankWriter, where, interrupt)
        patched.setattr("dsa_env.extraction.writing.TEXTS", 20)
        with pytest.raises(KeyboardInterrupt):
            build_bank(damaged, tmp_path / "bank", settings, workers=1)
    again = _damaged(world, tmp_path, "skip")
    resumed = build_bank(again, tmp_path / "bank", settings, workers=1)
    resumed.verify()
    assert again.problems.counts == {"missing image": 1, "broken image": 1}
    once = build_bank(_damaged(world, tmp_path, "skip"), tmp_path / "once", settings, workers=1)
    np.testing.assert_allclose(resumed.image_coarse, once.image_coarse, atol=1e-5)
    np.testing.assert_allclose(resumed.text_features, once.text_features, atol=1e-5)
    assert resumed.image_files == once.image_files


def test_a_bank_of_nothing_readable_is_refused(world: Path, tmp_path: Path) -> None:
    pictures = [Picture(tmp_path / f"{n}.png", (Caption("a cube"),)) for n in range(3)]
    dataset = Dataset("gone", tmp_path, {"train": pictures}, {}, Problems("skip"))
    with pytest.raises(DSAError, match="Not one of the 3 pictures can be read"):
        build_bank(dataset, tmp_path / "bank", _settings(world), workers=1)


def test_nothing_is_asked_of_a_picture_whose_facts_are_not_known(
    world: Path, tmp_path: Path
) -> None:
    dataset = read_dataset(world / "world")
    train = [
        replace(picture, facts_known=n % 2 == 0)
        for n, picture in enumerate(dataset.splits["train"])
    ]
    dataset = replace(dataset, splits=dataset.splits | {"train": train})
    bank = build_bank(dataset, tmp_path / "bank", _settings(world), workers=1)
    assert bank.image_facts is not None
    images = bank.split_images("train")
    assert not bank.image_facts.lengths[images[1::2]].any()
    asked = QuestionSampler(bank, "train").sample(8, np.random.default_rng(0))
    assert set(asked.image.tolist()) <= set(images[::2].tolist())


def test_names_of_things_are_object_facts(world: Path, tmp_path: Path) -> None:
    dataset = read_dataset(world / "world")
    pictures = [
        Picture(one.file, (Caption(f"a {name}", facts=(name,)),), frozenset([name]))
        for one, name in zip(dataset.splits["train"], ["dog", "cat"] * 10, strict=True)
    ]
    named = Dataset("named", dataset.root, {"train": pictures})
    bank = build_bank(named, tmp_path / "bank", _settings(world), workers=1)
    assert bank.facts == ["cat", "dog"]
    assert bank.fact_kinds == ("object",)


def test_a_dataset_without_captions_is_refused(world: Path, tmp_path: Path) -> None:
    dataset = read_dataset(world / "world")
    silent = Dataset("silent", dataset.root, {"train": [Picture(tmp_path / "a.png", ())]})
    with pytest.raises(DSAError, match="no captions"):
        build_bank(silent, tmp_path / "bank", _settings(world))
