"""The hallucination detector: how much of what a text asserts does an image not support?"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from dsa_env.errors import DSAError
from dsa_env.files import atomic_write, read_json, write_json
from dsa_env.hallucination.network import ImageTokens, SupportNetwork

if TYPE_CHECKING:
    from dsa_env.bank import FeatureBank

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]

WEIGHTS, CONFIG, REPORT = "model.safetensors", "config.json", "report.json"
BLOCK = 16_384  # pairs whose phrases are encoded together
ROW = 16  # phrases scored at most in one row of an image
WORKING_SET = 1_000_000  # numbers in the largest array of one pass: it stays in the CPU's cache


@dataclass(frozen=True)
class DetectorConfig:
    """The sizes of a detector; `SupportNetwork` says what they mean."""

    phrase_dim: int
    image_dim: int
    width: int = 48
    heads: int = 6
    geometry: int = 12
    hidden: int = 128

    def __post_init__(self) -> None:
        """Check the sizes.

        Raises:
            DSAError: a size is not a positive integer.
        """
        for name, value in asdict(self).items():
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise DSAError(f"{name} of a detector must be a positive integer, not {value!r}.")


class HallucinationDetector(nn.Module):
    """Gives the probability that an image supports an asserted phrase ("a small red cube").

    It reads the frozen features of a bank: a fact's text features, and of the image its coarse
    and fine features and its regions with their boxes. None of these depends on the granularity
    g, so neither does what it says. The probability is sigmoid(logit / temperature), with the
    temperature fitted on held-out images (Guo et al. 2017, https://arxiv.org/abs/1706.04599).

    `train_detector` in `dsa_env.hallucination.training` makes one from a bank with facts.

    Args:
        config: the sizes.
    """

    temperature: Tensor

    def __init__(self, config: DetectorConfig) -> None:
        super().__init__()
        self.config = config
        self.network = SupportNetwork(**asdict(config))
        self.register_buffer("temperature", torch.ones(()))

    def forward(self, codes: Tensor, images: ImageTokens) -> Tensor:
        """Logits [B, P], before the temperature; see `SupportNetwork.forward`."""
        logits: Tensor = self.network(codes, images)
        return logits

    def probability(self, bank: FeatureBank, fact_ids: ArrayLike, image_ids: ArrayLike) -> Floats:
        """How probable it is that facts hold of images.

        Args:
            bank: a bank with facts, of the encoder that the detector was trained on.
            fact_ids: [P] ints, facts of the bank.
            image_ids: [P] ints, images of the bank; a pair that occurs often is scored once.

        Returns:
            [P] float32 in [0, 1].

        Raises:
            DSAError: the bank has no facts or other features than the detector's, or an id does
                not exist.
        """
        logits = self.logits(bank, fact_ids, image_ids) / float(self.temperature)
        # In float64, because vector instructions round by a number's place in the array.
        return torch.from_numpy(logits).double().sigmoid().float().numpy()

    def severity(self, bank: FeatureBank, text_ids: ArrayLike, image_ids: ArrayLike) -> Floats:
        """How much of what texts assert the images do not support.

        Severity is the mean of (1 - probability) over the facts that a text asserts, and 0 for a
        text that asserts nothing: it cannot be wrong.

        Args:
            bank: as in `probability`.
            text_ids: [P] ints, texts of the bank.
            image_ids: [P] ints, images of the bank.

        Returns:
            [P] float32 in [0, 1].

        Raises:
            DSAError: as in `probability`.
        """
        self.check(bank)
        assert bank.text_facts is not None
        texts = _ids(text_ids, "text", bank.n_texts)
        images = _ids(image_ids, "image", bank.n_images)
        _same_length(texts, images)
        asserted = bank.text_facts.take(texts)
        pair = asserted.row_of
        unsupported = 1.0 - self.probability(bank, asserted.indices, images[pair])
        total = np.bincount(pair, weights=unsupported, minlength=len(texts))
        return (total / np.maximum(asserted.lengths, 1)).astype(np.float32)

    @torch.no_grad()
    def logits(self, bank: FeatureBank, fact_ids: ArrayLike, image_ids: ArrayLike) -> Floats:
        """The scores behind `probability`, before the temperature, [P] float32."""
        self.check(bank)
        assert bank.fact_features is not None
        facts = _ids(fact_ids, "fact", len(bank.fact_features))
        images = _ids(image_ids, "image", bank.n_images)
        _same_length(facts, images)
        # sorted by image, each pair once
        keys, back = np.unique(images * len(bank.fact_features) + facts, return_inverse=True)
        scores = np.empty(len(keys), dtype=np.float32)
        for start in range(0, len(keys), BLOCK):
            block = slice(start, start + BLOCK)
            image, fact = np.divmod(keys[block], len(bank.fact_features))
            scores[block] = self._score_sorted(bank, fact, image)
        return scores[back]

    def _score_sorted(self, bank: FeatureBank, facts: Ints, images: Ints) -> Floats:
        """Logits of pairs that are sorted by image."""
        assert bank.fact_features is not None
        phrases, phrase_of = np.unique(facts, return_inverse=True)
        codes = self.network.encode_phrases(as_tensor(bank.fact_features[phrases]))
        unique, image_of_row, slot, width = rows_of(images, ROW)
        code_at = np.zeros(len(image_of_row) * width, dtype=np.int64)
        code_at[slot] = phrase_of
        things = 2 + (0 if bank.image_regions is None else bank.image_regions.shape[1])
        step = max(1, WORKING_SET // (things * (things + 1) * self.config.heads * width))
        scores = np.empty(len(code_at), dtype=np.float32)
        for start in range(0, len(image_of_row), step):
            rows = image_of_row[start : start + step]
            needed = np.arange(rows[0], rows[-1] + 1)
            tokens = encode_images(self.network, bank, unique[needed])
            at = code_at[start * width : (start + len(rows)) * width]
            logits = self.network(
                codes[torch.from_numpy(at)].view(len(rows), width, -1),
                tokens.take(torch.from_numpy(rows - rows[0])),
            )
            scores[start * width : start * width + len(at)] = logits.flatten().numpy()
        return scores[slot]

    def save_pretrained(
        self, folder: str | os.PathLike[str], report: Mapping[str, Any] | None = None
    ) -> None:
        """Write the detector to a folder, each file atomically and the weights last.

        Args:
            folder: gets `config.json`, `model.safetensors` and, with a report, `report.json`.
            report: how good the detector is, as `train_detector` says it.
        """
        target = Path(folder)
        if report is not None:
            write_json(target / REPORT, dict(report))
        write_json(target / CONFIG, asdict(self.config))
        state = {name: value.contiguous() for name, value in self.state_dict().items()}
        with atomic_write(target / WEIGHTS) as temporary:
            save_file(state, temporary, metadata={"format": "pt"})

    @classmethod
    def from_pretrained(cls, folder: str | os.PathLike[str]) -> Self:
        """Read a detector that `save_pretrained` wrote; reads no pickles.

        Raises:
            DSAError: a file is missing, damaged, or does not fit the other.
        """
        source = Path(folder)
        for name in (CONFIG, WEIGHTS):
            if not (source / name).is_file():
                raise DSAError(
                    f"{source} holds no {name}, so it is no hallucination detector; point to a "
                    "folder written by save_pretrained, or train one."
                )
        detector = cls(_read_config(source / CONFIG))
        try:
            detector.load_state_dict(load_file(source / WEIGHTS), strict=True)
        except (SafetensorError, RuntimeError) as error:
            reason = " ".join(str(error).split())[:200]
            raise DSAError(
                f"{source / WEIGHTS} is damaged or does not fit its {CONFIG} ({reason}); train the "
                "detector again."
            ) from None
        return detector.eval()

    def check(self, bank: FeatureBank) -> None:
        """Whether the detector can judge this bank."""
        if bank.fact_features is None or bank.text_facts is None:
            raise DSAError(
                "This bank holds no facts, so there is nothing to judge; pass facts= when making "
                "it."
            )
        found = (int(bank.fact_features.shape[1]), bank.dim)
        expected = (self.config.phrase_dim, self.config.image_dim)
        if found != expected:
            raise DSAError(
                f"The bank has {found[0]} features a fact and {found[1]} an image, but the "
                f"detector was trained on {expected[0]} and {expected[1]}; use the bank's own "
                "detector or train one on it."
            )


def encode_images(network: SupportNetwork, bank: FeatureBank, images: Ints) -> ImageTokens:
    """The network's tokens of images of a bank.

    A bank without regions has coarse and fine features alone; regions without boxes all get the
    whole picture as their box, which says nothing about where they are.
    """
    coarse = as_tensor(bank.image_coarse[images])
    fine = as_tensor(bank.fine_features(images))
    if bank.image_regions is None or bank.region_counts is None:
        none = coarse.new_zeros(len(images), 0, bank.dim)
        nowhere = coarse.new_zeros(len(images), 0, 4)
        return network.encode_images(coarse, fine, none, nowhere, nowhere[..., 0].bool())
    regions = as_tensor(bank.image_regions[images])
    if bank.region_boxes is None:
        boxes = torch.tensor([0.5, 0.5, 1.0, 1.0]).expand(*regions.shape[:2], 4)
    else:
        boxes = as_tensor(bank.region_boxes[images])
    counts = torch.from_numpy(np.asarray(bank.region_counts[images], dtype=np.int64))
    used = torch.arange(regions.shape[1]) < counts[:, None]
    return network.encode_images(coarse, fine, regions, boxes, used)


def as_tensor(values: NDArray[Any]) -> Tensor:
    """A float32 tensor with a copy of the values (a bank's arrays are read-only)."""
    return torch.from_numpy(np.array(values, dtype=np.float32))


def rows_of(images: Ints, widest: int) -> tuple[Ints, Ints, Ints, int]:
    """Lay pairs that are sorted by image out in rows of equal width, one image a row.

    Returns:
        The images, ascending; for each row the number of its image among them; for each pair its
        place in the rows laid end to end; the width, at most `widest`.
    """
    unique, start, count = np.unique(images, return_index=True, return_counts=True)
    width = int(np.clip(np.ceil(count.mean()), 1, widest))
    rows = -(-count // width)
    first_row = np.cumsum(rows) - rows
    place = np.arange(len(images)) - np.repeat(start, count)
    slot = np.repeat(first_row * width, count) + place
    return unique, np.repeat(np.arange(len(unique)), rows), slot, width


def _ids(values: ArrayLike, name: str, count: int) -> Ints:
    """[P] int64 ids in 0 .. count - 1, checked."""
    ids = np.asarray(values)
    if ids.ndim != 1 or (ids.size and ids.dtype.kind not in "iu"):
        raise DSAError(
            f"{name} ids must be a flat array of integers, not {ids.dtype.name}{list(ids.shape)}."
        )
    if ids.size and not 0 <= ids.min() <= ids.max() < count:
        raise DSAError(f"{name} ids must lie in 0..{count - 1}, got {ids.min()}..{ids.max()}.")
    return ids.astype(np.int64)


def _same_length(first: Ints, second: Ints) -> None:
    if len(first) != len(second):
        raise DSAError(
            f"Ids come in pairs, got {len(first)} and {len(second)}; give one image for each."
        )


def _read_config(path: Path) -> DetectorConfig:
    found = read_json(path)
    known = {field.name for field in fields(DetectorConfig)}
    if not isinstance(found, dict) or set(found) != known:
        raise DSAError(
            f"{path} is not a hallucination detector's (it needs {', '.join(sorted(known))}); "
            "train the detector again."
        )
    return DetectorConfig(**found)
