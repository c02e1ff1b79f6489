"""The controllers that are attached: from runs or folders of their own, and whether they fit."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dsa_agents.run_folder import PROVENANCE, RunFolder, TrainConfig
from dsa_env.controller import INPUTS, GranularityController
from dsa_env.errors import DSAError

if TYPE_CHECKING:
    from dsa_env.captioning.captioner import Captioner

DIRECTION = "captioning"
OWN = INPUTS[:2]
"""What a generating model knows by itself: the text and the image."""
FROM_METADATA = ("direction", "k", "horizon", "reward", "reward_kwargs", "model", "prompts", "grid")


@dataclass(frozen=True, eq=False)
class Controllers:
    """The trained controllers of a run, one a seed, or a single one.

    Attributes:
        path: where they come from.
        each: in evaluation mode.
        config: what they were trained for; of an exported one, as far as it says.
        seeds: of each; -1 where it does not say.
        bank: the data hash of the bank that they were trained on; None where it does not say.
        identity: that of the model whose captions they were trained on; None likewise.
        train_seconds: mean seconds of training a seed; None likewise.
    """

    path: str
    each: tuple[GranularityController, ...]
    config: TrainConfig
    seeds: tuple[int, ...]
    bank: str | None
    identity: str | None
    train_seconds: float | None

    def to_json(self) -> dict[str, Any]:
        """What the results say of them."""
        return {
            "path": self.path,
            "seeds": list(self.seeds),
            "train_seconds": self.train_seconds,
            "algorithm": self.config.algorithm,
            "reward": self.config.reward,
            "reward_kwargs": self.config.reward_kwargs,
            "parameters": sum(value.numel() for value in self.each[0].parameters()),
        }


def open_controllers(path: str, seeds: tuple[int, ...] | None = None) -> Controllers:
    """Open a run's folder or a controller's, or a controller on the hub.

    Args:
        path: of it.
        seeds: which of a run's; None takes the one that did best on validation.

    Raises:
        DSAError: there is no controller, the run is unfinished or has no such seed.
    """
    if (Path(path) / PROVENANCE).is_file():
        run = RunFolder.open(path, check_bank=False)
        chosen = (run.best_seed,) if seeds is None else seeds
        return Controllers(
            path,
            tuple(run.controller(seed).eval() for seed in chosen),
            run.config,
            chosen,
            str(run.provenance["bank_sha256"]),
            run.provenance.get("model_identity"),
            run.train_seconds,
        )
    if seeds is not None:
        raise DSAError(f"{path} is a single controller and no run; leave --seeds out.")
    controller = GranularityController.from_pretrained(path).eval()
    known = controller.metadata
    given = {name: known[name] for name in FROM_METADATA if known.get(name) is not None}
    if "prompts" in given:
        given["prompts"] = tuple(given["prompts"])
    config = replace(TrainConfig(), **given, algorithm=str(known.get("algorithm", "unknown")))
    seed, bank = int(known.get("seed", -1)), known.get("bank_sha256")
    identity = known.get("model_identity")
    return Controllers(path, (controller,), config, (seed,), bank, identity, None)


def beside(controller: GranularityController, model: Any) -> GranularityController:
    """The controller on a model's device; a copy of it where that is not a processor."""
    if model.device.type == "cpu":
        return controller
    return copy.deepcopy(controller).to(model.device)


def why_not(controllers: Controllers, captioner: Captioner) -> str | None:
    """Why a controller cannot be attached to a model, in words; None where it can."""
    config, controller = controllers.config, controllers.each[0]
    if config.direction != DIRECTION:
        words = config.direction.replace("_", " ")
        return (
            f"{controllers.path} was trained for {words}, on a bank's features; train one with "
            f"dsa train --direction {DIRECTION} --model {captioner.name}"
        )
    other = [name for name in controller.inputs if name not in OWN]
    if other:
        return f"{controllers.path} reads {' and '.join(other)}, which a single generation has not"
    own = captioner.widths
    if any(own[name] != width for name, width in controller.inputs.items()):
        return (
            f"{controllers.path} reads features of {list(controller.inputs.values())} numbers, "
            f"but this model's have {[own[name] for name in controller.inputs]}: it was trained "
            "with another model"
        )
    if _another(controllers, captioner):
        return f"{controllers.path} was trained with another model, {config.model}"
    return None


def _another(controllers: Controllers, captioner: Captioner) -> bool:
    """Whether a controller was trained on another model's captions, as far as that can be told."""
    from dsa_env.captioning.families import model_identity

    trained = controllers.config.model
    if controllers.identity is None and trained == captioner.name:
        return False
    if controllers.identity is None and not Path(trained).is_dir():
        return False
    return (controllers.identity or model_identity(trained)) != model_identity(captioner.name)
