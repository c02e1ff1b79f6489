"""The frozen models of a bank, and how they look at a part of its pictures."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dsa_env.encoders.protocol import Views
from dsa_env.extraction.crew import Talk
from dsa_env.extraction.decode import Bad, Cut, Decoder, Made, Open
from dsa_env.extraction.settings import BuildSettings

if TYPE_CHECKING:
    from dsa_env.encoders.detector import RegionDetector
    from dsa_env.encoders.protocol import FrozenEncoder, Prepared


WHOLE = np.array([0.5, 0.5, 1, 1], dtype=np.float32)
"""The box of a whole picture."""


@dataclass(frozen=True)
class Looked:
    """What came of a part of the pictures.

    Attributes:
        views: features of the pictures that could be read, in order.
        bad: the others.
        seconds: what detector and encoder took, preparing included.
    """

    views: Views
    bad: tuple[Bad, ...]
    seconds: tuple[float, float]


@dataclass(frozen=True)
class Models:
    """An encoder, and the detector that proposes its regions.

    Attributes:
        encoder: the frozen encoder.
        detector: None where the encoder finds its regions itself.
        most: regions kept per picture.
    """

    encoder: FrozenEncoder
    detector: RegionDetector | None
    most: int

    def decoder(self) -> Decoder:
        """What reads and prepares pictures for these models."""
        return make_decoder(*self.preparers)

    @property
    def preparers(self) -> tuple[Any, Any]:
        """The parts of detector and encoder that need no weights; they travel between processes."""
        return self.detector.preparer if self.detector else None, self.encoder.preparer

    @property
    def bytes(self) -> int:
        """What the weights take."""
        import torch

        parts = [value for part in (self.encoder, self.detector) for value in _attributes(part)]
        modules = [part for part in parts if isinstance(part, torch.nn.Module)]
        return sum(w.numel() * w.element_size() for module in modules for w in module.parameters())

    def look(self, files: Sequence[Path]) -> Looked:
        """Looks at some pictures in this process."""
        decoder, talk, reply = self.decoder(), self.converse(files), None
        while True:
            try:
                reply = decoder(0, talk.send(reply))
            except StopIteration as end:
                looked: Looked = end.value
                return looked

    def converse(self, files: Sequence[Path]) -> Talk[Looked]:
        """Looks at pictures that a `Decoder` elsewhere reads: yields requests, gets replies."""
        opened: Made = yield Open(files)
        started = time.perf_counter()
        boxes = self._boxes(opened.prepared)
        detected = time.perf_counter() - started + opened.seconds
        cut: Made = yield Cut(boxes)
        started = time.perf_counter()
        by_place = dict(zip(opened.places, boxes, strict=True))
        coarse, regions = self.encoder.look(cut.prepared)
        boxes = [by_place[place] for place in cut.places]
        if self.detector is None:
            boxes = [np.tile(WHOLE, (len(rows), 1)) for rows in regions]
        views = Views.pack(coarse, regions, boxes, self.most)
        bad = sorted([*opened.bad, *cut.bad], key=lambda one: one.index)
        seen = time.perf_counter() - started + cut.seconds
        return Looked(views, tuple(bad), (detected, seen))

    def _boxes(self, prepared: Sequence[Prepared]) -> list[NDArray[np.float32]]:
        """Boxes of each picture; pictures of one size go through the detector together."""
        boxes = [np.empty((0, 4), dtype=np.float32)] * len(prepared)
        if self.detector is None:
            return boxes
        sizes: dict[tuple[int, ...], list[int]] = {}
        for index, one in enumerate(prepared):
            sizes.setdefault(one["pixels"].shape, []).append(index)
        for alike in sizes.values():
            found = self.detector.detect([prepared[index] for index in alike])
            for index, rows in zip(alike, found, strict=True):
                boxes[index] = rows
        return boxes


def _attributes(thing: object) -> list[Any]:
    return list(getattr(thing, "__dict__", {}).values())


def make_decoder(detector: Any, encoder: Any) -> Decoder:
    """A decode worker's answerer."""
    return Decoder(detector, encoder)


def load_models(settings: BuildSettings) -> Models:
    """The frozen encoder and detector; clear errors where one cannot be loaded."""
    from dsa_env.encoders.detector import RegionDetector

    encoder, detector = load_encoder_of(settings), None
    if encoder.needs_boxes:
        options: dict[str, Any] = {} if settings.labels is None else {"labels": settings.labels}
        detector = RegionDetector(
            settings.detector,
            threshold=settings.threshold,
            most=settings.regions,
            device=settings.device,
            dtype=settings.dtype,
            **options,
        )
    return Models(encoder, detector, settings.regions)


def load_encoder_of(settings: BuildSettings) -> FrozenEncoder:
    """The frozen encoder alone."""
    from dsa_env.encoders.families import load_encoder

    return load_encoder(
        settings.encoder,
        coarse=settings.coarse,
        fine=settings.regions_by,
        device=settings.device,
        dtype=settings.dtype,
        text=settings.text,
    )
