"""The state of an alignment's training in one safetensors file: no pickles, whole or not there."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from dsa_env.alignment.stability import StepRecorder
from dsa_env.errors import DSAError
from dsa_env.files import atomic_write

NOTE = "training"


@dataclass
class Progress:
    """What a training has done so far.

    Attributes:
        epochs: one entry an epoch; the first is the start, before any training.
        best: the parameters of the epoch with the least validation loss.
        best_epoch: which one that is.
        seconds: spent so far.
    """

    epochs: list[dict[str, Any]] = field(default_factory=list)
    best: dict[str, Tensor] = field(default_factory=dict)
    best_epoch: int = 0
    seconds: float = 0.0

    @property
    def losses(self) -> list[float]:
        """The validation losses, the start's first."""
        return [float(epoch["validation_loss"]) for epoch in self.epochs]

    def tell(self, module: nn.Module, validation_loss: float, **more: float | None) -> None:
        """Note an epoch, and its parameters if they are the best so far."""
        number = len(self.epochs)
        scale = module.state_dict()["log_scale"]
        self.epochs.append(
            {
                "epoch": number,
                "validation_loss": validation_loss,
                **more,
                "temperature": float(torch.exp(-scale)),
            }
        )
        if not number or validation_loss < self.losses[self.best_epoch]:
            self.best_epoch = number
            self.best = {name: value.clone() for name, value in module.state_dict().items()}

    def stale(self, patience: int | None) -> bool:
        """Whether so many epochs brought nothing better."""
        return patience is not None and len(self.epochs) - 1 - self.best_epoch >= patience

    def report(self, patience: int | None) -> dict[str, Any]:
        """The part of a training's report that is known here."""
        return {
            "epochs": self.epochs,
            "best_epoch": self.best_epoch,
            "stopped_early": self.stale(patience),
        }


def save_progress(
    path: Path,
    identity: Mapping[str, Any],
    progress: Progress,
    module: nn.Module,
    optimiser: torch.optim.Optimizer,
    recorder: StepRecorder,
) -> None:
    """Write everything that a training needs to go on bit for bit, atomically.

    Args:
        path: the file.
        identity: what makes it this training and no other; JSON values.
        progress: epochs so far.
        module: what is trained.
        optimiser: its optimiser.
        recorder: the record of its steps.
    """
    state = optimiser.state_dict()["state"]
    parts: dict[str, Mapping[str, Tensor]] = {
        "now": module.state_dict(),
        "best": progress.best,
        "recorder": recorder.state(),
        **{f"adam{number}": entries for number, entries in state.items()},
    }
    tensors = {
        f"{part}/{name}": value.detach().clone().contiguous()
        for part, values in parts.items()
        for name, value in values.items()
    }
    note = {
        "identity": dict(identity),
        "epochs": progress.epochs,
        "best_epoch": progress.best_epoch,
        "seconds": progress.seconds,
    }
    with atomic_write(path) as temporary:
        save_file(tensors, temporary, metadata={NOTE: json.dumps(note, sort_keys=True)})


def load_progress(
    path: Path,
    identity: Mapping[str, Any],
    module: nn.Module,
    optimiser: torch.optim.Optimizer,
    recorder: StepRecorder,
) -> Progress:
    """Bring freshly made parts to the state that was saved, and return what was done.

    Raises:
        DSAError: the file is damaged, or belongs to a training with other arguments.
    """
    try:
        with safe_open(path, framework="pt") as stream:
            note = json.loads((stream.metadata() or {})[NOTE])
            tensors = {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118
        given = json.loads(json.dumps(dict(identity)))
        if note["identity"] != given:
            other = [name for name in given if note["identity"].get(name) != given[name]]
            raise DSAError(
                f"{path} belongs to a training with other {', '.join(other)}; go on with its own "
                "arguments, or delete it to start anew."
            )
        module.load_state_dict(_part(tensors, "now"))
        groups = optimiser.state_dict()["param_groups"]
        moments = {n: _part(tensors, f"adam{n}") for group in groups for n in group["params"]}
        state = {number: entries for number, entries in moments.items() if entries}
        optimiser.load_state_dict({"state": state, "param_groups": groups})
        recorder.restore(_part(tensors, "recorder"))
        best = _part(tensors, "best")
        if best.keys() != module.state_dict().keys():
            raise KeyError("best")
        return Progress(note["epochs"], best, int(note["best_epoch"]), float(note["seconds"]))
    except (SafetensorError, OSError, KeyError, TypeError, AttributeError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
    except json.JSONDecodeError as error:
        reason = str(error)
    raise DSAError(f"{path} cannot be resumed from ({reason}); delete it to start anew.")


def _part(tensors: Mapping[str, Tensor], part: str) -> dict[str, Tensor]:
    begin = f"{part}/"
    return {name[len(begin) :]: v for name, v in tensors.items() if name.startswith(begin)}
