"""What is compared, how it is trained, and how large the comparison is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from dsa_env.errors import DSAError

if TYPE_CHECKING:
    from dsa_env.vqa.training import TrainingSettings


@dataclass(frozen=True)
class Variant:
    """One way to answer.

    Attributes:
        label: its name in the tables of the page.
        short: its name where there is little room.
        fusion: one of `dsa_env.vqa.model.FUSION_NAMES`.
        changes: what differs from the common settings of training.
        note: what it is, in a sentence.
    """

    label: str
    short: str
    fusion: str
    changes: Mapping[str, Any]
    note: str


_MAJORITY = Variant(
    "most frequent answer",
    "most frequent",
    "",
    {},
    "Always the most frequent training answer of the question's family; no training.",
)
MAJORITY = "majority"
VARIANTS: Mapping[str, Variant] = MappingProxyType(
    {
        "question-only": Variant(
            "question only",
            "question only",
            "question-only",
            {},
            "Blind: no picture. What the words give away.",
        ),
        "static": Variant(
            "static",
            "static",
            "static",
            {},
            "Fixed concatenation and projection; only what follows learns.",
        ),
        "attention": Variant(
            "attention",
            "attention",
            "attention",
            {},
            "Cross-attention of the question over the views.",
        ),
        "dynamic": Variant(
            "dynamic (ours)",
            "dynamic",
            "dynamic",
            {},
            "The alignment matrix, V' = A V and L' = A L.",
        ),
        "frozen": Variant(
            "without the dynamic matrix",
            "A frozen",
            "dynamic-frozen",
            {},
            "A stays as it was drawn.",
        ),
        "one-way": Variant(
            "without the bi-directional process",
            "one direction",
            "dynamic-one-way",
            {},
            "The contrastive loss in one direction only.",
        ),
        "no-contrast": Variant(
            "without the contrastive loss",
            "no contrast",
            "dynamic",
            {"alignment": 0.0},
            "A learns from the answers alone, as the baselines do.",
        ),
        "no-blend": Variant(
            "without the granularity blend",
            "no blend",
            "dynamic",
            {"granularity": None},
            "Both views side by side in place of g V_fine + (1 - g) V_coarse.",
        ),
        "no-stability": Variant(
            "without clipping and the slow rate",
            "no stability",
            "dynamic",
            {"clip": None, "matrix_lr": "rest_lr"},
            "Gradients are not clipped, and A learns as fast as everything else.",
        ),
    }
)
"""What is trained, by name, in the order of the tables."""
ROWS: Mapping[str, Variant] = MappingProxyType({MAJORITY: _MAJORITY, **VARIANTS})
"""Every row: what is trained, and what needs no training."""
MAIN = ("question-only", "static", "attention", "dynamic")
ABLATIONS = ("dynamic", "frozen", "one-way", "no-contrast", "no-blend", "no-stability")


@dataclass(frozen=True)
class Plan:
    """A benchmark's size and settings.

    Attributes:
        seeds: one training of every variant each.
        images: pictures of the train split; None for all.
        per_image: questions a picture on average, where they are written here.
        batch: questions a step.
        epochs: at most.
        patience: epochs without progress that end training.
        rate: factor on both learning rates of the source paper (1e-4 for A, 1e-3 for the rest).
        alignment: weight of the contrastive loss.
        resamples: behind the intervals.
        rounds: interleaved rounds of the timing.
    """

    seeds: tuple[int, ...] = (0, 1, 2)
    images: int | None = 3000
    per_image: int = 10
    batch: int = 32
    epochs: int = 50
    patience: int = 5
    rate: float = 1.0
    alignment: float = 0.1
    resamples: int = 2000
    rounds: int = 200

    def __post_init__(self) -> None:
        """Check the numbers.

        Raises:
            DSAError: naming the one that is out of range.
        """
        sizes = ("per_image", "batch", "epochs", "patience", "rounds")
        for name in sizes:
            if getattr(self, name) < 1:
                raise DSAError(f"{name} must be at least 1, got {getattr(self, name)}.")
        if self.images is not None and self.images < 1:
            raise DSAError(f"images must be at least 1, got {self.images}; leave it out for all.")
        if not self.seeds or len(set(self.seeds)) < len(self.seeds) or min(self.seeds) < 0:
            raise DSAError(f"seeds must be different whole numbers from 0, got {self.seeds}.")
        if not self.rate > 0 or self.alignment < 0 or self.resamples < 0:
            raise DSAError("rate must be above 0, alignment and resamples at least 0.")

    @classmethod
    def quick(cls) -> Plan:
        """A small comparison within minutes: fewer pictures, larger steps at faster rates."""
        return cls(seeds=(0, 1), images=700, batch=128, epochs=7, patience=3, rate=3.0, rounds=60)

    def settings(self, variant: str) -> TrainingSettings:
        """How a variant is trained: the same as all others but for its own changes."""
        from dsa_env.alignment.stability import MATRIX_LR, REST_LR
        from dsa_env.vqa.training import TrainingSettings

        common = TrainingSettings(
            batch=self.batch,
            epochs=self.epochs,
            patience=self.patience,
            matrix_lr=self.rate * MATRIX_LR,
            rest_lr=self.rate * REST_LR,
            alignment=self.alignment,
        )
        changes = dict(VARIANTS[variant].changes)
        if changes.get("matrix_lr") == "rest_lr":
            changes["matrix_lr"] = common.rest_lr
        return replace(common, **changes)

    def to_json(self) -> dict[str, Any]:
        """The numbers, as JSON's types."""
        return {**asdict(self), "seeds": list(self.seeds)}
