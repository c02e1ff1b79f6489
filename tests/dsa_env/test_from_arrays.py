"""A bank from files of embeddings: what it holds, and what is refused by file and row."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsa_env import cli
from dsa_env.bank import FeatureBank
from dsa_env.errors import DSAError
from dsa_env.from_arrays import (
    ArrayFiles,
    bank_from_files,
    fine_from_prototypes,
    read_array,
    read_pairs,
)

T, N, D = 12, 8, 6
RNG = np.random.default_rng(0)
TEXT, IMAGE = RNG.normal(size=(T, D)).astype(np.float32), RNG.normal(size=(N, D))
PROTOTYPES = RNG.normal(size=(5, D)).astype(np.float16)


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    np.save(tmp_path / "text.npy", TEXT)
    np.save(tmp_path / "image.npy", IMAGE)
    np.save(tmp_path / "prototypes.npy", PROTOTYPES)
    np.save(tmp_path / "fine.npy", RNG.normal(size=(N, D)))
    regions = RNG.normal(size=(N, 3, D))
    regions[0, 1:] = 0
    np.save(tmp_path / "regions.npy", regions)
    lines = [f"{text},{text % N},{('train', 'test')[text % N % 2]}" for text in range(T)]
    (tmp_path / "pairs.csv").write_text("text,image,split\n" + "\n".join(lines) + "\n")
    return tmp_path


def files(folder: Path, **more: str) -> ArrayFiles:
    own = {name: folder / f"{file}.npy" for name, file in more.items()}
    return ArrayFiles(folder / "text.npy", folder / "image.npy", folder / "pairs.csv", **own)


def test_prototypes_make_the_fine_view(folder: Path) -> None:
    out = folder / "bank"
    bank = bank_from_files(files(folder, prototypes="prototypes"), out, temperature=0.1)
    bank.verify()
    weights = np.exp(unit(IMAGE) @ unit(PROTOTYPES.astype(float)).T / 0.1)
    expected = unit(weights @ unit(PROTOTYPES.astype(float)))
    assert bank.image_fine is not None
    np.testing.assert_allclose(bank.image_fine, expected, atol=1e-5)
    np.testing.assert_allclose(bank.image_coarse, unit(IMAGE), atol=1e-6)
    assert bank.positives.row(9).tolist() == [1]
    assert bank.split_images("test").tolist() == [1, 3, 5, 7]
    assert bank.manifest["provenance"]["prototype_temperature"] == 0.1
    assert not list(folder.glob(".*tmp")), "nothing is left beside the bank"


@given(st.integers(1, 6), st.integers(1, 4))
def test_a_cold_softmax_takes_the_nearest_class_and_a_hot_one_their_mean(
    images: int, classes: int
) -> None:
    rng = np.random.default_rng([images, classes])
    rows, prototypes = rng.normal(size=(images, D)), unit(rng.normal(size=(classes, D)))
    cold = fine_from_prototypes(rows, prototypes, 1e-4)
    nearest = (rows @ prototypes.T).argmax(axis=1)
    np.testing.assert_allclose(cold, prototypes[nearest], atol=1e-4)
    hot = fine_from_prototypes(rows, prototypes, 1e6)
    np.testing.assert_allclose(hot, unit(prototypes.sum(axis=0))[None].repeat(images, 0), atol=1e-4)
    np.testing.assert_allclose(np.linalg.norm(hot, axis=1), 1, atol=1e-6)


def test_own_fine_features_and_own_regions(folder: Path) -> None:
    fine = bank_from_files(files(folder, fine="fine"), folder / "fine")
    assert fine.fine == "given"
    regions = bank_from_files(files(folder, regions="regions"), folder / "regions")
    assert regions.fine == "attended"
    assert regions.region_counts is not None
    assert regions.region_counts.tolist() == [1] + [3] * (N - 1)


def test_without_a_split_column_splits_are_drawn_by_image(folder: Path) -> None:
    (folder / "pairs.csv").write_text("\n".join(f"{text},{text % N}" for text in range(T)))
    bank = bank_from_files(files(folder, fine="fine"), folder / "bank", seed=1)
    assert {split for split in bank.splits if len(bank.split_images(split))} == {
        "train", "validation", "test",
    }  # fmt: skip


def test_a_text_may_have_several_images_and_an_image_no_text(folder: Path) -> None:
    table = folder / "pairs.csv"
    table.write_text("0,1,train\n0,0,train\n0,1,train\n1,0,train\n,2,test\n")
    pairs = read_pairs(table, 2, 3)
    assert pairs.positives == [[1, 0], [0]]
    assert pairs.splits == ["train", "train", "test"]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("0,0\n12,1\n", r"line 2: text row 12 lies outside 0\.\.11"),
        ("0,0\n1,-1\n", r"line 2: image row -1 lies outside 0\.\.7"),
        ("0,0\n1,one\n", "line 2: image row 'one' is no whole number"),
        ("0,0\n1\n", "line 2 has 1 columns, not 2"),
        ("0,0,train\n1,0,test\n", "line 2 puts image row 0 into 'test'"),
        ("0,0,trian\n", "line 1: Unknown split 'trian'. Did you mean 'train'"),
        ("0,0\n", "pairs text row 1 with no image"),
        ("\n".join(f"{t},0,train" for t in range(T)), "gives image row 1 no split"),
        ("", "pairs text row 0 with no image"),
    ],
)
def test_a_wrong_table_is_refused_by_line(folder: Path, table: str, message: str) -> None:
    (folder / "pairs.csv").write_text(table)
    with pytest.raises(DSAError, match=message):
        read_pairs(folder / "pairs.csv", T, N)


def test_wrong_arrays_are_refused_by_file_and_row(folder: Path) -> None:
    broken = IMAGE.copy()
    broken[5, 2] = np.nan
    zero = IMAGE.copy()
    zero[3] = 0
    for name, array, message in (
        ("nan", broken, r"nan\.npy has NaN or infinity in row 5"),
        ("zero", zero, r"zero\.npy has an all-zero vector in row 3"),
        ("flat", IMAGE[0], r"flat\.npy has shape \[6\]; it must be \[rows, features\]"),
        ("empty", IMAGE[:0], r"empty\.npy has shape \[0, 6\]"),
        ("words", np.array([["a"]]), "give floats"),
    ):
        np.save(folder / f"{name}.npy", array)
        with pytest.raises(DSAError, match=message):
            read_array(folder / f"{name}.npy")
    np.save(folder / "objects.npy", np.array([{}]), allow_pickle=True)
    with pytest.raises(DSAError, match="pickled objects"):
        read_array(folder / "objects.npy")
    (folder / "words.npy").write_text("not an array")
    with pytest.raises(DSAError, match=r"words\.npy is not a \.npy file"):
        read_array(folder / "words.npy")
    with pytest.raises(DSAError, match="does not exist"):
        read_array(folder / "none.npy")


def test_arrays_must_fit_each_other(folder: Path) -> None:
    np.save(folder / "wide.npy", np.ones((N, D + 1)))
    np.save(folder / "long.npy", np.ones((N + 1, D)))
    for more, message in (
        ({"fine": "wide"}, r"wide\.npy has 7 features a row, but .*text\.npy has 6"),
        ({"fine": "long"}, r"long\.npy has 9 rows, but .*image\.npy has 8"),
        ({"prototypes": "wide"}, r"wide\.npy has 7 features"),
        ({}, "Give one of --fine-from"),
        ({"fine": "fine", "prototypes": "prototypes"}, "not --fine-from and --fine-array"),
    ):
        with pytest.raises(DSAError, match=message):
            bank_from_files(files(folder, **more), folder / "bank")
    assert not (folder / "bank").exists()
    assert not list(folder.glob(".*tmp"))


def test_the_command(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arrays = [str(folder / name) for name in ("text.npy", "image.npy", "pairs.csv")]
    out = str(folder / "bank")
    words = ["build", "--from-arrays", *arrays, "--out", out]
    assert cli.main([*words, "--fine-from", str(folder / "prototypes.npy"), "--json"]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert (summary["images"], summary["texts"], summary["dim"]) == (N, T, D)
    assert FeatureBank.open(out).sha256 == summary["sha256"]
    assert cli.main(["build", "--out", out + "2", "--fine-array", arrays[1]]) == 2
    assert "--fine-array belongs to --from-arrays" in capsys.readouterr().err
