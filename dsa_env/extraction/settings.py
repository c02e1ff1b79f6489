"""What the features of a bank depend on beside its data."""

from __future__ import annotations

from dataclasses import dataclass

from dsa_env.encoders import EMBEDDED
from dsa_env.errors import DSAError, unknown

FINE_VIEWS = ("attended", "mean")
BATCH = 32


@dataclass(frozen=True)
class BuildSettings:
    """What the features of a bank depend on beside its data.

    Attributes:
        encoder: frozen encoder by hub name, local folder or "embedded".
        detector: object detector, likewise.
        threshold: least score of a region.
        regions: most regions of a picture.
        fine: how a picture's regions become one fine view: "attended" (weighted by the query) or
            "mean".
        temperature: of the attention's softmax.
        gallery_size: images a gallery, or None for one gallery a split.
        device: torch device of the models.
        coarse: what the coarse view is: "pooled", or "layer:K" of the vision transformer.
        regions_by: what the features of a region are: "crops" (cut out and embedded) or "patches"
            (patch tokens pooled inside its box).
        labels: what a zero-shot detector looks for; None is the detector's own choice.
        dtype: "float32", "bf16" or "fp16", what the encoder computes in; features are float32.
        batch: pictures that the models see at a time.
        text: where text features come from, for encoders that offer a choice.
    """

    encoder: str = EMBEDDED
    detector: str = EMBEDDED
    threshold: float = 0.5
    regions: int = 12
    fine: str = "attended"
    temperature: float = 0.05
    gallery_size: int | None = None
    device: str = "cpu"
    coarse: str = "pooled"
    regions_by: str = "crops"
    labels: tuple[str, ...] | None = None
    dtype: str = "float32"
    batch: int = BATCH
    text: str | None = None

    def __post_init__(self) -> None:
        """Refuses a fine view that does not exist and a batch without pictures.

        Raises:
            DSAError: naming the nearest one.
        """
        if self.fine not in FINE_VIEWS:
            raise unknown("fine variant", self.fine, FINE_VIEWS)
        if self.batch < 1:
            raise DSAError(f"--batch must be at least 1, not {self.batch}.")
