"""Steps under the two stability techniques (clipping, a slow matrix), and what they record."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from dsa_env.alignment.matrix import AlignmentMatrix
from dsa_env.errors import DSAError

MATRIX_LR, REST_LR, CLIP = 1e-4, 1e-3, 1.0


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
            A: near 1 it moves on, near 0 it wanders, below 0 it swings back.
    """

    def __init__(self, module: nn.Module, clip: float | None = CLIP) -> None:
        if clip is not None and not clip > 0:
            raise DSAError(f"clip must be above 0, or None for no clipping; got {clip}.")
        self.clip = clip
        self.norms: list[float] = []
        self.cosines: list[float] = []
        self._module = module
        self._previous: Tensor | None = None

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
            against the one before), "validation_variance" (of the change of the validation loss
            from epoch to epoch)}; None where there is nothing to tell.
        """
        norms, cosines = np.array(self.norms), np.array(self.cosines)
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
            "validation_variance": float(changes.var()) if len(changes) > 1 else None,
        }

    def state(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """What `restore` needs: JSON, and tensors."""
        tensors = {} if self._previous is None else {"previous_update": self._previous}
        return {"norms": self.norms, "cosines": self.cosines}, tensors

    def restore(self, state: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        """Go on from a `state`."""
        self.norms, self.cosines = list(state["norms"]), list(state["cosines"])
        self._previous = tensors.get("previous_update")

    def _matrix(self) -> Tensor | None:
        parts = [p.detach().flatten() for p in matrix_parameters(self._module) if p.requires_grad]
        return torch.cat(parts) if parts else None

    def _record(self, update: Tensor) -> None:
        if self._previous is not None:
            cosine = torch.nn.functional.cosine_similarity(update, self._previous, dim=0)
            self.cosines.append(float(cosine))
        self._previous = update
