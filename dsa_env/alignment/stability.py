"""Steps under the two stability techniques (clipping, a slow matrix), and what they record."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from dsa_env.alignment.matrix import AlignmentMatrix
from dsa_env.errors import DSAError

MATRIX_LR, REST_LR, CLIP = 1e-4, 1e-3, 1.0
WINDOW = 50
"""Steps over which it is told how straight A's way is."""


def matrix_parameters(module: nn.Module) -> list[nn.Parameter]:
    """The parameters of every alignment matrix A inside a module."""
    return [
        parameter
        for part in module.modules()
        if isinstance(part, AlignmentMatrix)
        for parameter in part.matrix_parameters()
    ]


def parameter_groups(
    module: nn.Module, matrix_lr: float = MATRIX_LR, rest_lr: float = REST_LR
) -> list[dict[str, Any]]:
    """Groups for a torch optimiser: A with its small learning rate, everything else with its own.

    What is frozen is left out, and so is a group without parameters.
    """
    slow = {id(parameter) for parameter in matrix_parameters(module)}
    learning = [parameter for parameter in module.parameters() if parameter.requires_grad]
    groups = [
        {"params": [one for one in learning if id(one) in slow], "lr": matrix_lr},
        {"params": [one for one in learning if id(one) not in slow], "lr": rest_lr},
    ]
    return [group for group in groups if group["params"]]


class StepRecorder:
    """Takes optimiser steps, clips their gradients, and records how steady A moves.

    Args:
        module: what is trained.
        clip: the gradient's largest length, over all parameters together; None: never clipped.

    Attributes:
        norms: the gradient's length of each step, before clipping.
        cosines: for each step but the first, the cosine between this and the previous update of
            A: near 1 it moves on, below 0 it swings back. An optimiser with momentum keeps it high.
        straightness: for each `WINDOW` steps, how far A came over how far it went: 1 is a straight
            line, 0 swings that lead nowhere.
    """

    def __init__(self, module: nn.Module, clip: float | None = CLIP) -> None:
        if clip is not None and not clip > 0:
            raise DSAError(f"clip must be above 0, or None for no clipping; got {clip}.")
        self.clip = clip
        self.norms: list[float] = []
        self.cosines: list[float] = []
        self.straightness: list[float] = []
        self._module = module
        self._previous: Tensor | None = None
        self._net: Tensor | None = None
        self._way: list[float] = []

    def step(self, optimiser: torch.optim.Optimizer) -> float:
        """Clip the gradients, step, record; returns the gradient's length before clipping.

        Raises:
            DSAError: the gradient is not finite.
        """
        learning = [one for one in self._module.parameters() if one.grad is not None]
        limit = self.clip if self.clip is not None else torch.inf
        norm = float(nn.utils.clip_grad_norm_(learning, limit))
        if not np.isfinite(norm):
            raise DSAError(
                f"The gradient of step {len(self.norms) + 1} is {norm}; are there NaN or infinity "
                "in the features?"
            )
        before = self._matrix()
        optimiser.step()
        if before is not None:
            self._record(self._matrix() - before)  # type: ignore[operator]
        self.norms.append(norm)
        return norm

    @property
    def clipped(self) -> list[bool]:
        """Whether the clip changed the gradient, step by step."""
        return [self.clip is not None and norm > self.clip for norm in self.norms]

    def report(self, validation_losses: ArrayLike = ()) -> dict[str, Any]:
        """What was recorded, ready for JSON.

        Args:
            validation_losses: one an epoch, for the variance of their changes.

        Returns:
            {"clip", "steps", "clipped_share", "gradient_norm": {"mean", "median", "max"},
            "update_cosine" (mean of `cosines`), "swing_share" (of the steps whose update goes
            against the one before), "straightness" (mean), "validation_variance" (of the change of
            the validation loss from epoch to epoch)}; None where there is nothing to tell.
        """
        norms, cosines = np.array(self.norms), np.array(self.cosines)
        straight = np.array(self.straightness)
        changes = np.diff(np.asarray(validation_losses, dtype=np.float64))
        return {
            "clip": self.clip,
            "steps": len(norms),
            "clipped_share": float(np.mean(self.clipped)) if len(norms) else None,
            "gradient_norm": {
                "mean": float(norms.mean()),
                "median": float(np.median(norms)),
                "max": float(norms.max()),
            }
            if len(norms)
            else None,
            "update_cosine": float(cosines.mean()) if len(cosines) else None,
            "swing_share": float((cosines < 0).mean()) if len(cosines) else None,
            "straightness": float(straight.mean()) if len(straight) else None,
            "validation_variance": float(changes.var()) if len(changes) > 1 else None,
        }

    def state(self) -> dict[str, Tensor]:
        """What `restore` needs to go on bit for bit."""
        state = {
            "norms": torch.tensor(self.norms, dtype=torch.float64),
            "cosines": torch.tensor(self.cosines, dtype=torch.float64),
            "straightness": torch.tensor(self.straightness, dtype=torch.float64),
            "way": torch.tensor(self._way, dtype=torch.float64),
        }
        moving = {"previous": self._previous, "net": self._net}
        return state | {name: value for name, value in moving.items() if value is not None}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Go on from a `state`."""
        self.norms, self.cosines = state["norms"].tolist(), state["cosines"].tolist()
        self.straightness, self._way = state["straightness"].tolist(), state["way"].tolist()
        self._previous, self._net = state.get("previous"), state.get("net")

    def _matrix(self) -> Tensor | None:
        parts = [p.detach().flatten() for p in matrix_parameters(self._module) if p.requires_grad]
        return torch.cat(parts) if parts else None

    def _record(self, update: Tensor) -> None:
        if self._previous is not None:
            cosine = torch.nn.functional.cosine_similarity(update, self._previous, dim=0)
            self.cosines.append(float(cosine))
        self._previous = update
        self._net = update if self._net is None else self._net + update
        self._way.append(float(update.norm()))
        if len(self._way) == WINDOW:
            gone = sum(self._way)
            self.straightness.append(float(self._net.norm()) / gone if gone else 1.0)
            self._net, self._way = None, []
