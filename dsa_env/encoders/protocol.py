"""What an encoder is to the rest of the package: texts and prepared pictures in, unit rows out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dsa_env.errors import DSAError

Prepared = dict[str, NDArray[np.generic]]
"""One picture as arrays, ready for a model and cheap to send between processes."""


class Preparer(Protocol):
    """The part of an encoder that needs no weights; picklable, so that decode workers run it."""

    def prepare(self, image: Image.Image, boxes: NDArray[np.floating]) -> Prepared:
        """One RGB picture and its boxes [r, 4] as (cx, cy, w, h) shares -> arrays."""
        ...


class FrozenEncoder(Protocol):
    """A frozen model whose texts, coarse and fine picture features share one space.

    Attributes:
        name: the hub name or folder it was loaded from.
        dim: length D of every feature.
        model_class: the transformers class behind it.
        revision: commit of a model from the hub.
        notes: what "text", "coarse" and "fine" features are and why, one sentence each.
        needs_boxes: whether fine features want boxes of a detector.
        preparer: turns pictures into arrays, in any process.
    """

    name: str
    dim: int
    revision: str | None
    needs_boxes: bool

    @property
    def model_class(self) -> str:
        """The transformers class behind it."""
        ...

    @property
    def notes(self) -> Mapping[str, str]:
        """One sentence each for "text", "coarse" and "fine"."""
        ...

    @property
    def preparer(self) -> Preparer:
        """Picklable, and independent of the weights."""
        ...

    def text(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Unit rows [len(texts), D] float32."""
        ...

    def prepare(self, image: Image.Image, boxes: NDArray[np.floating]) -> Prepared:
        """`preparer.prepare`: one RGB picture and its boxes [r, 4] -> arrays."""
        ...

    def look(
        self, prepared: Sequence[Prepared]
    ) -> tuple[NDArray[np.float32], list[NDArray[np.float32]]]:
        """Unit rows of B prepared pictures: coarse [B, D], and regions [r_i, D] of each."""
        ...


@dataclass(frozen=True)
class Views:
    """The features of some pictures as a bank keeps them.

    Attributes:
        coarse: [B, D] float32 unit rows.
        regions: [B, R, D] float32 unit rows, zero padded.
        counts: [B] int16 regions of each picture.
        boxes: [B, R, 4] float32 as (cx, cy, w, h) shares of the picture, zero padded.
    """

    coarse: NDArray[np.float32]
    regions: NDArray[np.float32]
    counts: NDArray[np.int16]
    boxes: NDArray[np.float32]

    @classmethod
    def pack(
        cls,
        coarse: NDArray[np.float32],
        regions: Sequence[NDArray[np.float32]],
        boxes: Sequence[NDArray[np.float32]],
        most: int,
    ) -> Views:
        """Pads each picture's regions [r_i, D] and boxes [r_i, 4] to `most` rows.

        Raises:
            DSAError: if a picture has more.
        """
        counts = np.array([len(rows) for rows in regions], dtype=np.int16)
        if counts.max(initial=0) > most:
            raise DSAError(
                f"a picture has {counts.max()} regions but room for {most}; give --regions "
                f"{counts.max()}"
            )
        padded = np.zeros((len(coarse), most, coarse.shape[1]), dtype=np.float32)
        corners = np.zeros((len(coarse), most, 4), dtype=np.float32)
        filled = np.arange(most) < counts[:, None]
        if counts.any():
            padded[filled] = np.concatenate(regions)
            corners[filled] = np.concatenate(boxes)
        return cls(coarse, padded, counts, corners)
