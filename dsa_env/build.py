"""From a dataset and frozen models to a feature bank, in resumable shards."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dsa_env.bank import FeatureBank
from dsa_env.bank.format import FINE_VARIANTS
from dsa_env.bank.ragged import Ragged
from dsa_env.bank.writer import BankWriter
from dsa_env.cache import cache_folder
from dsa_env.datasets import Dataset, Picture
from dsa_env.datasets.captions import fact_kind
from dsa_env.encoders import EMBEDDED
from dsa_env.errors import DSAError, unknown
from dsa_env.progress import bar
from dsa_env.retrieval.severity import DETECTOR_FOLDER
from dsa_env.workers import process_pool

if TYPE_CHECKING:
    from dsa_env.encoders.detector import RegionDetector
    from dsa_env.encoders.dual import DualEncoder

SHARD = 128  # pictures a worker handles at a time, and what a killed build loses at most
EMBEDDED_WORLD = {"train": 9000, "validation": 3000, "test": 3000}  # two galleries held out each
EMBEDDED_CAPTIONS = 4
EMBEDDED_GALLERY = 1500


@dataclass(frozen=True)
class BuildSettings:
    """What the features of a bank depend on beside its data.

    Attributes:
        encoder: dual encoder by hub name, local folder or "embedded".
        detector: object detector, likewise.
        threshold: least score of a region.
        regions: most regions of a picture.
        fine: "attended" (regions weighted by the query) or "mean".
        temperature: of the attention's softmax.
        gallery_size: images a gallery, or None for one gallery a split.
        device: torch device of the models.
    """

    encoder: str = EMBEDDED
    detector: str = EMBEDDED
    threshold: float = 0.5
    regions: int = 12
    fine: str = "attended"
    temperature: float = 0.05
    gallery_size: int | None = None
    device: str = "cpu"

    def __post_init__(self) -> None:
        """Refuses a fine variant that does not exist.

        Raises:
            DSAError: naming the nearest one.
        """
        if self.fine not in FINE_VARIANTS[:2]:
            raise unknown("fine variant", self.fine, FINE_VARIANTS[:2])


@dataclass(frozen=True)
class Views:
    """The features of one shard of pictures.

    Attributes:
        coarse: [B, D] float32.
        regions: [B, R, D] float32, zero padded.
        counts: [B] int16 regions of each picture.
        boxes: [B, R, 4] float32 as (cx, cy, w, h).
        seconds: what the detector and the encoder took for the shard.
    """

    coarse: NDArray[np.float32]
    regions: NDArray[np.float32]
    counts: NDArray[np.int16]
    boxes: NDArray[np.float32]
    seconds: tuple[float, float]


def look(files: Sequence[Path], encoder: DualEncoder, detector: RegionDetector) -> Views:
    """Coarse and fine features of some pictures.

    Raises:
        DSAError: for a picture that cannot be read, by name.
    """
    from dsa_env.encoders.regions import region_window

    images = [_open(file) for file in files]
    started = time.perf_counter()
    found = detector(images)
    detected = time.perf_counter()
    whole = [encoder.preprocess.whole(image) for image in images]
    crops = [
        encoder.preprocess.region(image, window)
        for image, boxes in zip(images, found, strict=True)
        for window in region_window(boxes)
    ]
    vectors = encoder.pictures(np.stack(whole + crops))
    ended = time.perf_counter()
    counts = np.array([len(boxes) for boxes in found], dtype=np.int16)
    regions = np.zeros((len(files), detector.most, encoder.dim), dtype=np.float32)
    padded = np.zeros((len(files), detector.most, 4), dtype=np.float32)
    filled = np.arange(detector.most) < counts[:, None]
    regions[filled] = vectors[len(files) :]
    padded[filled] = np.concatenate(found)
    return Views(
        vectors[: len(files)], regions, counts, padded, (detected - started, ended - detected)
    )


def _open(file: Path) -> Any:
    from PIL import Image

    try:
        with Image.open(file) as opened:
            return opened.convert("RGB")
    except OSError as error:
        raise DSAError(
            f"the picture {file} cannot be read ({error}); replace or remove it"
        ) from error


_models: tuple[DualEncoder, RegionDetector] | None = None  # of a worker process


def _load_models(settings: BuildSettings) -> None:
    global _models
    import torch

    torch.set_num_threads(1)  # as many processes as cores: threads would fight
    _models = load_models(settings)


def _look_in_worker(files: Sequence[Path]) -> Views:
    assert _models is not None
    return look(files, *_models)


def load_models(settings: BuildSettings) -> tuple[DualEncoder, RegionDetector]:
    """The frozen encoder and detector; clear errors where one cannot be loaded."""
    from dsa_env.encoders.detector import RegionDetector
    from dsa_env.encoders.dual import DualEncoder

    encoder = DualEncoder(settings.encoder, settings.device)
    detector = RegionDetector(
        settings.detector,
        threshold=settings.threshold,
        most=settings.regions,
        device=settings.device,
    )
    return encoder, detector


def _shards(
    files: Sequence[Path], settings: BuildSettings, models: Any, workers: int
) -> Iterator[Views]:
    """The views of `files` in shards, in order, by this process or by several."""
    parts = [files[start : start + SHARD] for start in range(0, len(files), SHARD)]
    workers = min(workers, len(parts))
    if workers <= 1 or settings.device != "cpu":
        yield from (look(part, *models) for part in parts)
        return
    with process_pool(workers, _load_models, settings) as pool:
        yield from pool.map(_look_in_worker, parts)


def _facts(pictures: Sequence[Picture]) -> dict[str, Any] | None:
    """Asserted facts, which captions assert them and of which pictures they hold."""
    told = [caption for picture in pictures for caption in picture.captions]
    names = sorted(set(chain.from_iterable(caption.facts for caption in told)))
    if not names:
        return None
    number = {name: i for i, name in enumerate(names)}
    return {
        "names": names,
        "kinds": [fact_kind(name) for name in names],
        "text": [[number[fact] for fact in caption.facts] for caption in told],
        "image": [sorted(number[f] for f in picture.facts if f in number) for picture in pictures],
    }


def build_bank(
    dataset: Dataset,
    out: Path,
    settings: BuildSettings | None = None,
    *,
    splits: Iterable[str] = ("train", "validation", "test"),
    workers: int | None = None,
    restart: bool = False,
    command: str | None = None,
) -> FeatureBank:
    """Builds a bank from a dataset; interrupted, the same call goes on where it stopped.

    Args:
        dataset: pictures with captions, by split.
        out: folder of the bank; must not exist.
        settings: models and options.
        splits: the splits that enter; the encoder's own training pictures stay out by default.
        workers: processes that extract features on the CPU; None takes every core.
        restart: throw an unfinished build away.
        command: the command line that asked for it, kept in the manifest.

    Raises:
        DSAError: for unreadable pictures, models that cannot be loaded, or a dataset without
            captions.
    """
    settings = settings or BuildSettings()
    chosen = [name for name in splits if dataset.splits.get(name)]
    pictures = [picture for name in chosen for picture in dataset.splits[name]]
    captions = [caption for picture in pictures for caption in picture.captions]
    if not captions:
        raise DSAError(f"{dataset.root} has no captions in its splits {', '.join(splits)}")
    models = load_models(settings)
    encoder, detector = models
    shapes: dict[str, tuple[tuple[int, ...], str]] = {
        "text_features": ((len(captions), encoder.dim), "float32"),
        "image_coarse": ((len(pictures), encoder.dim), "float32"),
        "image_regions": ((len(pictures), settings.regions, encoder.dim), "float32"),
        "region_boxes": ((len(pictures), settings.regions, 4), "float32"),
        "region_counts": ((len(pictures),), "int16"),
    }
    digest = sha256("\n".join(caption.text for caption in captions).encode()).hexdigest()
    config = {"settings": asdict(settings), "dataset": dataset.provenance, "captions": digest}
    writer = BankWriter(out, shapes, config, restart=restart)
    text_latency = _write_texts(writer, [caption.text for caption in captions], encoder)
    latency = _write_views(
        writer,
        [picture.file for picture in pictures],
        settings,
        models,
        workers or os.cpu_count() or 1,
    )
    facts = _facts(pictures)
    if facts:
        facts["features"] = encoder.text(facts["names"])
    return writer.finish(
        positives=Ragged.from_lists(
            [[n] for n, picture in enumerate(pictures) for _ in picture.captions]
        ),
        splits=[name for name in chosen for _ in dataset.splits[name]],
        kinds=[caption.kind for caption in captions],
        facts=facts,
        texts=[caption.text for caption in captions],
        image_files=[os.path.relpath(picture.file, dataset.root) for picture in pictures],
        image_root=os.path.relpath(dataset.root.absolute(), Path(out).absolute()),
        fine_variant=settings.fine,
        temperature=settings.temperature,
        gallery_size=settings.gallery_size,
        provenance={
            "dataset": {"name": dataset.name, **dataset.provenance},
            "encoder": _describe(encoder),
            "detector": {**_describe(detector), "threshold": settings.threshold},
            "latency_ms": {"text_encoder": text_latency, **latency},
            "command": command,
        },
    )


def _describe(model: Any) -> dict[str, Any]:
    return {"name": model.name, "class": model.model_class, "revision": model.revision}


def _write_texts(writer: BankWriter, texts: Sequence[str], encoder: DualEncoder) -> float | None:
    """Writes the text features; returns milliseconds a text, None where all were there."""
    first, step, seconds = writer.done("text_features"), 4096, 0.0
    with bar("encoding captions", len(texts)) as progress:
        progress.advance(first)
        for start in range(first, len(texts), step):
            started = time.perf_counter()
            rows = encoder.text(texts[start : start + step])
            seconds += time.perf_counter() - started
            writer.write("text_features", start, rows)
            progress.advance(len(rows))
    return round(1000 * seconds / (len(texts) - first), 3) if first < len(texts) else None


def _write_views(
    writer: BankWriter,
    files: Sequence[Path],
    settings: BuildSettings,
    models: Any,
    workers: int,
) -> dict[str, float]:
    """Writes the picture features shard by shard; returns milliseconds a picture."""
    first = min(
        writer.done(name)
        for name in ("image_coarse", "image_regions", "region_boxes", "region_counts")
    )
    start, seconds = first, np.zeros(2)
    with bar("encoding pictures", len(files)) as progress:
        progress.advance(first)
        for views in _shards(files[first:], settings, models, workers):
            writer.write("image_coarse", start, views.coarse)
            writer.write("image_regions", start, views.regions)
            writer.write("region_boxes", start, views.boxes)
            writer.write("region_counts", start, views.counts)
            start += len(views.coarse)
            seconds += views.seconds
            progress.advance(len(views.coarse))
    each = 1000 * seconds / max(start - first, 1)
    return {"detector": round(each[0], 3), "image_encoder": round(each[1], 3)}


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
