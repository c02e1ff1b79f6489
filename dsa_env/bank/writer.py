"""Writing feature banks: in one go from arrays, or in batches that survive being killed."""

from __future__ import annotations

import hashlib
import json
import secrets
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from dsa_env.bank.arrays import normalise_rows
from dsa_env.bank.assembly import (
    Details,
    Features,
    Lists,
    Manifest,
    put_details,
    put_features,
)
from dsa_env.bank.checks import check_all
from dsa_env.bank.format import ARRAYS, MANIFEST, Array, describe_array, release
from dsa_env.bank.store import FolderStore, create_array, reopen, shorten
from dsa_env.errors import BankError, DSAError, unknown
from dsa_env.files import PathLike, read_json, sha256_file, write_json

if TYPE_CHECKING:
    from dsa_env.bank import FeatureBank


def write_bank(folder: Path, features: Features, details: Details) -> Path:
    """Write a bank to `folder`, whole or not at all; memory stays flat.

    Raises:
        BankError: `folder` exists, or what was given makes no bank.
    """
    refuse_existing(folder)
    temporary = folder.with_name(f".{folder.name}.{secrets.token_hex(6)}.tmp")
    temporary.mkdir(parents=True)
    try:
        store = FolderStore(temporary)
        put_features(store, features)
        manifest, lists = put_details(store, details)
        seal(store, manifest, lists)
        temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return folder


class BankWriter:
    """Writes a large bank batch by batch into ``<folder>.partial``, renamed when complete.

    Every finished batch is recorded, so that a killed build continues where it was: make the
    writer again with the same arguments, ask `done` where to go on, and write the rest.

    Args:
        folder: where the bank will lie; must not exist yet.
        shapes: the arrays written in batches, name -> (shape, dtype).
        config: everything that the content depends on (JSON values). A partial build made with
            another configuration is refused.
        restart: throw a partial build away and start anew.

    Attributes:
        note: JSON values kept with the last batch of `write_rows`; None before the first.

    Raises:
        BankError: `folder` exists, or the partial build there has another configuration.
    """

    def __init__(
        self,
        folder: PathLike,
        shapes: Mapping[str, tuple[Sequence[int], DTypeLike]],
        config: Mapping[str, Any],
        *,
        restart: bool = False,
    ) -> None:
        self.folder = Path(folder).absolute()
        self.partial = self.folder.with_name(self.folder.name + ".partial")
        self._progress = self.partial / "progress.json"
        refuse_existing(self.folder)
        for name in shapes:
            if name not in ARRAYS:
                raise unknown("array", name, ARRAYS)
        layout = {name: [list(s), np.dtype(d).name] for name, (s, d) in shapes.items()}
        identity = json.dumps({"config": config, "arrays": layout}, sort_keys=True)
        self._identity = hashlib.sha256(identity.encode()).hexdigest()
        self.note: Any = None
        if restart or not self._progress.is_file():
            self._start(shapes)
        self._done = self._read_progress()
        self._arrays: dict[str, Array] = {
            name: reopen(self.partial / f"{name}.npy") for name in shapes
        }

    def done(self, name: str) -> int:
        """How many rows of an array are finished; go on from there."""
        if name not in self._done:
            raise unknown("array", name, self._done)
        return self._done[name]

    def write(self, name: str, start: int, rows: ArrayLike) -> None:
        """Write rows [start, start + n) of an array and record them as finished.

        Features may come in any float dtype and length: they are normalised on arrival, and
        all-zero rows of ``image_regions`` are padding. Batches come in order; rows that are
        finished already may be written again.

        Raises:
            BankError: the rows do not fit, leave a gap, or hold NaN.
        """
        self._put(name, start, rows)
        self._record()

    def write_rows(self, start: int, rows: Mapping[str, ArrayLike], note: Any = None) -> None:
        """Write the same rows of several arrays, and record them and `note` in one go.

        A build that is killed has all of them or none. Args and errors are those of `write`.
        """
        for name, part in rows.items():
            self._put(name, start, part)
        self.note = note
        self._record()

    def shrink(self, name: str, rows: int) -> None:
        """Cut an array to its first `rows` rows, where fewer came than were planned for.

        Raises:
            BankError: more rows are finished already, or there are not so many.
        """
        if not self.done(name) <= rows <= len(self._arrays[name]):
            raise BankError(
                f"{name} has {self.done(name)} of {len(self._arrays[name])} rows finished; it "
                f"cannot be cut to {rows}."
            )
        if rows < len(self._arrays[name]):
            self._arrays[name] = shorten(self.partial / f"{name}.npy", self._arrays[name], rows)

    def _put(self, name: str, start: int, rows: ArrayLike) -> None:
        finished, target, batch = self.done(name), self._arrays[name], np.asarray(rows)
        stop = start + len(batch)
        if batch.shape[1:] != target.shape[1:] or stop > len(target):
            raise BankError(
                f"Rows {start}..{stop} of {name} have shape {list(batch.shape)}, but the array is "
                f"{list(target.shape)}; give rows that fit."
            )
        if start > finished:
            raise BankError(f"{name} is finished up to row {finished}; go on there, not at {start}")
        if ARRAYS[name].kind == "unit":
            padding = np.any(batch != 0, axis=-1) if batch.ndim == 3 else None
            batch = normalise_rows(batch, name, start, padding)
        target[start:stop] = batch
        if isinstance(target, np.memmap):
            target.flush()
        self._done[name] = max(stop, finished)
        release(target)

    def finish(self, **details: Any) -> FeatureBank:
        """Add what is small, check everything, rename the folder and open the bank.

        Args:
            **details: positives, splits, kinds, facts, severity, texts, image_files, fine_variant,
                temperature, gallery_size, seed, provenance as in `FeatureBank.from_arrays`, and
                image_root, the folder that image_files are relative to.

        Raises:
            BankError: an array is not finished, or what was written makes no valid bank.
        """
        for name, array in self._arrays.items():
            if self.done(name) < len(array):
                raise BankError(
                    f"{name} is finished up to row {self.done(name)} of {len(array)}; write the "
                    "rest before finish()."
                )
        store = FolderStore(self.partial, self._arrays)
        manifest, lists = put_details(store, Details(**details))
        check_all(store.arrays, manifest)
        seal(store, manifest, lists)
        self.partial.rename(self.folder)
        (self.folder / self._progress.name).unlink()
        from dsa_env.bank import FeatureBank

        return FeatureBank.open(self.folder)

    def _start(self, shapes: Mapping[str, tuple[Sequence[int], DTypeLike]]) -> None:
        shutil.rmtree(self.partial, ignore_errors=True)
        self.partial.mkdir(parents=True)
        for name, (shape, dtype) in shapes.items():
            create_array(self.partial / f"{name}.npy", tuple(shape), dtype)
        self._done = dict.fromkeys(shapes, 0)
        self._record()

    def _record(self) -> None:
        progress = {"identity": self._identity, "done": self._done, "note": self.note}
        write_json(self._progress, progress)

    def _read_progress(self) -> dict[str, int]:
        try:
            progress = read_json(self._progress)
            identity, done = progress["identity"], dict(progress["done"])
            self.note = progress["note"]
        except (DSAError, KeyError, TypeError, ValueError):
            identity, done = None, {}
        if identity != self._identity:
            raise BankError(
                f"{self.partial} is an unfinished build with another configuration; finish that "
                "one with its own arguments, delete the folder, or pass restart=True."
            )
        return done


def seal(store: FolderStore, manifest: Manifest, lists: Lists) -> None:
    """Write the lists, hash every file and write the manifest last."""
    entries = {}
    for name, array in store.arrays.items():
        if isinstance(array, np.memmap):
            array.flush()
        entries[name] = describe_array(name, array, sha256_file(store.folder / f"{name}.npy"))
    manifest["arrays"] = entries
    manifest["lists"] = {}
    for name, values in lists.items():
        file = store.folder / f"{name}.json"
        write_json(file, values)
        manifest["lists"][name] = {"file": file.name, "sha256": sha256_file(file)}
    write_json(store.folder / MANIFEST, manifest)


def refuse_existing(folder: Path) -> None:
    """`BankError` when something lies where a bank is to be written."""
    if folder.exists():
        raise BankError(f"{folder} exists already; delete it or choose another folder.")
