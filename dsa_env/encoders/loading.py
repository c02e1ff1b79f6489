"""Loading models from the hub or a folder: without noise, and with one clear error."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from dsa_env.errors import DSAError

_LOUD = ("transformers", "huggingface_hub", "httpx2")


@contextmanager
def loading(kind: str, name: str, cure: str) -> Iterator[None]:
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
        yield
    except (OSError, ValueError, KeyError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__).rstrip(".")
        raise DSAError(f"the {kind} {name!r} cannot be loaded: {reason}. {cure}") from error
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
        if shows_bars:
            transformers_logging.enable_progress_bar()
