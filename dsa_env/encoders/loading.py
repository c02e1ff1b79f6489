"""Loading models from the hub or a folder: without noise, and with one clear error."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from dsa_env.errors import DSAError, unknown

_LOUD = ("transformers", "huggingface_hub", "httpx2")
CURE = "Give a hub name or a local folder with model, tokenizer and image processor."
DTYPES = {
    "float32": torch.float32,
    "fp32": torch.float32,
    "bf16": torch.bfloat16,
    "bfloat16": torch.bfloat16,
    "fp16": torch.float16,
    "float16": torch.float16,
}


@contextmanager
def loading(kind: str, name: str, cure: str = CURE) -> Iterator[None]:
    """Loads in silence; what goes wrong becomes one `DSAError`.

    Args:
        kind: what is loaded ("encoder").
        name: its hub name or folder.
        cure: what to give instead.

    Raises:
        DSAError: for anything that transformers could not find, reach or read.
    """
    from transformers.utils import logging as transformers_logging

    loggers = [logging.getLogger(name) for name in _LOUD]
    levels = [logger.level for logger in loggers]
    shows_bars = transformers_logging.is_progress_bar_enabled()
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    transformers_logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except DSAError:
        raise
    except Exception as error:  # readers of foreign files fail in as many ways as there are files
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__).rstrip(".:")
        raise DSAError(f"the {kind} {name!r} cannot be loaded: {reason}. {cure}") from error
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
        if shows_bars:
            transformers_logging.enable_progress_bar()


def frozen(model_class: Any, source: str, name: str, dtype: str, device: str, **more: Any) -> Any:
    """A model of `model_class` in eval mode, without gradients, on `device` in `dtype`.

    Args:
        model_class: transformers class with `from_pretrained`.
        source: hub name or folder.
        name: what the user called it.
        dtype: one of `DTYPES`.
        device: torch device.
        more: further arguments of `from_pretrained`, such as a trimmed `config`.

    Raises:
        DSAError: for an unknown dtype or device, or a checkpoint without all of the weights.
    """
    place = torch_device(device)
    model, report = model_class.from_pretrained(
        source, dtype=torch_dtype(dtype), output_loading_info=True, **more
    )
    weights = {key for key, _ in model.named_parameters()}  # buffers are made, not learned
    missing = sorted(weights & set(report["missing_keys"]))
    if missing:
        raise DSAError(
            f"the checkpoint {name!r} lacks {len(missing)} weights of {type(model).__name__}, the "
            f"first is {missing[0]}; give a checkpoint of that class"
        )
    return model.eval().requires_grad_(False).to(place)


def load_tokenizer(source: str, name: str) -> Any:
    """The tokenizer of a hub name or folder.

    Args:
        source: hub name or folder.
        name: what the user called it.

    Raises:
        DSAError: if it knows no words: transformers makes an empty one where files are missing.
    """
    from transformers import AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(source)
    if not set(tokenizer.get_vocab()) - set(tokenizer.all_special_tokens):
        raise DSAError(
            f"the encoder {name!r} has no tokenizer files; save its tokenizer beside the model"
        )
    if tokenizer.pad_token is None:  # padding is masked, whatever it is
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token
    return tokenizer


def torch_dtype(name: str) -> torch.dtype:
    """The torch dtype of "float32", "bf16" or "fp16".

    Raises:
        DSAError: for another name.
    """
    if name not in DTYPES:
        raise unknown("dtype", name, ("float32", "bf16", "fp16"))
    return DTYPES[name]


def torch_device(name: str) -> torch.device:
    """The torch device of a name such as "cpu", "cuda" or "cuda:1".

    Raises:
        DSAError: if there is no such device here.
    """
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = next(iter(str(error).splitlines()), "").partition(". ")[0]
        raise DSAError(f"device {name!r} cannot be used: {reason}; try --device cpu") from error
    return device
