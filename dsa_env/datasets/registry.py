"""The datasets by name: what each reads, from which official files, and with which options."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal

from dsa_env.datasets import Dataset
from dsa_env.datasets.problems import OnBad
from dsa_env.errors import DSAError, unknown


@dataclass(frozen=True)
class ReadOptions:
    """How a dataset is read; each option is `--its-name` on the command line.

    Attributes:
        captions: captions a picture where they are written (clevr) or chosen among dozens of
            regions (visual_genome); elsewhere every caption is kept.
        seed: of written and chosen captions, and of splits that the files do not give.
        on_bad: "fail" on the first problem in the data, or "skip" and report what is bad.
        limit: pictures a split at most, for trying things; None for all.
        held_out_share: share of the pictures that goes into a split which the files do not give.
        images: folder of the image files, where it is not where the format has it.
        variant: coco: "karpathy", "2017" or "2014"; None takes what is there.
        karpathy: file of a Karpathy split, where it does not lie in the dataset's folder.
        leaks: what to do with pictures that other people's test split holds: "refuse" to read
            them, or "exclude" them and say how many.
        image_column: column of the images (table, hugging_face); None finds it.
        caption_column: column of the captions, likewise.
        extracted: folder for images that lie inside other files (hugging_face); None takes one in
            the user's cache folder.
    """

    captions: int = 4
    seed: int = 0
    on_bad: OnBad = "fail"
    limit: int | None = None
    held_out_share: float = 0.1
    images: Path | None = None
    variant: str | None = None
    karpathy: Path | None = None
    leaks: Literal["refuse", "exclude"] = "refuse"
    image_column: str | None = None
    caption_column: str | None = None
    extracted: Path | None = None

    def __post_init__(self) -> None:
        """Checks the ranges.

        Raises:
            DSAError: naming the option that is out of its range.
        """
        if self.captions < 1:
            raise DSAError(f"--captions must be at least 1, not {self.captions}.")
        if self.limit is not None and self.limit < 1:
            raise DSAError(f"--limit must be at least 1, not {self.limit}.")
        if not 0 < self.held_out_share < 0.5:
            raise DSAError(
                f"--held-out-share must lie between 0 and 0.5, not {self.held_out_share}."
            )
        for name, value, known in (
            ("--on-bad", self.on_bad, ("fail", "skip")),
            ("--leaks", self.leaks, ("refuse", "exclude")),
        ):
            if value not in known:
                raise unknown(name, value, known)


COMMON_OPTIONS = ("on_bad", "limit", "seed")


@dataclass(frozen=True)
class DatasetFormat:
    """A dataset that can be read.

    Attributes:
        name: what people call it.
        description: one sentence: what the captions and the facts are.
        files: the official files, and where they are expected below the root.
        options: the fields of `ReadOptions` that it takes beside `COMMON_OPTIONS`.
        module: where its `read(root, options) -> Dataset` lies; imported on use.
    """

    name: str
    description: str
    files: str
    options: tuple[str, ...] = ()
    module: str = ""

    @property
    def read(self) -> Callable[[Path, ReadOptions], Dataset]:
        """The function that reads it; imports its module."""
        reader: Callable[[Path, ReadOptions], Dataset]
        reader = importlib.import_module(self.module).read
        return reader

    def __str__(self) -> str:
        """What it is, which files it is read from, and its options on the command line."""
        flags = ", ".join(f"--{name.replace('_', '-')}" for name in self.options)
        told = f" Options: {flags}." if flags else ""
        return f"{self.description} Files: {self.files}{told}"


DATASETS: dict[str, DatasetFormat] = {
    entry.name: entry
    for entry in (
        DatasetFormat(
            "scenes",
            "The embedded world, drawn when the bank is built; captions and facts from its scene "
            "graphs.",
            "none; they are drawn into --root.",
            module="dsa_env.datasets.clevr",
        ),
        DatasetFormat(
            "clevr",
            "CLEVR v1.0: captions written from the scene graphs, with the facts they assert.",
            "scenes/CLEVR_{train,val}_scenes.json and images/{train,val}/*.png.",
            ("captions", "held_out_share", "images"),
            "dsa_env.datasets.clevr",
        ),
        DatasetFormat(
            "coco",
            "COCO Captions, 2014 with Karpathy's split or 2017; facts are annotated and mentioned "
            "object categories.",
            "annotations/{captions,instances}_{train,val}{2014,2017}.json, dataset_coco.json for "
            "Karpathy's split, and the image folders {train,val}{2014,2017}.",
            ("variant", "karpathy", "leaks", "held_out_share", "images"),
            "dsa_env.datasets.coco",
        ),
        DatasetFormat(
            "visual_genome",
            "Visual Genome: some regions of each picture as captions; facts are the commonest "
            "object names. Images of Karpathy's COCO test split are left out.",
            "image_data.json, region_descriptions.json, objects.json, the image folders VG_100K "
            "and VG_100K_2, and COCO's dataset_coco.json.",
            ("captions", "karpathy", "held_out_share", "images"),
            "dsa_env.datasets.visual_genome",
        ),
        DatasetFormat(
            "flickr30k",
            "Flickr30k or Flickr8k, with Karpathy's split where its file is there; no facts.",
            "dataset_flickr30k.json (Karpathy), results_20130124.token, results.csv or another "
            "CSV, and the folder flickr30k-images.",
            ("karpathy", "held_out_share", "images", "image_column", "caption_column"),
            "dsa_env.datasets.flickr",
        ),
        DatasetFormat(
            "table",
            "A table of your own with the columns image, caption and, if there are any, split, "
            "kind and facts.",
            "one .csv, .tsv, .jsonl or .json (the root or in it); image paths relative to it.",
            ("held_out_share", "images", "image_column", "caption_column"),
            "dsa_env.datasets.table",
        ),
        DatasetFormat(
            "hugging_face",
            "A local folder of the library datasets, with an image and a caption column.",
            "what save_to_disk writes (dataset_info.json, state.json or dataset_dict.json), or "
            ".parquet files named after their splits.",
            ("held_out_share", "images", "image_column", "caption_column", "extracted"),
            "dsa_env.datasets.hugging_face",
        ),
    )
}


def read_dataset(name: str, root: Path | str, options: ReadOptions | None = None) -> Dataset:
    """Reads a dataset from its files on disk.

    Args:
        name: one of `DATASETS`.
        root: the dataset's folder, or its file where it is one.
        options: how to read it.

    Raises:
        DSAError: for an unknown name, an option that the dataset does not take, files that are
            missing or malformed, and, unless `options.on_bad` is "skip", the first thing that is
            wrong in the data.
    """
    if name not in DATASETS:
        raise unknown("dataset", name, DATASETS)
    options = options or ReadOptions()
    root = Path(root).expanduser()
    chosen = DATASETS[name]
    for option in fields(ReadOptions):
        if option.name in COMMON_OPTIONS + chosen.options:
            continue
        if getattr(options, option.name) != option.default and option.name != "captions":
            own, *taken = (
                f"--{word.replace('_', '-')}"
                for word in (option.name, *COMMON_OPTIONS, *chosen.options)
            )
            raise DSAError(f"The dataset {name} takes no {own}; it takes {', '.join(taken)}.")
    if not root.exists():
        raise DSAError(f"--root {root} does not exist; it must hold {chosen.files}")
    return chosen.read(root, options)
