"""From a model's name to its encoder, by the `model_type` of its configuration."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from dsa_env.encoders import model_folder
from dsa_env.encoders.loading import loading
from dsa_env.encoders.protocol import FrozenEncoder
from dsa_env.errors import DSAError

FAMILIES = {
    "clip": "dsa_env.encoders.dual:ClipEncoder",
    "siglip": "dsa_env.encoders.dual:SiglipEncoder",
    "siglip2": "dsa_env.encoders.dual:SiglipEncoder",
    "llava": "dsa_env.encoders.llava:LlavaEncoder",
    "blip-2": "dsa_env.encoders.blip2:blip2_encoder",
    "idefics": "dsa_env.encoders.idefics:IdeficsEncoder",
}
"""Where the encoder of each `model_type` is."""

TEXT_CHOICES = ("llava",)
"""The families whose text features can come from elsewhere."""


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
        fine: "crops" (each region cut out and embedded) or "patches" (patch tokens pooled inside
            each box, no second pass).
        device: torch device.
        dtype: "float32", "bf16" or "fp16", of the model; features are float32.
        text: where text features come from, for families that offer a choice; None is the
            family's default.

    Raises:
        DSAError: if the model cannot be loaded, no encoder knows it, or it has no such features.
    """
    from transformers import AutoConfig

    with loading("encoder", name):
        config = AutoConfig.from_pretrained(model_folder(name, "encoder"))
    kind = str(config.model_type)
    place = FAMILIES.get(kind)
    if place is None and not _is_dual(config):
        known = ", ".join(FAMILIES)
        raise DSAError(
            f"{name!r} is a {kind!r} model, which no encoder knows; choose one of the types "
            f"{known}, or another model with get_text_features and get_image_features"
        )
    module, _, encoder = (place or "dsa_env.encoders.dual:DualEncoder").partition(":")
    if text is not None and kind not in TEXT_CHOICES:
        raise DSAError(
            f"{name!r} has one kind of text features; leave the text option out, which "
            f"{', '.join(TEXT_CHOICES)} models offer"
        )
    options: dict[str, Any] = {} if text is None else {"text": text}
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
