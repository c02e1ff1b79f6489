"""Feature banks: from arrays and folders, checked, immutable, and cheap to open."""

from __future__ import annotations

import copy
import json
import pickle
import resource
import shutil
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dsa_env.bank import FeatureBank, resolve_bank
from dsa_env.bank import checks as bank_checks
from dsa_env.bank.ragged import Ragged
from dsa_env.errors import BankError, DSAError
from tests.dsa_env.bank.small_bank import D, N, R, T, arguments, resign


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.longdouble])
def test_features_of_any_float_dtype_are_normalised(dtype: type) -> None:
    given_arrays = arguments()
    for name in ("text", "coarse", "regions"):
        given_arrays[name] = (3 * given_arrays[name]).astype(dtype)
    bank = FeatureBank.from_arrays(**given_arrays)
    bank.verify()
    text = given_arrays["text"].astype(np.float64)
    expected = text / np.linalg.norm(text, axis=1, keepdims=True)
    np.testing.assert_allclose(bank.text_features, expected, atol=1e-6)
    assert bank.text_features.dtype == np.float32


def test_extreme_lengths_neither_overflow_nor_vanish() -> None:
    text = np.full((T, D), 1e300)
    text[1] = 1e-300
    bank = FeatureBank.from_arrays(**arguments(text=text))
    np.testing.assert_allclose(bank.text_features[:2], D**-0.5, rtol=1e-6)


def test_a_bank_in_memory_equals_its_folder(folder: Path) -> None:
    memory, disk = FeatureBank.from_arrays(**arguments()), FeatureBank.open(folder)
    memory.verify()
    disk.verify()
    assert memory.sha256 == disk.sha256
    assert memory.path is None
    assert disk.path == folder
    assert set(memory.arrays) == set(disk.arrays)
    for name, array in memory.arrays.items():
        np.testing.assert_array_equal(array, disk.arrays[name])
    assert memory.texts == disk.texts == [f"text {i}" for i in range(T)]
    assert memory.facts == disk.facts == [f"fact {i}" for i in range(5)]
    assert disk.kinds == ("scene", "object")
    assert disk.fact_kinds == ("x", "y")
    assert disk.manifest["provenance"] == {"encoder": "mine"}
    assert disk.image_path(3) == folder / "3.png"
    assert not list(folder.parent.glob(".*"))


def test_the_hash_follows_content_and_meaning() -> None:
    first = FeatureBank.from_arrays(**arguments()).sha256
    assert FeatureBank.from_arrays(**arguments()).sha256 == first
    for change in (
        {"temperature": 0.1},
        {"fine_variant": "mean"},
        {"gallery_size": 3},
        {"text": np.ones((T, D))},
        {"kinds": ["object", "scene"] * (T // 2)},
    ):
        assert FeatureBank.from_arrays(**arguments(**change)).sha256 != first


def test_positives_in_every_form() -> None:
    plain = {"text": np.eye(4), "coarse": np.eye(4), "fine": np.eye(4)}
    identity = FeatureBank.from_arrays(**plain)
    assert identity.positives.to_lists() == [[0], [1], [2], [3]]
    as_ids = FeatureBank.from_arrays(**plain, positives=np.array([3, 2, 1, 0]))
    assert as_ids.positives.to_lists() == [[3], [2], [1], [0]]
    several = [[0, 1], [1, 0, 1], [2], [3]]
    as_lists = FeatureBank.from_arrays(**plain, positives=several, splits=["train"] * 4)
    assert as_lists.positives.to_lists() == [[0, 1], [1, 0], [2], [3]]
    assert as_lists.captions_of.to_lists() == [[0, 1], [0, 1], [2], [3]]
    ragged = Ragged.from_lists([[1], [1], [1], [2]])
    bank = FeatureBank.from_arrays(**plain, positives=ragged, splits=["test"] * 4)
    assert bank.captions_of.lengths.tolist() == [0, 3, 1, 0]


def test_drawn_splits_are_seeded_disjoint_and_never_cut_a_text() -> None:
    rng = np.random.default_rng(0)
    text, view = rng.normal(size=(300, 4)), rng.normal(size=(200, 4))
    pairs = [[i % 200, (i // 2) % 200] for i in range(300)]
    made = [
        FeatureBank.from_arrays(text, view, view, positives=pairs, seed=seed) for seed in (0, 0, 1)
    ]
    np.testing.assert_array_equal(made[0].image_split, made[1].image_split)
    plain = FeatureBank.from_arrays(text, view, view, positives=np.arange(300) % 200)
    sizes = [len(plain.split_images(split)) for split in plain.splits]
    assert sizes == [0, 140, 30, 30]
    together = np.concatenate([plain.split_images(split) for split in plain.splits])
    np.testing.assert_array_equal(np.sort(together), np.arange(200))
    for split in plain.splits:
        images = plain.split_images(split)
        assert set(plain.positives.first[plain.split_texts(split)]) == set(images)


def test_even_three_images_fill_every_drawn_split() -> None:
    bank = FeatureBank.from_arrays(np.eye(3), np.eye(3), np.eye(3))
    assert sorted(bank.image_split.tolist()) == [1, 2, 3]


@given(st.integers(1, 60), st.integers(1, 20))
def test_galleries_cut_a_split_without_losing_an_image(n: int, size: int) -> None:
    eye = np.ones((n, 2))
    bank = FeatureBank.from_arrays(eye, eye, eye, splits=["test"] * n, gallery_size=size)
    galleries = bank.galleries("test")
    np.testing.assert_array_equal(np.concatenate(galleries), np.arange(n))
    lengths = [len(gallery) for gallery in galleries]
    assert all(length == size for length in lengths[:-1])
    assert lengths[-1] == n or size / 2 <= lengths[-1] < 1.5 * size


def test_fine_features_are_the_mean_of_regions_or_fall_back_to_coarse() -> None:
    regions = np.zeros((3, 2, 4))
    regions[0] = [[1, 0, 0, 0], [0, 1, 0, 0]]
    regions[2] = [[1, 0, 0, 0], [-1, 0, 0, 0]]
    coarse = np.eye(4)[[3, 2, 1]]
    bank = FeatureBank.from_arrays(np.eye(4)[:3], coarse, regions=regions)
    assert bank.region_counts is not None
    assert bank.region_counts.tolist() == [2, 0, 2]
    expected = np.array([[0.5**0.5, 0.5**0.5, 0, 0], coarse[1], coarse[2]])
    np.testing.assert_allclose(bank.fine_features([0, 1, 2]), expected, atol=1e-7)
    assert bank.fine_features([[0, 1]]).shape == (1, 2, 4)
    given_fine = FeatureBank.from_arrays(np.eye(4)[:3], coarse, 2 * coarse)
    assert given_fine.fine == "given"
    np.testing.assert_array_equal(given_fine.fine_features([2]), coarse[[2]])


def test_regions_of_different_number_and_forced_counts() -> None:
    rng = np.random.default_rng(0)
    ragged = [rng.normal(size=(count, D)) for count in (2, 0, 3)]
    made = FeatureBank.from_arrays(np.eye(3, D), np.eye(3, D), regions=ragged)
    made.verify()
    assert made.region_counts is not None
    assert made.region_counts.tolist() == [2, 0, 3]
    full = np.where(np.arange(3)[:, None] < 2, rng.normal(size=(3, 3, D)), np.nan)
    forced = FeatureBank.from_arrays(
        np.eye(3, D), np.eye(3, D), regions=full, region_counts=[2, 1, 2]
    )
    assert forced.image_regions is not None
    assert not forced.image_regions[1, 1:].any()


def test_a_bank_cannot_be_written_to(folder: Path) -> None:
    for bank in (FeatureBank.open(folder), FeatureBank.from_arrays(**arguments())):
        with pytest.raises(ValueError, match="read-only"):
            bank.text_features[0, 0] = 1.0


def test_copies_are_the_bank_itself_and_pickles_are_small(folder: Path) -> None:
    bank = FeatureBank.open(folder)
    assert copy.deepcopy(bank) is bank
    assert copy.copy(bank) is bank
    assert len(pickle.dumps(bank)) < 1000
    assert pickle.loads(pickle.dumps(bank)).sha256 == bank.sha256
    memory = FeatureBank.from_arrays(**arguments())
    again = pickle.loads(pickle.dumps(memory))
    assert again.sha256 == memory.sha256
    assert again.texts == memory.texts


def test_a_pickle_of_a_bank_that_has_changed_is_refused(folder: Path) -> None:
    data = pickle.dumps(FeatureBank.open(folder))
    shutil.rmtree(folder)
    FeatureBank.from_arrays(**arguments(seed=1), path=folder)
    with pytest.raises(BankError, match="has changed since"):
        pickle.loads(data)


def test_resolve_bank_opens_a_folder_once_until_it_changes(folder: Path) -> None:
    bank = resolve_bank(folder)
    assert resolve_bank(str(folder)) is bank
    assert resolve_bank(bank) is bank
    shutil.rmtree(folder)
    with pytest.raises(BankError, match="no feature bank"):
        resolve_bank(folder)
    FeatureBank.from_arrays(**arguments(seed=1), path=folder)
    assert resolve_bank(folder).sha256 != bank.sha256


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"text": np.ones(D)}, r"text_features has shape \[6\]; it needs 2 axes"),
        ({"text": np.ones((T, D + 1))}, r"axis 1 \(D\) must be"),
        ({"text": np.zeros((0, D))}, "text_features is empty"),
        ({"text": np.full((T, D), "a")}, "give an array of floats"),
        ({"text": [[1.0], [1.0, 2.0]]}, "text_features is not rectangular"),
        ({"coarse": np.where(np.arange(N)[:, None] == 4, np.nan, 1.0) * np.ones(D)}, "row 4"),
        ({"coarse": np.where(np.arange(N)[:, None] == 5, np.inf, 1.0) * np.ones(D)}, "infinity"),
        ({"coarse": np.where(np.arange(N)[:, None] == 7, 0, 1.0) * np.ones(D)}, "all-zero.*row 7"),
        ({"fine": np.ones((N, D))}, "either fine= .* or regions="),
        ({"regions": None}, "either fine= .* or regions="),
        ({"regions": np.ones((N, D))}, "it needs 3 axes"),
        (
            {"regions": np.ones((N - 1, R, D)), "region_counts": None, "region_boxes": None},
            r"axis 0 \(N\) must be",
        ),
        ({"region_counts": np.full(N, R + 1)}, r"region_counts must lie in 0\.\.3"),
        ({"region_counts": np.ones(N)}, "must be ints"),
        ({"region_boxes": np.full((N, R, 4), 2.0)}, r"outside \[0, 1\]"),
        ({"region_boxes": np.ones((N, R, 3))}, "must be"),
        ({"positives": None}, "do not pair up"),
        ({"positives": np.arange(T)}, r"outside 0\.\.11"),
        ({"positives": np.zeros(T)}, "must be ints"),
        ({"positives": [[0]] * (T - 1)}, "has 23 rows; it needs 24"),
        ({"positives": [[0]] * (T - 1) + [[]]}, "Text 23 has no positive"),
        ({"positives": [["a"]] * T}, "flat list of ints"),
        ({"splits": ["train"] * (N - 1)}, "one entry per image"),
        ({"splits": ["train"] * (N - 1) + ["tst"]}, "Did you mean 'test'"),
        ({"splits": np.full(N, 4)}, r"outside 0\.\.3"),
        ({"splits": np.full(N, 0.5)}, "must be ints"),
        ({"kinds": ["scene"]}, "kinds has 1 entries; it needs 24"),
        ({"kinds": [str(i) for i in range(200)]}, "it needs 24"),
        ({"texts": ["a"]}, "texts has 1 entries"),
        ({"image_files": ["a"]}, "image_files has 1 entries"),
        ({"facts": {"features": np.ones((2, D))}}, "facts has no 'text'"),
        ({"facts": {"feature": np.ones((2, D))}}, "Did you mean 'features'"),
        ({"severity": np.full((T, N), 1.5)}, r"severity has values outside \[0, 1\]"),
        ({"severity": np.full((T, N), np.nan)}, "NaN"),
        ({"severity": np.ones((N, T))}, r"must be \[24, 12\]"),
        ({"fine_variant": "attendd"}, "Did you mean 'attended'"),
        ({"temperature": 0.0}, "temperature must be a positive number"),
        ({"temperature": float("nan")}, "temperature must be a positive number"),
        ({"gallery_size": 0}, "gallery_size must be a positive int"),
    ],
)
def test_wrong_input_is_one_clear_line(
    changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    for path in (None, tmp_path / "bank"):
        with pytest.raises(DSAError, match=message) as caught:
            FeatureBank.from_arrays(**arguments(**changes), path=path)
        assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_a_text_in_two_splits_is_a_leak() -> None:
    with pytest.raises(BankError, match="Text 1 has positives in train and in test"):
        FeatureBank.from_arrays(
            np.eye(2), np.eye(2), np.eye(2), positives=[[0], [0, 1]], splits=["train", "test"]
        )


def test_an_empty_split_says_which_ones_are_not() -> None:
    bank = FeatureBank.from_arrays(np.eye(3), np.eye(3), np.eye(3), splits=["train"] * 3)
    assert len(bank.split_images("test")) == 0
    with pytest.raises(BankError, match="'test' has no images; choose one of train"):
        bank.galleries("test")
    with pytest.raises(DSAError, match="Did you mean 'validation'"):
        bank.split_images("validaton")


def test_an_existing_folder_is_not_overwritten(folder: Path) -> None:
    with pytest.raises(BankError, match="exists already"):
        FeatureBank.from_arrays(**arguments(), path=folder)
    FeatureBank.open(folder).verify()


def test_float16_features_on_disk_are_read_as_they_are(folder: Path) -> None:
    manifest = json.loads((folder / "bank.json").read_text())
    manifest["arrays"]["text_features"]["dtype"] = "float16"
    (folder / "bank.json").write_text(json.dumps(manifest))
    resign(folder, "text_features", np.load(folder / "text_features.npy").astype(np.float16))
    bank = FeatureBank.open(folder)
    bank.verify()
    assert bank.text_features.dtype == np.float16


def pages_touched() -> int:
    """How many pages this process has asked the system for so far."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_minflt + usage.ru_majflt


def test_opening_a_huge_bank_reads_little_of_it(tmp_path: Path) -> None:
    """12 GB of features in sparse files: opening reads the headers and a sample of rows."""
    folder, rows, dim = tmp_path / "bank", 500_000, 2048
    unit = np.eye(1, dim, dtype=np.float32)
    FeatureBank.from_arrays(unit, unit, unit, splits=["test"], path=folder)
    manifest = json.loads((folder / "bank.json").read_text())
    small = {
        "image_split": np.full(rows, 3, np.int8),
        "text_split": np.full(rows, 3, np.int8),
        "positives_indptr": np.arange(rows + 1),
        "positives_indices": np.arange(rows, dtype=np.int32),
    }
    for name, array in small.items():
        np.save(folder / f"{name}.npy", array)
        manifest["arrays"][name]["shape"] = list(array.shape)
    for name in ("text_features", "image_coarse", "image_fine"):
        file = folder / f"{name}.npy"
        file.unlink()
        mapped = np.lib.format.open_memmap(file, "w+", dtype=np.float32, shape=(rows, dim))
        mapped[np.linspace(0, rows - 1, bank_checks.SAMPLE).astype(int)] = unit
        manifest["arrays"][name]["shape"] = [rows, dim]
        del mapped
    (folder / "bank.json").write_text(json.dumps(manifest))
    before = pages_touched()
    bank = FeatureBank.open(folder)
    assert pages_touched() - before < 20_000  # of three million
    assert bank.text_features[-1, 0] == 1.0
    assert len(bank.split_images("test")) == rows


def test_memory_stays_flat_when_a_bank_is_written_and_verified(tmp_path: Path) -> None:
    rows, dim = 150_000, 128
    source = np.lib.format.open_memmap(
        tmp_path / "source.npy", "w+", dtype=np.float32, shape=(rows, dim)
    )
    source[:] = 3.0
    tracemalloc.start()
    bank = FeatureBank.from_arrays(source, source, source, path=tmp_path / "bank")
    bank.verify()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert sum(array.nbytes for array in bank.arrays.values()) > 230e6
    assert peak < 60e6


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 12), st.integers(1, 6))
def test_any_shape_survives_a_round_trip(seed: int, n: int, dim: int) -> None:
    rng = np.random.default_rng(seed)
    views = rng.uniform(0.1, 1, size=(3, n, dim)) * rng.choice([-1, 1], size=(3, n, dim))
    bank = FeatureBank.from_arrays(*views, splits=rng.integers(0, 4, n))
    bank.verify()
    again = pickle.loads(pickle.dumps(bank))
    np.testing.assert_array_equal(again.image_coarse, bank.image_coarse)
