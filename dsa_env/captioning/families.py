"""The generating models by family: their class, how they are asked, and what by default."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from dsa_env.encoders import model_folder
from dsa_env.errors import DSAError
from dsa_env.files import read_json, sha256_file

PART = "llava"
"""Which of the embedded models writes captions."""
PROMPTS = "prompts.json"
"""Where a model's folder may hold a list of what it is asked by default."""


@dataclass(frozen=True)
class Family:
    """Generating models of one `model_type`.

    Attributes:
        model_class: its name in transformers.
        form: from a prompt to what the processor is given, where it has no chat template.
        prompts: what is asked where a model has no list of its own.
    """

    model_class: str
    form: Callable[[str], str]
    prompts: tuple[str, ...]


def _blip2_form(prompt: str) -> str:
    """Questions in the form that BLIP-2 was evaluated with (Li et al. 2023); others are begun."""
    return f"Question: {prompt} Answer:" if prompt.rstrip().endswith("?") else prompt


FAMILIES: dict[str, Family] = {
    "llava": Family(
        "LlavaForConditionalGeneration",
        lambda prompt: f"USER: <image>\n{prompt} ASSISTANT:",
        ("describe the picture", "describe the picture briefly"),
    ),
    "blip-2": Family(
        "Blip2ForConditionalGeneration", _blip2_form, ("a photo of", "What is in the picture?")
    ),
    "idefics": Family(
        "IdeficsForVisionText2Text",
        lambda prompt: prompt,
        ("Describe the picture:", "Describe the picture in a few words:"),
    ),
}
"""The generating models by the `model_type` of their configuration."""


def find_family(name: str) -> Family:
    """The family of a model; reads its configuration alone.

    Args:
        name: a hub name, a local folder or ``"embedded"``.

    Raises:
        DSAError: it cannot be read, or is of no family.
    """
    kind = _config(name).get("model_type")
    if kind not in FAMILIES:
        raise DSAError(
            f"{name!r} is a {kind!r} model, which no captioner knows; choose one of the types "
            f"{', '.join(FAMILIES)}."
        )
    return FAMILIES[kind]


def own_prompts(name: str) -> tuple[str, ...]:
    """What a model is asked by default: the list in its folder, else its family's.

    Raises:
        DSAError: the list is no list of texts.
    """
    file = Path(model_folder(name, PART)) / PROMPTS
    if not file.is_file():
        return find_family(name).prompts
    found = read_json(file)
    if not isinstance(found, list) or not found or not all(isinstance(one, str) for one in found):
        raise DSAError(f"{file} must be a list of prompts; write them as JSON, or remove it.")
    return tuple(found)


def own_dtype(name: str) -> str:
    """The precision that a model's weights were saved in."""
    config = _config(name)
    return str(config.get("dtype") or config.get("torch_dtype") or "float32")


def model_bytes(name: str) -> float:
    """The size of a model's files; infinite for one that lies on a hub."""
    folder = Path(model_folder(name, PART))
    if not folder.is_dir():
        return float("inf")
    return sum(file.stat().st_size for file in folder.iterdir() if file.is_file())


@cache
def model_identity(name: str) -> str:
    """A hash of a model's files, weights included, or of the hub's commit that they are of."""
    folder = Path(model_folder(name, PART))
    if not folder.is_dir():
        parts = [name, str(_config(name).get("_commit_hash"))]
    else:
        files = sorted(file for file in folder.iterdir() if file.is_file())
        parts = [f"{file.name} {sha256_file(file)}" for file in files]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _config(name: str) -> dict[str, Any]:
    from transformers import PreTrainedConfig

    from dsa_env.encoders.loading import loading

    with loading("captioner", name):
        found: dict[str, Any] = PreTrainedConfig.get_config_dict(model_folder(name, PART))[0]
    if not found:
        raise DSAError(
            f"the captioner {name!r} cannot be loaded: it has no config.json. Give a hub name or a "
            "local folder of a LLaVA, BLIP-2 or IDEFICS."
        )
    return found
