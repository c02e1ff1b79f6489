"""Datasets by name: options, descriptions, and errors that say what to change."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

from dsa_env.datasets.registry import (
    COMMON_OPTIONS,
    DATASETS,
    DatasetFormat,
    ReadOptions,
    read_dataset,
)
from dsa_env.errors import DSAError


@pytest.mark.parametrize("entry", DATASETS.values(), ids=DATASETS)
def test_every_dataset_says_what_it_reads_and_takes_options_that_exist(
    entry: DatasetFormat,
) -> None:
    assert entry.description.endswith(".")
    assert entry.files.endswith(".")
    assert entry.files in str(entry)
    assert set(entry.options) <= {option.name for option in fields(ReadOptions)}
    assert not set(entry.options) & set(COMMON_OPTIONS)
    assert callable(entry.read)


def test_every_option_is_taken_by_a_dataset() -> None:
    taken = {name for entry in DATASETS.values() for name in entry.options} | set(COMMON_OPTIONS)
    assert taken == {option.name for option in fields(ReadOptions)}


def test_names_options_and_roots_that_are_wrong_are_said_to_be(tmp_path: Path) -> None:
    with pytest.raises(DSAError, match=r"Unknown dataset 'coca'. Did you mean 'coco'"):
        read_dataset("coca", tmp_path)
    with pytest.raises(DSAError, match=r"clevr takes no --variant; it takes --on-bad, .*--cap"):
        read_dataset("clevr", tmp_path, ReadOptions(variant="2017"))
    with pytest.raises(DSAError, match=r"gone does not exist; it must hold scenes/"):
        read_dataset("clevr", tmp_path / "gone")


@pytest.mark.parametrize("name", DATASETS)
def test_an_empty_folder_is_one_line_naming_what_is_looked_for(name: str, tmp_path: Path) -> None:
    with pytest.raises(DSAError) as caught:
        read_dataset(name, tmp_path)
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", DATASETS)
def test_a_file_that_is_something_else_is_one_line(name: str, tmp_path: Path) -> None:
    file = tmp_path / "noise.json"
    file.write_bytes(b"\x00\xff{]")
    with pytest.raises(DSAError) as caught:
        read_dataset(name, file)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "wrong",
    [
        {"captions": 0},
        {"limit": 0},
        {"held_out_share": 0.5},
        {"on_bad": "ignore"},
        {"leaks": "keep"},
    ],
)
def test_options_out_of_range_are_refused(wrong: dict[str, object]) -> None:
    name = next(iter(wrong)).replace("_", "-")
    with pytest.raises(DSAError, match=f"--{name}"):
        ReadOptions(**wrong)  # type: ignore[arg-type]


def test_the_list_is_light() -> None:
    program = (
        "import sys\nfrom dsa_env.datasets.registry import DATASETS\n"
        "heavy = {'torch', 'datasets', 'ijson', 'pandas', 'PIL'} & set(sys.modules)\n"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    assert result.returncode == 0, result.stderr
