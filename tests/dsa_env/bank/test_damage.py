"""Damaged folders: truncated, tampered with, incomplete, or no bank at all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dsa_env.bank import FeatureBank
from dsa_env.errors import BankError
from tests.dsa_env.bank.small_bank import D, N, T, resign


def rewrite(path: Path, change: Any) -> None:
    """Change one array and write it back."""
    array = np.load(path)
    np.save(path, change(array))


@pytest.mark.parametrize("name", ["text_features", "image_regions", "positives_indices"])
def test_truncation_is_noticed_at_opening(folder: Path, name: str) -> None:
    file = folder / f"{name}.npy"
    file.write_bytes(file.read_bytes()[:-8])
    with pytest.raises(BankError, match=rf"{name}\.npy is truncated: .* restore the file"):
        FeatureBank.open(folder)
    file.write_bytes(b"\x93NUM")
    with pytest.raises(BankError, match=rf"{name}\.npy is not a readable \.npy file"):
        FeatureBank.open(folder)
    file.unlink()
    with pytest.raises(BankError, match=rf"{name}\.npy is missing"):
        FeatureBank.open(folder)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("text_features", lambda a: a.astype(np.float64), "holds float64"),
        ("text_features", lambda a: a[:-1], r"holds float32\[23, 6\], but the manifest says"),
        ("text_features", np.asfortranarray, "Fortran order"),
        ("text_features", lambda a: a * np.nan, "text_features has NaN"),
        ("text_features", lambda a: a * 2, "length is not 1"),
        ("image_regions", lambda a: a + 1, "length is not 1"),
        ("region_boxes", lambda a: a + 1, r"outside \[0, 1\]"),
    ],
)
def test_wrong_content_is_noticed_at_opening(
    folder: Path, name: str, change: Any, message: str
) -> None:
    rewrite(folder / f"{name}.npy", change)
    with pytest.raises(BankError, match=message) as caught:
        FeatureBank.open(folder)
    assert str(folder) in str(caught.value)
    assert name in str(caught.value)


def test_a_pickle_in_an_npy_is_never_loaded(folder: Path) -> None:
    array = np.empty((T, D), dtype=object)
    np.save(folder / "text_features.npy", array, allow_pickle=True)
    with pytest.raises(BankError, match="holds pickled objects, which are never loaded"):
        FeatureBank.open(folder)


def test_verify_notices_every_flipped_byte(folder: Path) -> None:
    bank = FeatureBank.open(folder)
    lists = [folder / "texts.json", folder / "images.json", folder / "facts.json"]
    for file in sorted([*folder.glob("*.npy"), *lists]):
        whole = file.read_bytes()
        changed = bytearray(whole)
        changed[-3] ^= 1
        file.write_bytes(changed)
        with pytest.raises(BankError, match=rf"{file.name} does not have the content"):
            bank.verify()
        file.write_bytes(whole)
    bank.verify()


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("positives_indices", N, r"positives_indices points outside 0\.\.11"),
        ("positives_indptr", 7, "positives_indptr does not ascend"),
        ("text_facts_indices", -1, "text_facts_indices points outside"),
        ("image_split", 9, "image_split has values outside"),
        ("text_kind", 2, "text_kind has values outside"),
        ("fact_kind", -1, "fact_kind has values outside"),
        ("text_split", 0, "text_split of text 5 is not its images' split"),
    ],
)
def test_verify_looks_at_meaning_too(folder: Path, name: str, value: int, message: str) -> None:
    array = np.load(folder / f"{name}.npy")
    array[min(5, len(array) - 1)] = value
    resign(folder, name, array)
    with pytest.raises(BankError, match=message):
        FeatureBank.open(folder).verify()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not valid JSON"),
        ("[]", "not the manifest of a feature bank"),
        ('{"format": "dsa-feature-bank", "schema_version": 99}', "schema version 99"),
        ('{"format": "dsa-feature-bank", "schema_version": 1}', "does not list the bank's arrays"),
    ],
)
def test_a_broken_manifest_is_one_clear_line(folder: Path, text: str, message: str) -> None:
    (folder / "bank.json").write_text(text)
    with pytest.raises(BankError, match=message):
        FeatureBank.open(folder)


def test_a_manifest_that_lacks_an_array_or_lies_about_settings(folder: Path) -> None:
    manifest = json.loads((folder / "bank.json").read_text())
    for change, message in (
        ({"fine": "given"}, "needs image_fine"),
        ({"temperature": -1}, "temperature must be"),
        ({"splits": ["train"]}, "splits must be"),
        ({"arrays": {k: v for k, v in manifest["arrays"].items() if k != "text_split"}}, "no text"),
        ({"arrays": {k: v for k, v in manifest["arrays"].items() if k != "region_counts"}}, "come"),
    ):
        (folder / "bank.json").write_text(json.dumps(manifest | change))
        with pytest.raises(BankError, match=message):
            FeatureBank.open(folder)


def test_no_bank_there(tmp_path: Path) -> None:
    with pytest.raises(BankError, match=r"is no feature bank \(it has no bank.json\)"):
        FeatureBank.open(tmp_path / "nowhere")
    (tmp_path / "bank.partial").mkdir()
    with pytest.raises(BankError, match="unfinished build"):
        FeatureBank.open(tmp_path / "bank")


def test_a_missing_list_is_noticed_at_opening(folder: Path) -> None:
    (folder / "texts.json").unlink()
    with pytest.raises(BankError, match=r"texts\.json is missing"):
        FeatureBank.open(folder)
