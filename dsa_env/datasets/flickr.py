"""Flickr30k and Flickr8k: Karpathy's split file, the official tables, and the CSV forms in use.

Expected in the root, the first that is there: `dataset_flickr30k.json` or `dataset_flickr8k.json`
(Karpathy, with splits); `results_20130124.token` or `Flickr8k.token.txt` (`name#number`, tab,
caption); `results.csv` (`image_name| comment_number| comment`); `flickr_annotations_30k.csv` or
another CSV whose captions are a column or a JSON list in one. The root may also be that file. The
images lie in `flickr30k-images` or another folder of `IMAGE_FOLDERS`.

The captions' facts are unknown: the data set annotates no objects.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from dsa_env.datasets import Caption, Dataset
from dsa_env.datasets import problems as kinds
from dsa_env.datasets.assembly import clean
from dsa_env.datasets.karpathy import find_karpathy, read_karpathy
from dsa_env.datasets.problems import Problems
from dsa_env.datasets.rows import Row, from_rows
from dsa_env.datasets.table import read_rows
from dsa_env.errors import DSAError

if TYPE_CHECKING:
    from dsa_env.datasets.registry import ReadOptions

KARPATHY_FILES = ("dataset_flickr30k.json", "dataset_flickr8k.json")
TOKEN_FILES = ("results_20130124.token", "Flickr30k.token.txt", "Flickr8k.token.txt")
TABLES = ("results.csv", "flickr_annotations_30k.csv", "captions.txt", "captions.csv")
IMAGE_FOLDERS = (
    "flickr30k-images",
    "flickr30k_images",
    "flickr30k_images/flickr30k_images",
    "Flicker8k_Dataset",
    "Flickr8k_Dataset",
    "Images",
    "images",
    "",
)
_NUMBER_FIRST = re.compile(r"\s*\d+\s+(\S.*)", re.DOTALL)


def read(root: Path, options: ReadOptions) -> Dataset:
    """Reads Flickr30k or 8k as `dsa_env.datasets.registry.read_dataset` asks for it.

    Raises:
        DSAError: if there is no file with captions or it is malformed, or the data has problems
            that are fatal.
    """
    path = options.karpathy or _captions_file(root)
    base = root if root.is_dir() else root.parent
    problems = Problems(options.on_bad)
    rows = list(_rows(path, options, problems))
    folder = options.images or _image_folder(base, rows)
    placed = (Row(folder / row.file, row.captions, row.split, row.facts_known) for row in rows)
    return from_rows("flickr30k", base, placed, options, problems, {"file": path.name})


def _captions_file(root: Path) -> Path:
    if root.is_file():
        return root
    for name in KARPATHY_FILES:
        if found := find_karpathy(root, name):
            return found
    for name in (*TOKEN_FILES, *TABLES):
        for folder in (root, root / "flickr30k_images"):
            if (folder / name).is_file():
                return folder / name
    others = sorted(root.glob("*.csv"))
    if len(others) == 1:
        return others[0]
    raise DSAError(
        f"{root} has no captions of Flickr30k; put {KARPATHY_FILES[0]}, {TOKEN_FILES[0]} or "
        f"{TABLES[0]} there, or name a file with --root."
    )


def _image_folder(base: Path, rows: list[Row]) -> Path:
    """The usual folder that holds the first listed images that are in any of them."""
    folders = [base / name for name in IMAGE_FOLDERS]
    for row in rows[:100]:
        for folder in folders:
            if (folder / row.file).is_file():
                return folder
    return next(folder for folder in folders if folder.is_dir())


def _rows(path: Path, options: ReadOptions, problems: Problems) -> Iterator[Row]:
    """Rows whose files are bare names."""
    if path.suffix.lower() == ".json":
        for image in read_karpathy(path, problems):
            told = tuple((where, Caption(text)) for where, text in image.sentences)
            yield Row(Path(image.folder) / image.name, told, image.split)
        return
    first = _first_line(path)
    if re.search(r"#\d+\t", first):
        yield from _token_rows(path, problems)
    elif "|" in first:
        yield from _bar_rows(path, problems)
    else:
        yield from read_rows(path, Path(), options, problems, lists=True)


def _lines(path: Path) -> Iterator[tuple[str, str]]:
    """Where each line that is not empty stands, and the line."""
    try:
        with path.open(encoding="utf-8-sig") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield f"line {number} of {path.name}", line.rstrip("\r\n")
    except OSError as error:
        raise DSAError(f"{path} cannot be read ({error.strerror}); check the path.") from error
    except UnicodeDecodeError as error:
        raise DSAError(f"{path} is not UTF-8 text ({error.reason}); save it as UTF-8.") from error


def _first_line(path: Path) -> str:
    line = next((line for _, line in _lines(path)), "")
    if not line:
        raise DSAError(f"{path} is empty; it should hold the captions of Flickr30k.")
    return line


def _token_rows(path: Path, problems: Problems) -> Iterator[Row]:
    for where, line in _lines(path):
        name, tab, text = line.partition("\t")
        name = name.rpartition("#")[0].strip()
        if tab and name:
            yield Row(Path(name), ((where, Caption(clean(text))),))
        else:
            problems.report(kinds.BAD_RECORD, where, "not name#number, tab, caption")


def _bar_rows(path: Path, problems: Problems) -> Iterator[Row]:
    """Rows of `image_name| comment_number| comment`.

    One line of the file in circulation lacks the second bar; its number and comment are told apart
    by the space between them.
    """
    for count, (where, line) in enumerate(_lines(path)):
        parts = [part.strip() for part in line.split("|", 2)]
        if count == 0 and parts[0] == "image_name":
            continue
        if len(parts) == 2 and (joined := _NUMBER_FIRST.fullmatch(parts[1])):
            parts = [parts[0], "", joined[1]]
        if len(parts) == 3 and parts[0]:
            yield Row(Path(parts[0]), ((where, Caption(clean(parts[2]))),))
        else:
            problems.report(kinds.BAD_RECORD, where, "not name| number| comment")
