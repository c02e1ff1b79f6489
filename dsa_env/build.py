"""From a dataset and frozen models to a feature bank, in resumable shards."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from hashlib import sha256
from itertools import chain
from pathlib import Path
from typing import Any

from dsa_env.bank import FeatureBank
from dsa_env.bank.ragged import Ragged
from dsa_env.bank.writer import BankWriter
from dsa_env.cache import cache_folder
from dsa_env.datasets import Dataset, Picture
from dsa_env.datasets.captions import fact_kind
from dsa_env.errors import DSAError
from dsa_env.extraction import BuildSettings, Models, load_models
from dsa_env.extraction.engines import check_engine
from dsa_env.extraction.precision import check_rankings
from dsa_env.extraction.writing import write_texts, write_views
from dsa_env.files import write_json
from dsa_env.retrieval.severity import DETECTOR_FOLDER

__all__ = [
    "BuildSettings",
    "add_hallucination_detector",
    "build_bank",
    "embedded_bank",
    "lacks_hallucination_detector",
    "load_models",
]

NAMED = 20  # problems of each kind that the manifest names; problems.json names all
PROBLEMS = "problems.json"
EMBEDDED_WORLD = {"train": 9000, "validation": 3000, "test": 3000}  # two galleries held out each
EMBEDDED_CAPTIONS = 4
EMBEDDED_GALLERY = 1500


def build_bank(
    dataset: Dataset,
    out: Path,
    settings: BuildSettings | None = None,
    *,
    splits: Iterable[str] = ("train", "validation", "test"),
    workers: int | None = None,
    engine: str = "local",
    restart: bool = False,
    command: str | None = None,
    models: Models | None = None,
    accept_dtype: bool = False,
) -> FeatureBank:
    """Builds a bank from a dataset; interrupted, the same call goes on where it stopped.

    A picture that cannot be read is reported to `dataset.problems`: that ends the build, or leaves
    the picture and its captions out. The bank's folder lists everything that was left out, in
    ``problems.json``.

    Args:
        dataset: pictures with captions, by split.
        out: folder of the bank; must not exist.
        settings: models and options.
        splits: the splits that enter; the encoder's own training pictures stay out by default.
        workers: processes that extract features; None takes every core.
        engine: "local", or "ray" for a Ray cluster.
        restart: throw an unfinished build away.
        command: the command line that asked for it, kept in the manifest.
        models: those of `settings`, where they are loaded already.
        accept_dtype: build in a low precision even if rankings do not survive it.

    Raises:
        DSAError: for unreadable pictures, models that cannot be loaded, a dataset without
            captions, or a precision that rankings do not survive.
    """
    settings = settings or BuildSettings()
    chosen = [name for name in splits if dataset.splits.get(name)]
    pictures = [picture for name in chosen for picture in dataset.splits[name]]
    split_of = [name for name in chosen for _ in dataset.splits[name]]
    if not any(picture.captions for picture in pictures):
        raise DSAError(f"{dataset.root} has no captions in its splits {', '.join(splits)}")
    models = models or load_models(settings)
    check_engine(engine, workers)
    precision = check_rankings(models, settings, pictures, accept=accept_dtype)
    writer = BankWriter(
        out,
        _shapes(pictures, settings, models),
        {"settings": asdict(settings), "dataset": dataset.provenance, "data": _digest(pictures)},
        restart=restart,
    )
    latency = write_views(writer, dataset, pictures, settings, models, engine, workers)
    bad = {index for index, _, _ in writer.note["bad"]}
    kept = [n for n in range(len(pictures)) if n not in bad]
    pictures = [pictures[n] for n in kept]
    if not any(picture.captions for picture in pictures):
        raise DSAError(
            f"Not one of the {len(bad)} pictures can be read: "
            f"{'; '.join(dataset.problems.lines(named=1))}. Check --root."
        )
    for name in writer.note["arrays"]:
        writer.shrink(name, len(pictures))
    texts = [caption.text for picture in pictures for caption in picture.captions]
    writer.shrink("text_features", len(texts))
    text_latency = write_texts(writer, texts, models.encoder)
    facts = _facts(pictures)
    if facts:
        facts["features"] = models.encoder.text(facts["names"])
    write_json(writer.partial / PROBLEMS, dataset.problems.to_json())
    root, place = dataset.root.absolute(), Path(out).absolute()
    return writer.finish(
        positives=Ragged.from_lists([[n] for n, one in enumerate(pictures) for _ in one.captions]),
        splits=[split_of[n] for n in kept],
        kinds=[caption.kind for picture in pictures for caption in picture.captions],
        facts=facts,
        texts=texts,
        image_files=[os.path.relpath(picture.file, dataset.root) for picture in pictures],
        image_root=os.path.relpath(root, place),
        fine_variant=settings.fine,
        temperature=settings.temperature,
        gallery_size=settings.gallery_size,
        provenance={
            "dataset": {"name": dataset.name, **dataset.provenance},
            **_describe(models, settings),
            "latency_ms": {"text_encoder": text_latency, **latency},
            "precision": precision,
            "problems": {
                **dataset.problems.to_json(NAMED),
                "lines": dataset.problems.lines(),
            },
            "command": command,
        },
    )


def _shapes(
    pictures: Sequence[Picture], settings: BuildSettings, models: Models
) -> dict[str, tuple[tuple[int, ...], str]]:
    images, dim = len(pictures), models.encoder.dim
    return {
        "text_features": ((sum(len(one.captions) for one in pictures), dim), "float32"),
        "image_coarse": ((images, dim), "float32"),
        "image_regions": ((images, settings.regions, dim), "float32"),
        "region_boxes": ((images, settings.regions, 4), "float32"),
        "region_counts": ((images,), "int16"),
    }


def _digest(pictures: Sequence[Picture]) -> str:
    """One hash of the pictures' files and captions."""
    digest = sha256()
    for picture in pictures:
        words = [str(picture.file), *(caption.text for caption in picture.captions)]
        digest.update("\n".join([*words, ""]).encode())
    return digest.hexdigest()


def _describe(models: Models, settings: BuildSettings) -> dict[str, Any]:
    """What the models are and what their features mean, for the manifest."""
    from importlib.metadata import version

    encoder, detector = models.encoder, models.detector
    said: dict[str, Any] = {
        "encoder": {
            "name": encoder.name,
            "class": encoder.model_class,
            "revision": encoder.revision,
            "text": settings.text,
            "coarse": settings.coarse,
            "regions_by": settings.regions_by,
            "dtype": settings.dtype,
            "notes": dict(encoder.notes),
        },
        "detector": None,
        "versions": {name: version(name) for name in ("torch", "transformers", "pillow")},
    }
    if detector is not None:
        said["detector"] = {
            "name": detector.name,
            "class": detector.model_class,
            "revision": detector.revision,
            "threshold": settings.threshold,
            "labels": list(detector.labels) if detector.zero_shot else None,
        }
    return said


def _facts(pictures: Sequence[Picture]) -> dict[str, Any] | None:
    """Asserted facts, which captions assert them and of which pictures they hold.

    Of a picture of which nothing is known nothing is asked or judged.
    """
    told = [caption for picture in pictures for caption in picture.captions]
    names = sorted(set(chain.from_iterable(caption.facts for caption in told)))
    if not names:
        return None
    number = {name: i for i, name in enumerate(names)}
    return {
        "names": names,
        "kinds": [fact_kind(name) for name in names],
        "text": [[number[fact] for fact in caption.facts] for caption in told],
        "image": [
            sorted(number[fact] for fact in picture.facts if fact in number)
            if picture.facts_known
            else []
            for picture in pictures
        ],
        "known": [picture.facts_known for picture in pictures],
    }


def add_hallucination_detector(bank: FeatureBank, *, seed: int = 0) -> dict[str, Any] | None:
    """Trains the hallucination network of a bank with facts and keeps it beside the arrays.

    Returns:
        Its quality report, or None for a bank without facts.
    """
    from dsa_env.hallucination.training import train_detector

    if bank.text_facts is None or bank.path is None:
        return None
    detector, report = train_detector(bank, seed=seed)
    unfinished = bank.path / f".{DETECTOR_FOLDER}.tmp"
    shutil.rmtree(unfinished, ignore_errors=True)
    detector.save_pretrained(unfinished, report)
    unfinished.rename(bank.path / DETECTOR_FOLDER)
    return report


def lacks_hallucination_detector(bank: FeatureBank) -> bool:
    """Whether a bank has facts but no network yet, as when its build was interrupted."""
    return bank.text_facts is not None and not (
        bank.path and (bank.path / DETECTOR_FOLDER).exists()
    )


def embedded_bank(
    folder: Path | None = None,
    *,
    world: dict[str, int] | None = None,
) -> FeatureBank:
    """The bank of the embedded world, built on first use into the user's cache folder.

    Args:
        folder: where it lies; the cache folder by default.
        world: pictures of each split; the full world by default.
    """
    from dsa_env.datasets.clevr import draw_world

    folder = folder or cache_folder() / "embedded-1"
    target, root = folder / "bank", folder / "world"
    if not target.exists():
        dataset = draw_world(root, world or EMBEDDED_WORLD, captions=EMBEDDED_CAPTIONS)
        settings = BuildSettings(gallery_size=EMBEDDED_GALLERY)
        build_bank(dataset, target, settings, command="dsa_env.build.embedded_bank()")
    bank = FeatureBank.open(target)
    if lacks_hallucination_detector(bank):
        add_hallucination_detector(bank)
    return bank
