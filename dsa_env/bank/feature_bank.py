"""The feature bank: frozen features of texts and images as memory-mapped, checked arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from dsa_env.bank.arrays import Rows
from dsa_env.bank.assembly import Details, Features, assemble
from dsa_env.bank.checks import check_all, check_layout, check_sample
from dsa_env.bank.format import (
    ARRAYS,
    MANIFEST,
    SPLITS,
    Array,
    data_hash,
    hash_array,
    open_array,
    read_manifest,
    unit_rows,
)
from dsa_env.bank.ragged import Ragged
from dsa_env.bank.writer import write_bank
from dsa_env.errors import BankError, DSAError, unknown
from dsa_env.files import PathLike, read_json, sha256_file


class FeatureBank:
    """Features of T texts and N images, who belongs to whom, and how the data is split.

    Make one with `FeatureBank.open` (a folder) or `FeatureBank.from_arrays` (one's own
    embeddings). A bank is immutable: a deep copy is the bank itself, and one that lies in a
    folder is pickled as its path. Arrays are float32 (float16 on disk is allowed) and read-only;
    features are unit vectors. What a bank does not have is None.

    Attributes:
        path: the bank's folder; None in memory.
        manifest: what ``bank.json`` holds: format, arrays with dtype, shape and sha256, settings,
            provenance.
        text_features: [T, D].
        image_coarse: [N, D], the scene-level view.
        image_regions: [N, R, D], the objects of each image, zero padded beyond `region_counts`
            ([N] int16). An image with no region uses its coarse features as fine ones.
        region_boxes: [N, R, 4] as (centre x, centre y, width, height) in [0, 1].
        image_fine: [N, D], the fine view where it is given per image instead of by regions.
        positives: text -> its image ids.
        image_split: [N] int8 codes into `splits`. text_split: [T], that of the text's positives.
        kinds: names of the kinds of texts. text_kind: [T] int8 codes into it.
        fact_features: [F, D]; text_facts: text -> facts it asserts; image_facts: image -> facts
            that hold; fact_kind: [F] int8 codes into `fact_kinds`.
        severity: [T, N] in [0, 1], the user's own severity of text t asserted of image n.
        fine: where fine features come from: "attended" (regions weighted by the query), "mean"
            (of the regions) or "given".
        temperature: of the attention's softmax over regions.
        gallery_size: a split's images are cut, in id order, into galleries of this many; a
            remainder smaller than half of it joins the last one. None: one gallery a split.
    """

    splits: tuple[str, ...] = SPLITS

    def __init__(
        self,
        manifest: Mapping[str, Any],
        arrays: Mapping[str, Array],
        lists: Mapping[str, list[str]] | None = None,
        path: Path | None = None,
    ) -> None:
        """Not for users: takes what `open` and `from_arrays` have checked."""
        self.path = path
        self.manifest: dict[str, Any] = dict(manifest)
        self._arrays = {name: _read_only(array) for name, array in arrays.items()}
        self._lists = dict(lists or {})
        self.sha256: str = data_hash(manifest)
        self.text_features = self._arrays["text_features"]
        self.image_coarse = self._arrays["image_coarse"]
        self.image_regions = self._arrays.get("image_regions")
        self.region_counts = self._arrays.get("region_counts")
        self.region_boxes = self._arrays.get("region_boxes")
        self.image_fine = self._arrays.get("image_fine")
        self.image_split = self._arrays["image_split"]
        self.text_split = self._arrays["text_split"]
        self.text_kind = self._arrays.get("text_kind")
        self.fact_features = self._arrays.get("fact_features")
        self.fact_kind = self._arrays.get("fact_kind")
        self.severity = self._arrays.get("severity")
        self.kinds: tuple[str, ...] = tuple(manifest.get("kinds", ()))
        self.fact_kinds: tuple[str, ...] = tuple(manifest.get("fact_kinds", ()))
        self.fine: str = manifest["fine"]
        self.temperature = float(manifest["temperature"])
        self.gallery_size: int | None = manifest.get("gallery_size")

    @property
    def n_texts(self) -> int:
        """T, how many texts there are."""
        return len(self.text_features)

    @property
    def n_images(self) -> int:
        """N, how many images there are."""
        return len(self.image_coarse)

    @property
    def dim(self) -> int:
        """D, how many features a vector has."""
        return int(self.image_coarse.shape[1])

    @cached_property
    def positives(self) -> Ragged:
        """Text -> ids of the images it belongs to, the main one first."""
        return self._ragged("positives")  # type: ignore[return-value]

    @cached_property
    def captions_of(self) -> Ragged:
        """Image -> ids of the texts that belong to it."""
        return self.positives.transpose(self.n_images)

    @cached_property
    def text_facts(self) -> Ragged | None:
        """Text -> ids of the facts it asserts."""
        return self._ragged("text_facts")

    @cached_property
    def image_facts(self) -> Ragged | None:
        """Image -> ids of the facts that hold."""
        return self._ragged("image_facts")

    @cached_property
    def image_facts_known(self) -> NDArray[np.bool_]:
        """[N] whether it is known which facts hold of an image; nobody may have looked."""
        known = self._arrays.get("image_facts_known")
        return np.ones(self.n_images, np.bool_) if known is None else np.asarray(known, np.bool_)

    @cached_property
    def texts(self) -> list[str] | None:
        """The texts as strings; read when first asked for."""
        return self._list("texts", self.n_texts)

    @cached_property
    def image_files(self) -> list[str] | None:
        """The pictures' files, absolute or below ``manifest["image_root"]``."""
        return self._list("images", self.n_images)

    @cached_property
    def facts(self) -> list[str] | None:
        """The facts as strings."""
        return self._list("facts", 0 if self.fact_features is None else len(self.fact_features))

    def split_images(self, split: str) -> NDArray[np.int64]:
        """The ids of a split's images, ascending; `DSAError` for an unknown split."""
        return np.flatnonzero(self.image_split == self._split_code(split))

    def split_texts(self, split: str) -> NDArray[np.int64]:
        """The ids of a split's texts, ascending."""
        return np.flatnonzero(self.text_split == self._split_code(split))

    def galleries(self, split: str) -> list[NDArray[np.int64]]:
        """The image ids of each gallery of a split.

        Raises:
            BankError: the split has no image.
        """
        images = self.split_images(split)
        if not len(images):
            filled = [name for name in SPLITS if len(self.split_images(name))]
            raise BankError(
                f"Split {split!r} has no images; choose one of {', '.join(filled)}, or pass "
                "splits= when making the bank."
            )
        size = self.gallery_size or len(images)
        cuts = list(range(size, len(images), size))
        if cuts and len(images) - cuts[-1] < size / 2:
            cuts.pop()
        return np.split(images, cuts)

    def fine_features(self, images: ArrayLike, dtype: DTypeLike = np.float32) -> Array:
        """One fine vector per image, whatever the query: given, else the mean of its regions.

        Args:
            images: image ids, any shape.
            dtype: of the result; computed in float64.

        Returns:
            [..., D] unit vectors; the coarse features where an image has no region (or where its
            regions cancel out).
        """
        ids = np.asarray(images, dtype=np.int64)
        if self.image_regions is None:
            assert self.image_fine is not None
            return unit_rows(self.image_fine[ids]).astype(dtype)
        total = unit_rows(self.image_regions[ids]).sum(axis=-2)
        usable = np.linalg.norm(total, axis=-1, keepdims=True) > 1e-6
        fine = np.where(usable, total, self.image_coarse[ids].astype(np.float64))
        return unit_rows(fine).astype(dtype)

    @property
    def arrays(self) -> Mapping[str, Array]:
        """All arrays by their name in the manifest, read-only."""
        return MappingProxyType(self._arrays)

    def image_path(self, image: int) -> Path | None:
        """Where the picture of an image lies; None when the bank does not say."""
        if self.image_files is None:
            return None
        root = Path(self.manifest.get("image_root") or ".")
        return (self.path or Path()) / root / self.image_files[image]

    def verify(self) -> None:
        """Read everything, in blocks: hashes, NaN, lengths, ranges, splits.

        Raises:
            BankError: naming the file and the cure.
        """
        for name, entry in self.manifest["arrays"].items():
            file = self.path / entry["file"] if self.path else None
            found = sha256_file(file) if file else hash_array(self._arrays[name])
            if found != entry["sha256"]:
                raise _tampered(str(file or name))
        for entry in self.manifest.get("lists", {}).values() if self.path else ():
            file = self.path / entry["file"]
            if sha256_file(file) != entry["sha256"]:
                raise _tampered(str(file))
        check_all(self._arrays, self.manifest, f"{self.path}: " if self.path else "")

    @classmethod
    def open(cls, path: PathLike) -> FeatureBank:
        """Open a bank's folder; takes milliseconds whatever its size.

        Holds every file's header and size against the manifest and looks at a sample of rows;
        `verify` looks at everything.

        Raises:
            BankError: no bank there, or a file is missing, truncated, of another shape or dtype,
                or holds NaN: naming the file and the cure.
        """
        folder = Path(path).absolute()
        manifest = read_manifest(folder)
        arrays = {
            name: open_array(folder, name, entry)
            for name, entry in manifest["arrays"].items()
            if name in ARRAYS
        }
        for entry in manifest.get("lists", {}).values():
            if not (folder / entry["file"]).is_file():
                raise BankError(
                    f"{folder / entry['file']} is missing, but the manifest lists it; restore it."
                )
        try:
            check_layout(manifest, arrays)
            check_sample(arrays)
        except DSAError as error:
            raise BankError(f"{folder}: {error}") from None
        return cls(manifest, arrays, path=folder)

    @classmethod
    def from_arrays(
        cls,
        text: ArrayLike,
        coarse: ArrayLike,
        fine: ArrayLike | None = None,
        *,
        regions: ArrayLike | Sequence[ArrayLike] | None = None,
        region_counts: ArrayLike | None = None,
        region_boxes: ArrayLike | None = None,
        positives: Rows | None = None,
        splits: Any = None,
        kinds: Sequence[str] | None = None,
        facts: Mapping[str, Any] | None = None,
        severity: ArrayLike | None = None,
        texts: Sequence[str] | None = None,
        image_files: Sequence[Any] | None = None,
        fine_variant: str = "attended",
        temperature: float = 0.05,
        gallery_size: int | None = None,
        seed: int = 0,
        path: PathLike | None = None,
        provenance: Mapping[str, Any] | None = None,
    ) -> FeatureBank:
        """A bank from embeddings of any float dtype, normalised or not.

        Args:
            text: features of the texts, [T, D].
            coarse: scene-level features of the images, [N, D].
            fine: object-level features of the images, [N, D]; or give `regions`.
            regions: [N, R, D] (zero rows at an image's end are padding) or one [r, D] an image.
            region_counts: [N] ints, how many rows of `regions` count.
            region_boxes: [N, R, 4] (centre x, centre y, width, height) in [0, 1].
            positives: the images of each text: [T] ids, or lists of ids; None: text i, image i.
            splits: names or codes per image ("pretrain", "train", "validation", "test"); None
                draws 70/15/15 train, validation, test by image from `seed`.
            kinds: the kind of each text, T names.
            facts: {"features": [F, D], "text": facts each text asserts, "image": facts that hold
                in each image; optional "names": F strings, "kinds": F names, "known": [N] bool,
                whether it is known what holds in an image}.
            severity: [T, N] in [0, 1], a severity of one's own.
            texts: T strings.
            image_files: N paths of pictures.
            fine_variant: "attended" or "mean"; how regions become the fine view.
            temperature: of the attention over regions.
            gallery_size: images per gallery; None: a split is one gallery.
            seed: of the drawn splits.
            path: where to write the bank (memory stays flat); None keeps it in memory.
            provenance: anything that says where the features come from; kept in the manifest.

        Raises:
            BankError: saying what is wrong with which argument and what to do.
        """
        features = Features(text, coarse, fine, regions, region_counts, region_boxes)
        details = Details(
            positives=positives,
            splits=splits,
            kinds=kinds,
            facts=facts,
            severity=severity,
            texts=texts,
            image_files=image_files,
            fine_variant=fine_variant,
            temperature=temperature,
            gallery_size=gallery_size,
            seed=seed,
            provenance=provenance,
        )
        if path is not None:
            return cls.open(write_bank(Path(path).absolute(), features, details))
        return cls(*assemble(features, details))

    def __repr__(self) -> str:
        where = str(self.path) if self.path else "in memory"
        return (
            f"FeatureBank({where}: {self.n_texts} texts, {self.n_images} images, "
            f"{self.dim} features, fine={self.fine!r})"
        )

    def __deepcopy__(self, memo: dict[int, Any]) -> FeatureBank:
        return self

    def __copy__(self) -> FeatureBank:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        if self.path is not None:
            return _reopen, (str(self.path), self.sha256)
        return FeatureBank, (self.manifest, self._arrays, self._lists)

    def _split_code(self, split: str) -> int:
        if split not in SPLITS:
            raise unknown("split", split, SPLITS)
        return SPLITS.index(split)

    def _ragged(self, name: str) -> Ragged | None:
        if f"{name}_indptr" not in self._arrays:
            return None
        return Ragged(self._arrays[f"{name}_indptr"], self._arrays[f"{name}_indices"])

    def _list(self, name: str, n: int) -> list[str] | None:
        if name in self._lists or self.path is None or name not in self.manifest.get("lists", {}):
            return self._lists.get(name)
        file = self.path / self.manifest["lists"][name]["file"]
        values = read_json(file)
        if not isinstance(values, list) or len(values) != n:
            raise BankError(f"{file} is not a list of {n} strings; build the bank again.")
        return [str(value) for value in values]


_open_banks: dict[Path, tuple[int, FeatureBank]] = {}


def resolve_bank(bank: PathLike | FeatureBank) -> FeatureBank:
    """The bank itself, or the one in that folder, opened once per process.

    The name ``"embedded"`` stands for the bank of the embedded world, built on first use. A
    folder whose ``bank.json`` has changed is opened anew.
    """
    if isinstance(bank, FeatureBank):
        return bank
    if bank == "embedded":
        from dsa_env.build import embedded_bank

        return embedded_bank()
    folder = Path(bank).absolute()
    manifest = folder / MANIFEST
    changed = manifest.stat().st_mtime_ns if manifest.is_file() else -1
    known = _open_banks.get(folder)
    if known is None or known[0] != changed:
        known = _open_banks[folder] = (changed, FeatureBank.open(folder))
    return known[1]


def _reopen(path: str, sha256: str) -> FeatureBank:
    bank = resolve_bank(path)
    if bank.sha256 != sha256:
        raise BankError(f"{path} has changed since the bank was pickled; pickle it again.")
    return bank


def _read_only(array: Array) -> Array:
    if array.flags.writeable:
        array = array.view()
        array.flags.writeable = False
    return array


def _tampered(name: str) -> BankError:
    return BankError(
        f"{name} does not have the content that the manifest's sha256 says; it was changed or "
        "damaged: restore it or build the bank again."
    )
