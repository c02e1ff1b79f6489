"""A feature bank from files of embeddings that exist already, and a table of their pairs."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dsa_env.bank import FeatureBank
from dsa_env.bank.arrays import normalise_rows
from dsa_env.bank.format import SPLITS, Array, row_blocks
from dsa_env.errors import BankError, DSAError, unknown

TEMPERATURE = 0.01
"""Of the softmax over prototypes: what CLIP was trained with."""


@dataclass(frozen=True)
class ArrayFiles:
    """The files a bank is made from.

    Attributes:
        text: [T, D] features of the texts, ``.npy``.
        image: [N, D] scene-level features of the images.
        pairs: ``.csv`` of text row, image row and, optionally, the image's split.
        prototypes: [K, D] text features of class names: the fine view of an image is their mean,
            weighted by how much the image looks like each.
        fine: [N, D] object-level features of the images.
        regions: [N, R, D] features of each image's regions, zero rows at the end for fewer.
    """

    text: Path
    image: Path
    pairs: Path
    prototypes: Path | None = None
    fine: Path | None = None
    regions: Path | None = None


@dataclass(frozen=True)
class Pairs:
    """Which images belong to which text, and the images' splits.

    Attributes:
        positives: for each text the rows of its images, in the table's order.
        splits: for each image the name of its split; None where the table has no such column.
    """

    positives: list[list[int]]
    splits: list[str] | None


def bank_from_files(
    files: ArrayFiles,
    out: Path,
    *,
    temperature: float = TEMPERATURE,
    seed: int = 0,
    command: str | None = None,
    **settings: Any,
) -> FeatureBank:
    """Makes a bank from files of embeddings; memory stays flat.

    Args:
        files: the embeddings, the pairs, and one of the three sources of fine features.
        out: folder of the bank; must not exist.
        temperature: of the softmax over prototypes, above 0.
        seed: of the splits, where the table has none: 70/15/15 by image.
        command: the command line that asked for it, kept in the manifest.
        **settings: fine_variant and gallery_size as in `FeatureBank.from_arrays`.

    Raises:
        DSAError: one line that names the file and the row.
    """
    sources = {
        "--fine-from": files.prototypes, "--fine-array": files.fine,
        "--regions-array": files.regions,
    }  # fmt: skip
    given = [name for name, file in sources.items() if file is not None]
    if len(given) != 1:
        found = " and ".join(given) or "none"
        raise DSAError(f"Give one of {', '.join(sources)} for the fine view, not {found}.")
    if not 0 < temperature < np.inf:
        raise DSAError(f"--prototype-temperature must be above 0, not {temperature}.")
    text, image = read_array(files.text), read_array(files.image)
    _same_width(files.image, image, files.text, text)
    pairs = read_pairs(files.pairs, len(text), len(image))
    fine = regions = None
    if files.fine is not None:
        fine = read_array(files.fine)
        _same_rows(files.fine, fine, files.image, image)
        _same_width(files.fine, fine, files.text, text)
    if files.regions is not None:
        regions = read_array(files.regions, axes=3)
        _same_rows(files.regions, regions, files.image, image)
        _same_width(files.regions, regions, files.text, text)
    if out.exists():
        raise BankError(f"{out} exists already; delete it or choose another folder.")
    with _workspace(out) as workspace:
        if files.prototypes is not None:
            prototypes = read_array(files.prototypes)
            _same_width(files.prototypes, prototypes, files.text, text)
            fine = fine_from_prototypes(image, prototypes, temperature, workspace / "fine.npy")
        named = {name: str(file) for name, file in vars(files).items() if file is not None}
        extra = {"prototype_temperature": temperature} if files.prototypes else {}
        return FeatureBank.from_arrays(
            text,
            image,
            fine,
            regions=regions,
            positives=pairs.positives,
            splits=pairs.splits,
            seed=seed,
            path=out,
            provenance={"arrays": named, **extra, "command": command},
            **settings,
        )


def read_array(file: Path, axes: int = 2) -> Array:
    """Maps a ``.npy`` file of features and looks at every row.

    Args:
        file: the file.
        axes: 2 for [rows, features], 3 for [rows, regions, features].

    Raises:
        DSAError: no readable ``.npy`` file, another shape or dtype, NaN, or a row of zeros.
    """
    try:
        array: Array = np.load(file, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise DSAError(f"{file} does not exist; give a .npy file of embeddings.") from None
    except (OSError, ValueError, EOFError) as error:
        reason = str(error).rstrip(".")
        if "bject" in reason:
            reason = "it holds pickled objects, which are never loaded"
        raise DSAError(
            f"{file} is not a .npy file of embeddings ({reason}); save one with numpy.save."
        ) from error
    if not isinstance(array, np.ndarray) or array.ndim != axes or array.size == 0:
        wanted = "[rows, features]" if axes == 2 else "[images, regions, features]"
        raise DSAError(f"{file} has shape {list(np.shape(array))}; it must be {wanted}.")
    if array.dtype.kind not in "fiu":
        raise DSAError(f"{file} is {array.dtype.name}; give floats.")
    for block in row_blocks(array):
        used = np.any(np.asarray(array[block]) != 0, axis=-1) if axes == 3 else None
        normalise_rows(array[block], str(file), block.start, used)
    return array


def read_pairs(file: Path, texts: int, images: int) -> Pairs:
    """Reads a table of text row, image row and, optionally, split; rows count from 0.

    A first line of words is a header. A line whose text is empty gives an image without a text its
    split.

    Args:
        file: comma-separated values.
        texts: how many rows of texts there are.
        images: how many rows of images there are.

    Raises:
        DSAError: naming the file and the line.
    """
    positives: list[list[int]] = [[] for _ in range(texts)]
    splits: dict[int, str] = {}
    columns = 0
    for line, row in _lines(file):
        columns = columns or len(row)
        if len(row) != columns or columns not in (2, 3):
            wanted = columns if columns in (2, 3) else "2 or 3"
            raise DSAError(
                f"{file}, line {line} has {len(row)} columns, not {wanted}; give "
                "text row, image row and, if you like, split."
            )
        image = _row(file, line, "image", row[1], images)
        if row[0] or columns == 2:
            text = _row(file, line, "text", row[0], texts)
            if image not in positives[text]:
                positives[text].append(image)
        if columns == 3 and splits.setdefault(image, row[2]) != row[2]:
            raise DSAError(
                f"{file}, line {line} puts image row {image} into {row[2]!r}, but an earlier line "
                f"into {splits[image]!r}; an image has one split."
            )
        if columns == 3 and row[2] not in SPLITS:
            raise DSAError(f"{file}, line {line}: {unknown('split', row[2], SPLITS)}")
    alone = next((text for text, row in enumerate(positives) if not row), None)
    if alone is not None:
        raise DSAError(f"{file} pairs text row {alone} with no image; add a line or drop the text.")
    if columns == 2:
        return Pairs(positives, None)
    left = next((image for image in range(images) if image not in splits), None)
    if left is not None:
        raise DSAError(
            f"{file} gives image row {left} no split; add the line ',{left},SPLIT' for an image "
            "without a text."
        )
    return Pairs(positives, [splits[image] for image in range(images)])


def _lines(file: Path) -> Iterator[tuple[int, list[str]]]:
    """The lines of a table with their numbers, without header and empty lines."""
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.reader(stream)
            for row in reader:
                cells = [cell.strip() for cell in row]
                header = reader.line_num == 1 and len(cells) > 1 and cells[1].isidentifier()
                if any(cells) and not header:
                    yield reader.line_num, cells
    except FileNotFoundError:
        raise DSAError(f"{file} does not exist; give a .csv of text row, image row.") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise DSAError(f"{file} is no table of comma-separated values ({error}).") from error


def _row(file: Path, line: int, what: str, cell: str, rows: int) -> int:
    try:
        number = int(cell)
    except ValueError:
        raise DSAError(
            f"{file}, line {line}: {what} row {cell!r} is no whole number; rows count from 0."
        ) from None
    if not 0 <= number < rows:
        raise DSAError(
            f"{file}, line {line}: {what} row {number} lies outside 0..{rows - 1}; rows count "
            "from 0."
        )
    return number


def fine_from_prototypes(
    images: Array, prototypes: Array, temperature: float = TEMPERATURE, file: Path | None = None
) -> NDArray[np.float32]:
    """Fine features from a vocabulary of classes: what an image is seen to hold, as text features.

    fine_i = sum_k softmax_k(cos(image_i, prototype_k) / temperature) prototype_k, of unit rows.

    Args:
        images: [N, D] features of images.
        prototypes: [K, D] text features of class names.
        temperature: of the softmax; small ones take the nearest class alone.
        file: ``.npy`` to write the result to, mapped; None keeps it in memory.

    Returns:
        [N, D] float32 unit rows; the image's own features where the mean cancels out.
    """
    classes = normalise_rows(prototypes, "prototypes")
    shape = (len(images), classes.shape[1])
    fine: NDArray[np.float32] = (
        np.empty(shape, np.float32)
        if file is None
        else np.lib.format.open_memmap(file, mode="w+", dtype=np.float32, shape=shape)
    )
    width = max(images.shape[1], len(classes))
    step = max(1, 2**21 // width)
    for start in range(0, len(images), step):
        rows = normalise_rows(images[start : start + step], "images", start)
        logits = rows @ classes.T / temperature
        weights = np.exp(logits - logits.max(axis=1, keepdims=True))
        mean = weights @ classes / weights.sum(axis=1, keepdims=True)
        length = np.linalg.norm(mean, axis=1, keepdims=True)
        fine[start : start + step] = np.where(length > 1e-6, mean / np.maximum(length, 1e-6), rows)
    return fine


def _same_width(file: Path, array: Array, other: Path, wanted: Array) -> None:
    if array.shape[-1] != wanted.shape[-1]:
        raise DSAError(
            f"{file} has {array.shape[-1]} features a row, but {other} has {wanted.shape[-1]}; "
            "they must come from one space."
        )


def _same_rows(file: Path, array: Array, other: Path, wanted: Array) -> None:
    if len(array) != len(wanted):
        raise DSAError(
            f"{file} has {len(array)} rows, but {other} has {len(wanted)}; give one row an image."
        )


@contextmanager
def _workspace(out: Path) -> Iterator[Path]:
    """A folder beside the bank for what is needed on the way."""
    folder = out.absolute().with_name(f".{out.name}.arrays.tmp")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
