"""Environments in which an agent learns how much detail a frozen vision-language model should use.

Importing this package registers ``DSA/Retrieval-v0`` and ``DSA/Captioning-v0`` with Gymnasium and
loads nothing but numpy and gymnasium; everything else is loaded when it is first asked for.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

import gymnasium as gym

if TYPE_CHECKING:
    from dsa_env.bank import FeatureBank
    from dsa_env.captioning.captioner import Captioner
    from dsa_env.captioning_env import CaptioningEnv, CaptioningVectorEnv
    from dsa_env.controller import GranularityController
    from dsa_env.env import RetrievalEnv
    from dsa_env.errors import BankError, DSAError
    from dsa_env.hallucination import HallucinationDetector
    from dsa_env.outcome import Outcome
    from dsa_env.rewards import ClippedReward, ReciprocalRankReward, Reward, TermsReward
    from dsa_env.vector import RetrievalVectorEnv

__version__ = "0.1.0"

__all__ = [
    "CAPTIONING_ID",
    "ENV_ID",
    "BankError",
    "Captioner",
    "CaptioningEnv",
    "CaptioningVectorEnv",
    "ClippedReward",
    "DSAError",
    "FeatureBank",
    "GranularityController",
    "HallucinationDetector",
    "Outcome",
    "ReciprocalRankReward",
    "RetrievalEnv",
    "RetrievalVectorEnv",
    "Reward",
    "TermsReward",
    "register",
]

ENV_ID = "DSA/Retrieval-v0"
CAPTIONING_ID = "DSA/Captioning-v0"

_HOMES = {
    "BankError": "dsa_env.errors",
    "Captioner": "dsa_env.captioning.captioner",
    "CaptioningEnv": "dsa_env.captioning_env",
    "CaptioningVectorEnv": "dsa_env.captioning_env",
    "ClippedReward": "dsa_env.rewards",
    "DSAError": "dsa_env.errors",
    "FeatureBank": "dsa_env.bank",
    "GranularityController": "dsa_env.controller",
    "HallucinationDetector": "dsa_env.hallucination",
    "Outcome": "dsa_env.outcome",
    "ReciprocalRankReward": "dsa_env.rewards",
    "RetrievalEnv": "dsa_env.env",
    "RetrievalVectorEnv": "dsa_env.vector",
    "Reward": "dsa_env.rewards",
    "TermsReward": "dsa_env.rewards",
}


def register() -> None:
    """Register the environments with Gymnasium; calling it again changes nothing."""
    for name, single, vector in (
        (ENV_ID, "dsa_env.env:RetrievalEnv", "dsa_env.vector:RetrievalVectorEnv"),
        (
            CAPTIONING_ID,
            "dsa_env.captioning_env:CaptioningEnv",
            "dsa_env.captioning_env:CaptioningVectorEnv",
        ),
    ):
        if name not in gym.registry:
            gym.register(id=name, entry_point=single, vector_entry_point=vector)


def __getattr__(name: str) -> Any:
    """Load a public name from the module it lives in, on first use (PEP 562)."""
    if name in _HOMES:
        value = getattr(importlib.import_module(_HOMES[name]), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """The public names beside the loaded ones."""
    return sorted({*globals(), *__all__})


register()
