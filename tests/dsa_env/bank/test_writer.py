"""Banks written in batches survive being killed and never half exist."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dsa_env.bank import FeatureBank
from dsa_env.bank.writer import BankWriter
from dsa_env.errors import BankError, DSAError

T, N, R, D, BATCH = 40, 20, 3, 8, 4
SHAPES: dict[str, Any] = {
    "text_features": ((T, D), np.float32),
    "image_coarse": ((N, D), np.float32),
    "image_regions": ((N, R, D), np.float16),
    "region_counts": ((N,), np.int16),
}
POSITIVES = np.arange(T) % N
SPLITS = ["train", "test"] * (N // 2)


def content() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    counts = (np.arange(N) % (R + 1)).astype(np.int16)
    regions = rng.normal(size=(N, R, D)) * (np.arange(R)[:, None] < counts[:, None, None])
    return {
        "text_features": rng.normal(size=(T, D)),
        "image_coarse": rng.normal(size=(N, D)),
        "image_regions": regions,
        "region_counts": counts,
    }


def build(folder: Path, stop_after: int | None = None, config: str = "a") -> FeatureBank:
    """Write the bank batch by batch, going on where an earlier build was; maybe die on the way."""
    writer = BankWriter(folder, SHAPES, {"encoder": config})
    written = 0
    for name, rows in content().items():
        for start in range(writer.done(name), len(rows), BATCH):
            writer.write(name, start, rows[start : start + BATCH])
            written += 1
            if written == stop_after:
                os.kill(os.getpid(), signal.SIGKILL)
    return writer.finish(positives=POSITIVES, splits=SPLITS, texts=[str(i) for i in range(T)])


def test_batches_equal_one_go(tmp_path: Path) -> None:
    written = build(tmp_path / "bank")
    written.verify()
    arrays = content()
    whole = FeatureBank.from_arrays(
        arrays["text_features"],
        arrays["image_coarse"],
        regions=arrays["image_regions"],
        positives=POSITIVES,
        splits=SPLITS,
    )
    for name, array in whole.arrays.items():
        exact = written.arrays[name].dtype == array.dtype
        np.testing.assert_allclose(written.arrays[name], array, atol=0 if exact else 1e-3)
    assert written.texts == [str(i) for i in range(T)]
    assert [path.name for path in tmp_path.iterdir()] == ["bank"]
    assert not (tmp_path / "bank" / "progress.json").exists()


def test_a_killed_build_goes_on_where_it_was(tmp_path: Path) -> None:
    folder = tmp_path / "bank"
    command = (
        "import sys; sys.path[:0] = sys.argv[2:]; from pathlib import Path;"
        f"from {Path(__file__).stem} import build; build(Path(sys.argv[1]), stop_after=5)"
    )
    places = [str(Path(__file__).parent), str(Path(__file__).parents[2])]
    done = []
    for _ in range(2):
        process = subprocess.run([sys.executable, "-c", command, str(folder), *places], check=False)
        assert process.returncode == -signal.SIGKILL
        with pytest.raises(BankError, match="unfinished build: continue"):
            FeatureBank.open(folder)
        writer = BankWriter(folder, SHAPES, {"encoder": "a"})
        done.append({name: writer.done(name) for name in SHAPES})
    assert done[0]["text_features"] == 5 * BATCH
    assert done[1]["text_features"] == T
    resumed = build(folder)
    resumed.verify()
    assert resumed.sha256 == build(tmp_path / "other").sha256
    assert not (tmp_path / "bank.partial").exists()


def test_a_partial_build_of_another_configuration_is_refused(tmp_path: Path) -> None:
    writer = BankWriter(tmp_path / "bank", SHAPES, {"encoder": "a"})
    writer.write("image_coarse", 0, content()["image_coarse"][:BATCH])
    with pytest.raises(BankError, match="unfinished build with another configuration"):
        BankWriter(tmp_path / "bank", SHAPES, {"encoder": "b"})
    with pytest.raises(BankError, match="another configuration"):
        BankWriter(tmp_path / "bank", SHAPES | {"image_coarse": ((N + 1, D), "f4")}, {})
    again = BankWriter(tmp_path / "bank", SHAPES, {"encoder": "a"})
    assert again.done("image_coarse") == BATCH
    fresh = BankWriter(tmp_path / "bank", SHAPES, {"encoder": "b"}, restart=True)
    assert fresh.done("image_coarse") == 0


def test_a_partial_folder_without_progress_is_started_anew(tmp_path: Path) -> None:
    (tmp_path / "bank.partial").mkdir()
    (tmp_path / "bank.partial" / "rubbish").write_text("x")
    build(tmp_path / "bank").verify()
    assert not (tmp_path / "bank" / "rubbish").exists()


def test_damaged_progress_is_refused_not_trusted(tmp_path: Path) -> None:
    BankWriter(tmp_path / "bank", SHAPES, {})
    (tmp_path / "bank.partial" / "progress.json").write_text("{")
    with pytest.raises(BankError, match="restart=True"):
        BankWriter(tmp_path / "bank", SHAPES, {})


def test_finish_wants_every_row(tmp_path: Path) -> None:
    writer = BankWriter(tmp_path / "bank", SHAPES, {})
    writer.write("image_coarse", 0, content()["image_coarse"])
    with pytest.raises(BankError, match="text_features is finished up to row 0 of 40"):
        writer.finish(positives=POSITIVES, splits=SPLITS)


@pytest.mark.parametrize(
    ("name", "start", "rows", "message"),
    [
        ("image_coarse", 4, np.ones((4, D)), "go on there, not at 4"),
        ("image_coarse", 0, np.ones((4, D + 1)), "give rows that fit"),
        ("image_coarse", 0, np.ones((N + 1, D)), "give rows that fit"),
        ("image_coarse", 0, np.full((4, D), np.nan), "NaN or infinity in row 0"),
        ("image_corse", 0, np.ones((4, D)), "Did you mean 'image_coarse'"),
    ],
)
def test_wrong_batches_are_one_clear_line(
    tmp_path: Path, name: str, start: int, rows: np.ndarray, message: str
) -> None:
    writer = BankWriter(tmp_path / "bank", SHAPES, {})
    with pytest.raises(DSAError, match=message):
        writer.write(name, start, rows)
    assert writer.done("image_coarse") == 0


def test_a_batch_may_be_written_again(tmp_path: Path) -> None:
    writer = BankWriter(tmp_path / "bank", SHAPES, {})
    rows = content()["image_coarse"]
    writer.write("image_coarse", 0, rows[:8])
    writer.write("image_coarse", 0, rows[:4])
    assert writer.done("image_coarse") == 8


def test_finish_checks_what_was_written(tmp_path: Path) -> None:
    folder = tmp_path / "bank"
    writer = BankWriter(folder, SHAPES, {})
    for name, rows in content().items():
        writer.write(name, 0, rows if name != "region_counts" else np.full(N, R, np.int16))
    with pytest.raises(BankError, match="image_regions has a vector whose length is not 1"):
        writer.finish(positives=POSITIVES, splits=SPLITS)
    assert not folder.exists()


def test_an_existing_bank_is_not_overwritten(tmp_path: Path) -> None:
    build(tmp_path / "bank")
    with pytest.raises(BankError, match="exists already"):
        BankWriter(tmp_path / "bank", SHAPES, {}, restart=True)


def test_unknown_arrays_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DSAError, match=r"'image_corse'\. Did you mean 'image_coarse'"):
        BankWriter(tmp_path / "bank", {"image_corse": ((N, D), "f4")}, {})
    assert not list(tmp_path.iterdir())


def test_rows_of_several_arrays_are_recorded_together_with_a_note(tmp_path: Path) -> None:
    folder, arrays = tmp_path / "bank", content()
    writer = BankWriter(folder, SHAPES, {})
    assert writer.note is None
    names = ("image_coarse", "image_regions", "region_counts")
    writer.write_rows(0, {name: arrays[name][:6] for name in names}, {"seen": 7})
    again = BankWriter(folder, SHAPES, {})
    assert again.note == {"seen": 7}
    assert [again.done(name) for name in names] == [6, 6, 6]
    with pytest.raises(BankError, match="go on there, not at 8"):
        again.write_rows(8, {name: arrays[name][8:] for name in names}, {"seen": 9})
    assert BankWriter(folder, SHAPES, {}).note == {"seen": 7}


def test_arrays_shrink_to_what_came(tmp_path: Path) -> None:
    arrays = content()
    writer = BankWriter(tmp_path / "bank", SHAPES, {})
    for name, rows in arrays.items():
        kept = rows[:30] if name == "text_features" else rows[:10]
        writer.write(name, 0, kept)
        with pytest.raises(BankError, match="cannot be cut"):
            writer.shrink(name, len(kept) - 1)
        writer.shrink(name, len(kept))
        writer.shrink(name, len(kept))
    again = BankWriter(tmp_path / "bank", SHAPES, {})  # as planned, not as it became
    bank = again.finish(positives=POSITIVES[:30] % 10, splits=SPLITS[:10])
    bank.verify()
    whole = FeatureBank.from_arrays(
        arrays["text_features"][:30],
        arrays["image_coarse"][:10],
        regions=arrays["image_regions"][:10],
        positives=POSITIVES[:30] % 10,
        splits=SPLITS[:10],
    )
    np.testing.assert_array_equal(bank.text_features, whole.text_features)
    name = "text_features"
    assert bank.manifest["arrays"][name]["sha256"] == whole.manifest["arrays"][name]["sha256"]
