"""From a model's name to its encoder, by the `model_type` of its configuration."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

from dsa_env.encoders import model_folder
from dsa_env.errors import DSAError

if TYPE_CHECKING:
    from dsa_env.encoders.protocol import FrozenEncoder


@dataclass(frozen=True)
class Family:
    """An encoder for models of one `model_type`.

    Attributes:
        place: "module:name" of what makes the encoder.
        features: what its features are.
        texts: whether text features can come from elsewhere.
    """

    place: str
    features: str
    texts: bool = False

    def __str__(self) -> str:
        """What its features are."""
        return self.features


_SIGLIP = "the towers' embeddings; patches through the attention-pooling head"

FAMILIES = {
    "clip": Family(
        "dsa_env.encoders.dual:ClipEncoder",
        "CLIP: the towers' embeddings; patches through the visual projection",
    ),
    "siglip": Family("dsa_env.encoders.dual:SiglipEncoder", f"SigLIP, SigLIP2: {_SIGLIP}"),
    "siglip2": Family("dsa_env.encoders.dual:SiglipEncoder", f"SigLIP2 NaFlex: {_SIGLIP}"),
    "llava": Family(
        "dsa_env.encoders.llava:LlavaEncoder",
        "LLaVA: vision layers through the projector; texts by input embeddings, or all in the "
        "space of its CLIP",
        texts=True,
    ),
    "blip-2": Family(
        "dsa_env.encoders.blip2:blip2_encoder",
        "BLIP-2: Q-Former queries, in ITC space or where the language model reads",
    ),
    "idefics": Family(
        "dsa_env.encoders.idefics:IdeficsEncoder",
        "IDEFICS (open Flamingo): perceiver latents as the first cross-attention adds them",
    ),
}
"""The encoder of each `model_type`."""

_OTHER = Family("dsa_env.encoders.dual:DualEncoder", "another dual encoder: pooled and crops")


def load_encoder(
    name: str,
    *,
    coarse: str = "pooled",
    fine: str = "crops",
    device: str = "cpu",
    dtype: str = "float32",
    text: str | None = None,
) -> FrozenEncoder:
    """Loads a frozen encoder by hub name, local folder or "embedded".

    Args:
        name: which model; its configuration's `model_type` decides the family. Models of no
            family here serve too if they have `get_text_features` and `get_image_features`.
        coarse: "pooled" (scene-level) or "layer:K", the K-th layer of the vision transformer,
            0 its patch embedding, -1 its last.
        fine: "crops" (each region cut out and embedded), "patches" (patch tokens pooled inside
            each box, no second pass), or "queries" (BLIP-2's queries or IDEFICS' latents are the
            regions: no detector).
        device: torch device.
        dtype: "float32", "bf16" or "fp16", of the model; features are float32.
        text: where text features come from, for families that offer a choice; None is the
            family's default.

    Raises:
        DSAError: if the model cannot be loaded, no encoder knows it, or it has no such features.
    """
    from transformers import AutoConfig

    from dsa_env.encoders.loading import loading

    with loading("encoder", name):
        config = AutoConfig.from_pretrained(model_folder(name, "encoder"))
    kind = str(config.model_type)
    if kind not in FAMILIES and not _is_dual(config):
        raise DSAError(
            f"{name!r} is a {kind!r} model, which no encoder knows; choose one of the types "
            f"{', '.join(FAMILIES)}, or another model with get_text_features and "
            "get_image_features"
        )
    family = FAMILIES.get(kind, _OTHER)
    options: dict[str, Any] = {} if text is None else {"text": text}
    if options and not family.texts:
        choice = ", ".join(other for other, one in FAMILIES.items() if one.texts)
        raise DSAError(
            f"{name!r} has one kind of text features; leave the text option out, which is for "
            f"{choice} models"
        )
    module, _, encoder = family.place.partition(":")
    loaded: FrozenEncoder = getattr(import_module(module), encoder)(
        name, coarse=coarse, fine=fine, device=device, dtype=dtype, **options
    )
    return loaded


def _is_dual(config: Any) -> bool:
    """Whether the model that `AutoModel` makes of a configuration embeds texts and pictures."""
    from transformers import MODEL_MAPPING

    model: Any = MODEL_MAPPING.get(type(config), None)
    if isinstance(model, tuple):
        model = model[0]
    return all(hasattr(model, part) for part in ("get_text_features", "get_image_features"))
