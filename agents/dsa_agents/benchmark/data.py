"""What is captioned: a bank, or a dataset that becomes one, and its pictures with prompts."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dsa_env.bank.feature_bank import resolve_bank
from dsa_env.bank.format import MANIFEST
from dsa_env.build import lacks_hallucination_detector
from dsa_env.captioning.written import picture_files, read_picture
from dsa_env.datasets.registry import DATASETS
from dsa_env.encoders import EMBEDDED
from dsa_env.errors import DSAError, unknown

if TYPE_CHECKING:
    from dsa_env.bank import FeatureBank

BANK = "bank"
"""Where a dataset's bank is built, inside the benchmark's folder."""


@dataclass(frozen=True, eq=False)
class Queries:
    """Q pairs of a picture and a prompt; the prompts of a picture stand together.

    Attributes:
        images: [Q] ids of the pictures in the bank.
        prompts: Q prompts.
        files: where each picture lies.
        references: what people wrote about each picture, one or more.
    """

    images: NDArray[np.int64]
    prompts: list[str]
    files: list[Path]
    references: list[list[str]]

    def __len__(self) -> int:
        return len(self.images)

    def pictures(self, rows: Sequence[int]) -> list[Image.Image]:
        """The pictures of some queries, read now.

        Raises:
            DSAError: one cannot be read.
        """
        return [read_picture(self.files[row]) for row in rows]


def open_dataset(
    name: str,
    out: Path,
    root: Path | None = None,
    encoder: str | None = None,
    detector: str | None = None,
) -> FeatureBank:
    """The bank that a name stands for; a dataset's is built into `out` as ``dsa build`` does it.

    Args:
        name: ``"embedded"``, a bank's folder, or a dataset that ``dsa build`` reads.
        out: the benchmark's folder; a bank that an earlier call built there is used again.
        root: folder of the dataset.
        encoder: frozen model for the bank; None takes the embedded one.
        detector: object detector for the bank, likewise.

    Raises:
        DSAError: there is no such thing, or `out` holds the bank of something else.
    """
    folder = Path(name)
    if name == "embedded" or (folder / MANIFEST).is_file():
        if root is not None or encoder is not None or detector is not None:
            raise DSAError(
                f"--root, --encoder and --detector are for building a bank, but {name} is one; "
                "leave them out."
            )
        return resolve_bank(name)
    if name not in DATASETS:
        if folder.is_dir():
            raise DSAError(f"{name} holds no {MANIFEST}, so it is no bank; make one by dsa build.")
        raise unknown("dataset", name, ["embedded", *DATASETS])
    target = out / BANK
    if not (target / MANIFEST).is_file() or lacks_hallucination_detector(resolve_bank(target)):
        from dsa_env.commands import build

        with redirect_stdout(sys.stderr):  # the command tells its own result there
            build(
                target,
                dataset=name,
                root=root,
                model=encoder or EMBEDDED,
                detector=detector or EMBEDDED,
            )
    bank = resolve_bank(target)
    made = bank.manifest["provenance"]["encoder"]["name"]
    if encoder is not None and made != encoder:
        raise DSAError(
            f"{target} was built with the encoder {made!r}, not {encoder!r}; choose another --out."
        )
    return bank


def make_queries(
    bank: FeatureBank, split: str, prompts: Sequence[str], limit: int | None, seed: int = 0
) -> Queries:
    """Every prompt about every picture of a split, or about some pictures drawn from it.

    Args:
        bank: a bank that knows its picture files and its texts.
        split: which pictures.
        prompts: asked about each.
        limit: pictures at most; None for all.
        seed: of the draw.

    Raises:
        DSAError: the bank has no picture files or texts, the split no picture with captions, or a
            file is missing.
    """
    if bank.texts is None:
        raise DSAError(
            "The bank has no texts, with which captions are compared; build it with dsa build, or "
            "give texts= to from_arrays."
        )
    candidates = np.array(
        [image for image in bank.split_images(split) if len(bank.captions_of.row(int(image)))],
        dtype=np.int64,
    )
    if not len(candidates):
        raise DSAError(f"The bank's split {split!r} has no picture with captions.")
    if limit is not None and limit < len(candidates):
        chosen = np.random.default_rng(seed).choice(candidates, limit, replace=False)
        candidates = np.sort(chosen)
    images = np.repeat(candidates, len(prompts))
    files = dict(zip(candidates.tolist(), picture_files(bank, candidates), strict=True))
    texts = {
        image: [bank.texts[int(text)] for text in bank.captions_of.row(image)] for image in files
    }
    return Queries(
        images,
        list(prompts) * len(candidates),
        [files[image] for image in images.tolist()],
        [texts[image] for image in images.tolist()],
    )
