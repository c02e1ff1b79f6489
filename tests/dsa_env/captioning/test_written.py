"""Captions are written once, chunk by chunk, and what was interrupted is gone on with."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from dsa_env.bank import FeatureBank
from dsa_env.captioning import written
from dsa_env.captioning.captioner import Captioner
from dsa_env.captioning.written import load_captioner, write_captions
from dsa_env.errors import BankError

PROMPTS = ("a red cube", "what is the large metal cube on ?")
GRID = (0.0, 0.5, 1.0)


@pytest.fixture
def bank(drawn_bank: FeatureBank, tmp_path: Path) -> FeatureBank:
    """The drawn bank without anything in its cache; its pictures stay where they are."""
    assert drawn_bank.path is not None
    shutil.copytree(drawn_bank.path, tmp_path / "bank", ignore=shutil.ignore_patterns("cache"))
    (tmp_path / "world").symlink_to(drawn_bank.path.parent / "world")
    return FeatureBank.open(tmp_path / "bank")


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(written, "CHUNK", 4)
    monkeypatch.setattr(written.os, "cpu_count", lambda: 1)
    yield
    load_captioner.cache_clear()


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many captions each sweep was asked for."""
    made: list[int] = []
    sweep = Captioner.sweep

    def counted(self: Captioner, pictures, prompts, grid, **more):  # type: ignore[no-untyped-def]
        made.append(len(pictures) * len(grid))
        return sweep(self, pictures, prompts, grid, **more)

    monkeypatch.setattr(Captioner, "sweep", counted)
    return made


def test_what_is_written_is_what_the_captioner_writes(bank: FeatureBank, llava: str) -> None:
    pictures = bank.split_images("test")[:6]
    told = write_captions(bank, pictures, PROMPTS, GRID, model=llava)
    captioner = load_captioner(llava)
    files = written.picture_files(bank, pictures)
    opened = [written.read_picture(file) for file in files]
    for place, prompt in enumerate(PROMPTS):
        for column, g in enumerate(GRID):
            wanted = captioner.captions(opened, [prompt] * 6, g)
            assert [one[place][column] for one in told.captions] == wanted
        text, image = captioner.observe(opened, [prompt] * 6)
        np.testing.assert_array_equal(told.text[place], text[0])
        np.testing.assert_allclose(told.image, image, atol=1e-6)


def test_written_chunks_are_kept_and_missing_or_damaged_ones_written_again(
    bank: FeatureBank, llava: str, calls: list[int]
) -> None:
    pictures = bank.split_images("train")[:10]
    first = write_captions(bank, pictures, PROMPTS, GRID, model=llava)
    assert calls == [24, 24, 12]
    assert bank.path is not None
    [folder] = (bank.path / "cache").glob("captions-*")
    (folder / "00001.json").unlink()
    (folder / "00002.image.npy").write_bytes(b"half")
    calls.clear()
    again = write_captions(bank, pictures, PROMPTS, GRID, model=llava)
    assert calls == [24, 12]
    assert again.captions == first.captions
    np.testing.assert_array_equal(again.image, first.image)
    calls.clear()
    write_captions(bank, pictures, PROMPTS, GRID, model=llava)
    assert calls == []
    write_captions(bank, pictures, PROMPTS[:1], GRID, model=llava)
    assert len(calls) == 3


def test_an_interrupted_writing_goes_on_where_it_stopped(
    bank: FeatureBank, llava: str, calls: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures = bank.split_images("train")[:10]
    sweep = Captioner.sweep

    def interrupted(*args, **more):  # type: ignore[no-untyped-def]
        if len(calls) == 2:
            raise KeyboardInterrupt
        return sweep(*args, **more)

    with monkeypatch.context() as patch:
        patch.setattr(Captioner, "sweep", interrupted)
        with pytest.raises(KeyboardInterrupt):
            write_captions(bank, pictures, PROMPTS, GRID, model=llava)
    calls.clear()
    write_captions(bank, pictures, PROMPTS, GRID, model=llava)
    assert calls == [12]


def test_without_a_grid_only_features_are_made(
    bank: FeatureBank, llava: str, calls: list[int]
) -> None:
    pictures = bank.split_images("train")[:5]
    told = write_captions(bank, pictures, PROMPTS, (), model=llava)
    assert calls == []
    assert told.image.shape[0] == 5
    assert told.text.shape[0] == 2


@pytest.mark.slow
def test_processes_write_what_one_writes(
    bank: FeatureBank, llava: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures = bank.split_images("train")[:8]
    alone = write_captions(bank, pictures, PROMPTS, GRID, model=llava)
    assert bank.path is not None
    shutil.rmtree(bank.path / "cache")
    monkeypatch.setattr(written.os, "cpu_count", lambda: 2)
    together = write_captions(bank, pictures, PROMPTS, GRID, model=llava)
    assert together.captions == alone.captions
    np.testing.assert_array_equal(together.image, alone.image)


def test_pictures_that_are_not_there_are_named(
    bank: FeatureBank, llava: str, synthetic_bank: FeatureBank, tmp_path: Path
) -> None:
    with pytest.raises(BankError, match="does not say where its pictures lie"):
        write_captions(synthetic_bank, np.arange(3), PROMPTS, GRID, model=llava)
    (tmp_path / "world").unlink()
    with pytest.raises(BankError, match=r"\.png is missing"):
        write_captions(bank, np.arange(3), PROMPTS, GRID, model=llava)
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    with pytest.raises(BankError, match=r"broken\.png cannot be read"):
        written.read_picture(broken)
