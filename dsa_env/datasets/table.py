"""A plain table of images and captions: CSV, JSON lines, or a JSON list.

Expected: a file with the columns `image` and `caption`, and if there are any `split`, `kind` and
`facts`; the root is the file, or a folder that holds one such file. Image paths are relative to the
file's folder. An image may have several rows. In CSV, facts are parted by semicolons; in JSON they
are a list, and a caption may be a list of captions, its facts then a list of lists.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dsa_env.datasets import Caption, Dataset
from dsa_env.datasets import problems as kinds
from dsa_env.datasets.assembly import clean
from dsa_env.datasets.json_stream import stream
from dsa_env.datasets.problems import Problems
from dsa_env.datasets.rows import Row, from_rows
from dsa_env.datasets.splitting import split_name
from dsa_env.errors import DSAError

if TYPE_CHECKING:
    from dsa_env.datasets.registry import ReadOptions

SUFFIXES = (".csv", ".tsv", ".jsonl", ".json")
IMAGE_COLUMNS = ("image", "file_name", "filename", "image_path", "path")
CAPTION_COLUMNS = ("caption", "captions", "text", "sentence", "sentences", "raw")

Record = tuple[str, Mapping[str, Any]]  # where it stands, and its fields


def read(root: Path, options: ReadOptions) -> Dataset:
    """Reads a table as `dsa_env.datasets.registry.read_dataset` asks for it.

    Raises:
        DSAError: if there is no such file, a column is missing, or the data has problems that are
            fatal.
    """
    path = find_table(root)
    problems = Problems(options.on_bad)
    rows = read_rows(path, options.images or path.parent, options, problems)
    return from_rows("table", path.parent, rows, options, problems, {"file": path.name})


def find_table(root: Path) -> Path:
    """The table that a root means: itself, or the one table in it.

    Raises:
        DSAError: if there is none, or several.
    """
    if root.is_file():
        if root.suffix.lower() not in SUFFIXES:
            raise DSAError(f"{root} is no table; name a file that ends in {', '.join(SUFFIXES)}.")
        return root
    tables = sorted(file for file in root.iterdir() if file.suffix.lower() in SUFFIXES)
    if len(tables) != 1:
        held = ", ".join(file.name for file in tables[:9]) or "none"
        raise DSAError(
            f"{root} should hold one table that ends in {', '.join(SUFFIXES)}; it holds {held}: "
            "name the file itself with --root."
        )
    return tables[0]


def read_rows(
    path: Path, folder: Path, options: ReadOptions, problems: Problems, *, lists: bool = False
) -> Iterator[Row]:
    """The rows of a table.

    Args:
        path: the table.
        folder: what its image paths are relative to.
        options: names of the columns, where they are not the usual ones.
        problems: where rows that cannot be used are reported.
        lists: whether a text that is a JSON list in brackets is a list of captions.

    Raises:
        DSAError: if the file cannot be read, a column is missing, or a bad row is fatal.
    """
    names: Columns | None = None
    for where, record in records(path, problems):
        if names is None:
            names = Columns(record, str(path), options.image_column, options.caption_column)
        row = names.row(where, record, folder, problems, lists=lists)
        if row is not None:
            yield row
    if names is None:
        raise DSAError(f"{path} has no rows that can be used; it should be a table of captions.")


def records(path: Path, problems: Problems) -> Iterator[Record]:
    """The records of a CSV, TSV, JSON lines or JSON file; reports those that are broken.

    Raises:
        DSAError: if the file cannot be read, or a broken record is fatal.
    """
    if path.suffix.lower() == ".json":
        for number, record in enumerate(stream(path, "item", "a JSON list of records")):
            yield from _record(f"record {number} of {path.name}", record, problems)
        return
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            if path.suffix.lower() == ".jsonl":
                yield from _json_lines(file, path, problems)
            else:
                delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
                reader = csv.DictReader(file, delimiter=delimiter, strict=True)
                yield from _csv(reader, path, problems)
    except OSError as error:
        raise DSAError(f"{path} cannot be read ({error.strerror}); check the path.") from error
    except UnicodeDecodeError as error:
        raise DSAError(f"{path} is not UTF-8 text ({error.reason}); save it as UTF-8.") from error


def _json_lines(file: Iterator[str], path: Path, problems: Problems) -> Iterator[Record]:
    for number, line in enumerate(file, 1):
        where = f"line {number} of {path.name}"
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except ValueError as error:
            problems.report(kinds.BAD_RECORD, where, f"no JSON: {error}")
            continue
        yield from _record(where, record, problems)


def _record(where: str, record: Any, problems: Problems) -> Iterator[Record]:
    if isinstance(record, dict):
        yield where, record
    else:
        problems.report(kinds.BAD_RECORD, where, "no JSON object")


def _csv(reader: csv.DictReader[str], path: Path, problems: Problems) -> Iterator[Record]:
    reader.fieldnames = [name.strip() for name in reader.fieldnames or ()]
    while True:
        try:
            record = next(reader, None)
        except csv.Error as error:
            raise DSAError(
                f"{path} is no CSV at line {reader.reader.line_num} ({error}); check its quotes."
            ) from error
        if record is None:
            return
        where = f"line {reader.line_num} of {path.name}"
        if None in record or None in record.values():
            detail = "more or fewer fields than the header; put quotes around captions with commas"
            problems.report(kinds.BAD_RECORD, where, detail)
        else:
            yield where, record


class Columns:
    """Which columns of a table hold what.

    Args:
        found: a record, or the columns' names.
        where: what it is a table of, for errors.
        image: the image column's name; None for the first of `IMAGE_COLUMNS` that is there.
        caption: likewise, of `CAPTION_COLUMNS`.

    Raises:
        DSAError: naming the columns that are there, when one of the two is missing.
    """

    def __init__(
        self,
        found: Sequence[str] | Mapping[str, Any],
        where: str,
        image: str | None = None,
        caption: str | None = None,
    ) -> None:
        self.image = _column(found, where, image, IMAGE_COLUMNS, "image")
        self.caption = _column(found, where, caption, CAPTION_COLUMNS, "caption")

    def row(
        self,
        where: str,
        record: Mapping[str, Any],
        folder: Path,
        problems: Problems,
        *,
        lists: bool = False,
    ) -> Row | None:
        """A record's row; None, reported, where it cannot be used."""
        name, texts = record.get(self.image), record.get(self.caption)
        if not isinstance(name, str) or not name.strip():
            problems.report(kinds.BAD_RECORD, where, f"no path under {self.image!r}")
            return None
        if lists and isinstance(texts, str) and texts.lstrip().startswith("["):
            texts = _listed(texts)
        facts = _facts(record.get("facts"), several=isinstance(texts, list))
        texts = texts if isinstance(texts, list) else [texts]
        if facts is None or (facts and len(facts) != len(texts)):
            problems.report(kinds.BAD_RECORD, where, "facts are no texts, or not one list each")
            return None
        kind = clean(record.get("kind")) or "caption"
        captions = (
            (where, Caption(clean(text), kind, facts[n] if facts else ()))
            for n, text in enumerate(texts)
        )
        split = clean(record.get("split"))
        return Row(
            folder / name.strip(),
            tuple(captions),
            split_name(split, where) if split else "",
            record.get("facts") is not None,
        )


def _column(
    found: Sequence[str] | Mapping[str, Any],
    where: str,
    asked: str | None,
    usual: Sequence[str],
    what: str,
) -> str:
    names = (asked,) if asked else usual
    column = next((name for name in names if name in found), None)
    if column is None:
        listed = ", ".join(map(str, found)) or "none"
        raise DSAError(
            f"{where} has no column {' or '.join(map(repr, names[:2]))}; its columns are {listed}: "
            f"name the one to use with --{what}-column."
        )
    return column


def _listed(text: str) -> Any:
    """The list that a cell such as '["a dog", "a cat"]' means, or the cell itself."""
    try:
        found = json.loads(text)
    except ValueError:
        return text
    return found if isinstance(found, list) else text


def _facts(told: Any, *, several: bool) -> list[tuple[str, ...]] | None:
    """The facts of each caption; [] for none given, None for what are no facts."""
    if told is None:
        return []
    if isinstance(told, str):
        told = told.split(";")
    if not isinstance(told, list):
        return None
    groups = told if several else [told]
    if not all(isinstance(part, list) and all(isinstance(f, str) for f in part) for part in groups):
        return None
    return [tuple(dict.fromkeys(filter(None, map(clean, part)))) for part in groups]
