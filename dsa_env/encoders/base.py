"""What all encoders do alike: pictures in blocks through the model, unit float32 rows out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from dsa_env.encoders.protocol import Prepared
from dsa_env.encoders.regions import PicturePreparer, Preprocess
from dsa_env.encoders.vision import members, parse_coarse, resolve_layer, tap
from dsa_env.errors import DSAError, unknown

_BLOCK = 256  # most pictures in one forward pass
_NUMBERS = 2**26  # most numbers in one block's widest tokens


class Encoder(ABC):
    """A frozen model behind the `FrozenEncoder` protocol; a family adds how its model sees.

    A family's model turns pixels into *tokens* (whatever its poolings start from), and has three
    poolings: of the whole picture, of an early layer, and of the patches inside boxes. Features
    that are not finite raise `DSAError`: half precision overflows in some models.

    Attributes:
        name: the name or folder it was loaded from.
        coarse: "pooled" or "layer:K".
        fine: one of `fines`.
        fines: the fine features that the family has.
        preprocess: what its vision tower expects of pictures.
        revision: commit of a model from the hub.
        needs_boxes: whether fine features want boxes of a detector.
        dim: length D of every feature.
    """

    fines: tuple[str, ...] = ("crops", "patches")
    dim: int
    _model: Any

    def __init__(self, name: str, coarse: str, fine: str) -> None:
        """Checks the names of the features before anything is loaded.

        Raises:
            DSAError: for a coarse or fine feature that does not exist.
        """
        if fine not in self.fines:
            raise unknown("region feature", fine, self.fines)
        self.name, self.coarse, self.fine = name, coarse, fine
        self.needs_boxes = fine != "queries"
        self._early_layer = parse_coarse(coarse)

    def _adopt(self, model: Any, processor: Any, side: int | None, width: int) -> None:
        """Takes over a loaded model.

        Args:
            model: eval mode, no gradients.
            processor: its image processor.
            side: of the pictures that its position embedding knows, None for any.
            width: numbers that one picture is at its widest, tokens times dimensions.

        Raises:
            DSAError: if model and processor do not fit, or the early layer does not exist.
        """
        self._model = model
        self.revision: str | None = getattr(model.config, "_commit_hash", None)
        self.preprocess = Preprocess.of(processor)
        if side is not None and side != self.preprocess.size:
            raise DSAError(
                f"{self.name!r} reads pictures of {side} pixels, but its image processor makes "
                f"{self.preprocess.size}; use the processor that belongs to it"
            )
        self._block = min(_BLOCK, max(4, _NUMBERS // max(width, 1)))
        if self._early_layer is not None:
            self._early_layer = resolve_layer(self._early_layer, len(self._blocks()), self.name)

    @property
    def model_class(self) -> str:
        """The transformers class behind it."""
        return type(self._model).__name__

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return cast(torch.device, self._model.device)

    @property
    def preparer(self) -> PicturePreparer:
        """Turns pictures into arrays without the weights; picklable."""
        return PicturePreparer(self.preprocess, "patches" if self.fine == "patches" else "crops")

    @property
    @abstractmethod
    def notes(self) -> Mapping[str, str]:
        """What "text", "coarse" and "fine" features are and why, one sentence each."""

    @abstractmethod
    def text(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Unit rows [len(texts), D] float32."""

    @abstractmethod
    def _tokens(self, values: Tensor) -> Any:
        """Pixels [B, 3, S, S] in the model's dtype -> what the poolings start from."""

    @abstractmethod
    def _whole(self, tokens: Any) -> Tensor:
        """The whole picture as one vector, [B, D]."""

    @abstractmethod
    def _early(self, hidden: Tensor, tokens: Any) -> Tensor:
        """An early layer's hidden state [B, T, H] as one vector, [B, D]."""

    @abstractmethod
    def _inside(self, tokens: Any, inside: NDArray[np.bool_], owner: NDArray[np.int64]) -> Tensor:
        """The patches inside N boxes, `inside` [N, P] of pictures `owner` [N], as [N, D]."""

    def _queries(self, tokens: Any) -> Tensor:
        """What each learned query found in the whole picture, [B, Q, D]."""
        raise NotImplementedError  # families without queries do not list them in `fines`

    @abstractmethod
    def _blocks(self) -> Any:
        """The layers of the vision transformer."""

    @abstractmethod
    def _grid(self) -> tuple[int, int]:
        """Rows and columns of its patches."""

    def prepare(self, image: Image.Image, boxes: NDArray[np.floating]) -> Prepared:
        """`preparer.prepare`: one RGB picture and its boxes [r, 4] -> arrays."""
        return self.preparer.prepare(image, boxes)

    def pictures(self, pixels: NDArray[np.uint8], batch: int | None = None) -> NDArray[np.float32]:
        """Unit rows [N, D] of whole pictures [N, S, S, 3] uint8, cut by `preprocess`."""
        rows = [self._unit(self._see(values)[0]) for _, values in self._values(pixels, batch)]
        return np.concatenate(rows) if rows else np.empty((0, self.dim), dtype=np.float32)

    def look(
        self, prepared: Sequence[Prepared]
    ) -> tuple[NDArray[np.float32], list[NDArray[np.float32]]]:
        """Unit rows of B prepared pictures: coarse [B, D], and regions [r_i, D] of each."""
        if not prepared:
            return np.empty((0, self.dim), dtype=np.float32), []
        pixels = [cast(NDArray[np.uint8], one["pixels"]) for one in prepared]
        whole = np.stack([cut[0] for cut in pixels])
        boxes = [cast(NDArray[np.float32], one["boxes"]) for one in prepared]
        if self.fine == "crops":
            crops = np.concatenate([cut[1:] for cut in pixels])
            if self._early_layer is None:  # one stream of pictures: full blocks
                rows = self.pictures(np.concatenate([whole, crops]))
                coarse, regions = rows[: len(whole)], rows[len(whole) :]
            else:
                coarse, regions = self._wholes(whole, None)[0], self.pictures(crops)
        else:
            coarse, regions = self._wholes(whole, boxes)
        if self.fine == "queries":
            return coarse, list(regions.reshape(len(whole), -1, self.dim))
        ends = np.cumsum([len(some) for some in boxes])
        return coarse, np.split(regions, ends[:-1])

    def _wholes(
        self, pixels: NDArray[np.uint8], boxes: Sequence[NDArray[np.float32]] | None
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Coarse rows [B, D], and rows [N, D] of the queries or the patches inside `boxes`."""
        coarse, regions = [], [np.empty((0, self.dim), dtype=np.float32)]
        for start, values in self._values(pixels):
            part = None if boxes is None else boxes[start : start + len(values)]
            seen, pooled = self._see(values, early=self._early_layer, boxes=part)
            coarse.append(self._unit(seen))
            if pooled is not None:
                regions.append(self._unit(pooled))
        return np.concatenate(coarse), np.concatenate(regions)

    @torch.inference_mode()
    def _see(
        self,
        values: Tensor,
        early: int | None = None,
        boxes: Sequence[NDArray[np.float32]] | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """One forward pass: the coarse rows, and those of queries or patches inside `boxes`."""
        if early is None:
            tokens = self._tokens(values)
            coarse = self._whole(tokens)
        else:
            with tap(self._blocks(), [early]) as seen:
                tokens = self._tokens(values)
            coarse = self._early(seen[early], tokens)
        if boxes is not None and self.fine == "queries":
            return coarse, self._queries(tokens).flatten(0, 1)
        if boxes is None or not sum(map(len, boxes)):
            return coarse, None
        return coarse, self._inside(tokens, *members(boxes, *self._grid()))

    def _values(
        self, pixels: NDArray[np.uint8], batch: int | None = None
    ) -> Iterator[tuple[int, Tensor]]:
        """Blocks of pictures [b, 3, S, S] on the device in the model's dtype, with their start."""
        size, device = batch or self._block, self.device
        scale, shift = (
            torch.from_numpy(part)[:, None, None].to(device) for part in self.preprocess.affine()
        )
        for start in range(0, len(pixels), size):
            part = np.require(pixels[start : start + size], requirements="W")
            block = torch.from_numpy(part).to(device)
            values = block.permute(0, 3, 1, 2).contiguous().float().mul_(scale).sub_(shift)
            yield start, values.to(self._model.dtype)

    def _unit(self, rows: Tensor) -> NDArray[np.float32]:
        unit: NDArray[np.float32] = F.normalize(rows.float(), dim=-1).cpu().numpy()
        if not np.isfinite(unit).all():
            kind = str(self._model.dtype).removeprefix("torch.")
            raise DSAError(
                f"{self.name!r} gives features that are not finite in {kind}; take a dtype with a "
                "wider range (bf16, float32), or check the checkpoint's weights"
            )
        return unit

    def _in_batches(
        self, texts: Sequence[str], batch: int, embed: Callable[[list[str]], Tensor]
    ) -> NDArray[np.float32]:
        """Unit rows of texts, `batch` at a time."""
        rows = [np.empty((0, self.dim), dtype=np.float32)] if not texts else []
        for start in range(0, len(texts), batch):
            with torch.inference_mode():
                rows.append(self._unit(embed(list(texts[start : start + batch]))))
        return np.concatenate(rows)


def patch_grid(config: Any) -> tuple[int, int]:
    """Rows and columns of a vision transformer's patches, from its configuration."""
    side = int(config.image_size) // int(config.patch_size)
    return side, side
