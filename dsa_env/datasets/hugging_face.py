"""A local folder of the Hugging Face library `datasets`: what it saved to disk, or Parquet files.

Expected: a folder written by `save_to_disk` (of a `Dataset` or a `DatasetDict`), or a folder of
`.parquet` files whose splits stand in their names (`train-00000-of-00004.parquet`) or folders. The
image column is an `Image` feature or the path of a file, the caption column a text or a list of
texts; columns `split`, `kind` and `facts` are used where they are there.

Images that lie inside the files are written out once, named by their content, so that the same
image is one picture however often it occurs. Nothing is downloaded and no code of the data set is
run.
"""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Collection, Iterable, Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dsa_env.cache import cache_folder
from dsa_env.datasets import Dataset
from dsa_env.datasets.problems import Problems
from dsa_env.datasets.rows import Row, from_rows
from dsa_env.datasets.splitting import SPLIT_WORDS, split_name
from dsa_env.datasets.table import CAPTION_COLUMNS, IMAGE_COLUMNS, Columns
from dsa_env.errors import DSAError

if TYPE_CHECKING:
    from dsa_env.datasets.registry import ReadOptions

_SUFFIXES = {
    b"\x89PNG": ".png",
    b"\xff\xd8\xff": ".jpg",
    b"GIF8": ".gif",
    b"RIFF": ".webp",
    b"BM": ".bmp",
    b"II*\x00": ".tif",
    b"MM\x00*": ".tif",
}
_EXTRA_COLUMNS = ("split", "kind", "facts")


def read(root: Path, options: ReadOptions) -> Dataset:
    """Reads a folder of `datasets` as `dsa_env.datasets.registry.read_dataset` asks for it.

    Raises:
        DSAError: if `datasets` is not installed, the folder is not one of its, no column holds
            images or captions, or the data has problems that are fatal.
    """
    problems = Problems(options.on_bad)
    try:
        tables = _load(root)
    except ModuleNotFoundError as error:
        if error.name != "datasets":
            raise
        raise DSAError(
            "hugging_face needs the library datasets: pip install 'dsa-env[datasets]'."
        ) from None
    place = options.extracted or _default_folder(root)
    inside = False
    rows: list[Row] = []
    for split, table in tables.items():
        reader = _Reader(split, table, str(root), options)
        inside |= reader.inside
        folder = place if reader.inside else options.images or root
        rows += reader.rows(folder, options.images or root, problems)
    base = place if inside else options.images or root
    provenance: dict[str, object] = {"folder": str(root), "images": "in files of their own"}
    if inside:
        provenance["images"] = f"written out to {place}"
    return from_rows("hugging_face", base, rows, options, problems, provenance)


def _default_folder(root: Path) -> Path:
    name = sha256(str(root.resolve()).encode()).hexdigest()[:16]
    return cache_folder() / "hugging_face" / name


def _load(root: Path) -> dict[str, Any]:
    """The tables of a folder by its own word for the split, "" where it has none."""
    import datasets

    single, several = root / "state.json", root / "dataset_dict.json"
    if root.is_dir() and (single.is_file() or several.is_file()):
        try:
            found = datasets.load_from_disk(str(root))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise _broken(root, error) from error
        return dict(found) if isinstance(found, datasets.DatasetDict) else {"": found}
    files = [root] if root.suffix == ".parquet" else sorted(root.rglob("*.parquet"))
    if not files:
        raise DSAError(
            f"{root} holds neither what datasets' save_to_disk writes (dataset_info.json, "
            "state.json) nor .parquet files; download and save the data set there first."
        )
    parts: dict[str, list[str]] = {}
    for file in files:
        parts.setdefault(_split_of(file.relative_to(root.parent)), []).append(str(file))
    try:
        # not load_dataset, which counts its calls on a server
        return {
            split: datasets.Dataset.from_parquet(names, streaming=True)
            for split, names in parts.items()
        }
    except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise _broken(root, error) from error


def _broken(root: Path, error: Exception) -> DSAError:
    said = " ".join(str(error).split())[:200]
    return DSAError(f"{root} cannot be read by datasets ({said}); save it there again.")


def _split_of(file: Path) -> str:
    """The split that a Parquet file's name or folder tells; "" for none."""
    for part in (re.split(r"[-_.]", file.name)[0], *reversed(file.parts[1:-1])):
        if part.lower() in SPLIT_WORDS:
            return part
    return ""


class _Reader:
    """Reads one table of the library `datasets`.

    Args:
        split: its split in its own words, "" for none.
        table: a `Dataset` or `IterableDataset`.
        where: what it is a table of, for errors.
        options: names of the columns, where they are not the usual ones.
    """

    def __init__(self, split: str, table: Any, where: str, options: ReadOptions) -> None:
        import datasets

        features: Mapping[str, Any] = table.features
        images = [name for name, kind in features.items() if isinstance(kind, datasets.Image)]
        texts = [name for name, kind in features.items() if _is_text(kind)]
        image = options.image_column or _first([*images, *IMAGE_COLUMNS], [*images, *texts])
        caption = options.caption_column or _first(CAPTION_COLUMNS, texts)
        for what, column, usable in (
            ("image", image, [*images, *texts]),
            ("caption", caption, texts),
        ):
            if column not in usable:
                there = ", ".join(f"{name} ({_kind(kind)})" for name, kind in features.items())
                raise DSAError(
                    f"{where} has no {what} column {column or ''!r} that can be used; its columns "
                    f"are {there}: name the one to use with --{what}-column."
                )
        self.columns = Columns(features, where, image, caption)
        self.inside = image in images
        self._where = f"{split} of {where}" if split else where
        self._split = split_name(split, where) if split else ""
        extra = [name for name in _EXTRA_COLUMNS if name in texts]
        self._own_split = "split" in extra
        self._table = table.select_columns(list(dict.fromkeys([image, caption, *extra])))
        if self.inside:
            self._table = self._table.cast_column(image, datasets.Image(decode=False))
        self._most = None if options.limit is None else options.limit / options.held_out_share

    def rows(self, folder: Path, root: Path, problems: Problems) -> Iterator[Row]:
        """The rows; images inside the table are written to `folder`, others are below `root`."""
        seen: set[Path] = set()
        for number, record in enumerate(self._records()):
            where = f"row {number} of {self._where}"
            if not self._own_split:
                record["split"] = self._split
            base = root
            if self.inside:
                base, record[self.columns.image] = self._image(record, folder, root)
            row = self.columns.row(where, record, base, problems)
            if row is None:
                continue
            yield row
            seen.add(row.file)
            if self._most is not None and not self._own_split and len(seen) > self._most:
                return

    def _records(self) -> Iterable[dict[str, Any]]:
        try:
            yield from self._table
        except (OSError, ValueError, RuntimeError) as error:
            raise _broken(Path(self._where), error) from error

    def _image(self, record: Mapping[str, Any], folder: Path, root: Path) -> tuple[Path, str]:
        """The folder and the name of an image's file, which is written if it is inside."""
        image = record[self.columns.image] or {}
        content, path = image.get("bytes"), image.get("path") or ""
        return (folder, write_once(folder, content)) if content else (root, path)


def write_once(folder: Path, content: bytes) -> str:
    """Writes an image's bytes to a file named by them, unless it is there; returns the name.

    Renamed into place, but not forced to the disk one by one: it can be written again.
    """
    suffix = next((end for start, end in _SUFFIXES.items() if content.startswith(start)), ".img")
    file = folder / f"{sha256(content).hexdigest()[:32]}{suffix}"
    if not file.exists() or file.stat().st_size != len(content):
        folder.mkdir(parents=True, exist_ok=True)
        unfinished = folder / f".{file.name}.{os.getpid()}.{secrets.token_hex(4)}.tmp"
        unfinished.write_bytes(content)
        unfinished.replace(file)
    return file.name


def _first(names: Iterable[str], usable: Collection[str]) -> str | None:
    return next((name for name in names if name in usable), None)


def _is_text(kind: Any) -> bool:
    """Whether a feature is a text or lists of texts."""
    inner = getattr(kind, "feature", kind[0] if isinstance(kind, list) and kind else None)
    if inner is not None:
        return _is_text(inner)
    return getattr(kind, "dtype", None) in ("string", "large_string", "string_view")


def _kind(kind: Any) -> str:
    return str(getattr(kind, "dtype", None) or type(kind).__name__)
