"""Whether rankings survive a low precision, tried on a sample of the pictures before any work."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from dsa_env.datasets import Picture
from dsa_env.errors import DSAError
from dsa_env.extraction.decode import BadPictureError, open_picture
from dsa_env.extraction.models import Models, load_encoder_of
from dsa_env.extraction.settings import BuildSettings

SAMPLE = 64  # pictures, each with its first caption


def check_rankings(
    models: Models, settings: BuildSettings, pictures: Sequence[Picture], *, accept: bool = False
) -> dict[str, Any] | None:
    """Compares rankings with those of the same encoder in float32, and says how they agree.

    Args:
        models: those of the build.
        settings: from which they were loaded.
        pictures: what the bank will hold; `SAMPLE` of them are looked at, evenly spread.
        accept: go on, with a warning, where rankings do not survive.

    Returns:
        What was measured, as JSON's types; None in float32, or where fewer than three pictures of
        the sample can be read.

    Raises:
        DSAError: rankings do not survive, and `accept` is not set.
    """
    if settings.dtype in ("float32", "fp32"):
        return None
    from dsa_env.encoders.precision import rankings_survive

    told = [picture for picture in pictures if picture.captions]
    places = np.unique(np.linspace(0, len(told) - 1, min(SAMPLE, len(told))).astype(int))
    texts, images = [], []
    for place in places:
        try:
            images.append(open_picture(told[place].file))
        except BadPictureError:
            continue  # reported when its turn comes
        texts.append(told[place].captions[0].text)
    if len(images) < 3:
        return None
    reference = load_encoder_of(replace(settings, dtype="float32"))
    agreement = rankings_survive(models.encoder, reference, texts, images)
    print(f"{settings.dtype} against float32: {agreement}", file=sys.stderr)
    if not agreement.survives:
        said = f"Rankings do not survive {settings.dtype}: {agreement}"
        if not accept:
            raise DSAError(f"{said}. Take --dtype float32, or --accept-dtype to build it anyway.")
        print(f"warning: {said}; the bank is built as --accept-dtype asks", file=sys.stderr)
    return {"dtype": settings.dtype, **asdict(agreement), "survives": agreement.survives}
