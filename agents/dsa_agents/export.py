"""From a trained model to the controller that is shared and deployed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import nn

from dsa_agents.algorithms import get_algorithm
from dsa_agents.run_folder import RunFolder, check_free
from dsa_env.controller import GranularityController

if TYPE_CHECKING:
    from collections.abc import Mapping

    from stable_baselines3.common.base_class import BaseAlgorithm

    from dsa_agents.adapter import Standardise


def controller_from_model(
    model: BaseAlgorithm,
    algorithm: str,
    inputs: Mapping[str, int],
    hyperparameters: Mapping[str, Any],
    metadata: Mapping[str, Any] | None = None,
) -> GranularityController:
    """A controller with a copy of the weights of a model's deterministic policy.

    Args:
        model: built by `dsa_agents.algorithms.build_model`.
        algorithm: its name.
        inputs: width of each entry of the observation, by name, in order.
        hyperparameters: all of the model's.
        metadata: for the controller.
    """
    policy = cast("Any", model.policy)
    if get_algorithm(algorithm).on_policy:
        extractor, parts = (
            policy.features_extractor,
            [
                policy.mlp_extractor.policy_net,
                policy.action_net,
            ],
        )
    else:
        actor = policy.actor
        latent = [actor.latent_pi] if hasattr(actor, "latent_pi") else []
        extractor, parts = actor.features_extractor, [*latent, actor.mu]
    controller = GranularityController(
        inputs,
        hyperparameters["net_arch"],
        hyperparameters["activation"],
        get_algorithm(algorithm).squash,
        metadata,
    )
    _copy(cast("Standardise", extractor), nn.Sequential(*parts), controller)
    return controller.eval()


@torch.no_grad()
def _copy(source: Standardise, layers: nn.Module, target: GranularityController) -> None:
    target.mean.copy_(source.mean)
    target.std.copy_(source.std)
    trained = [layer for layer in layers.modules() if isinstance(layer, nn.Linear)]
    empty = [layer for layer in target.net if isinstance(layer, nn.Linear)]
    for layer, copy in zip(trained, empty, strict=True):
        copy.load_state_dict(layer.state_dict())


def export(run: RunFolder, out: str | Path, seed: int | None = None) -> GranularityController:
    """Write a run's controller to a folder of its own and return it.

    Args:
        run: a finished run.
        out: a new or empty folder.
        seed: whose controller; by default the seed with the highest validation reward.

    Raises:
        DSAError: when the folder is in use or the run has no such seed.
    """
    folder = Path(out)
    check_free(folder)
    controller = run.controller(run.best_seed if seed is None else seed)
    controller.save_pretrained(folder)
    return controller
