"""Everything a training needs to continue bit for bit, in one file without pickled code.

The model is rebuilt from the run's configuration; the file holds what changed since: weights,
optimisers, counters, generators, the environment, the replay buffer and the callback. It is read
with torch's `weights_only` loader, which runs no code.
"""

from __future__ import annotations

import json
import pickle
import random
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch

from dsa_env.errors import DSAError
from dsa_env.files import atomic_write

if TYPE_CHECKING:
    from stable_baselines3.common.base_class import BaseAlgorithm

    from dsa_agents.adapter import CoreVecEnv

VERSION = 1
COUNTERS = ("num_timesteps", "_n_updates", "_episode_num")
BUFFER_ARRAYS = ("observations", "actions", "rewards", "dones")


def save_checkpoint(path: Path, model: BaseAlgorithm, callback: dict[str, Any]) -> None:
    """Write the state of a training between two rollouts, atomically.

    Args:
        path: the file.
        model: the model in training, on a `CoreVecEnv`.
        callback: the callback's own state; anything JSON can hold.
    """
    _, variables = model._get_torch_save_params()
    state = {
        "version": VERSION,
        "modules": model.get_parameters(),
        "variables": {name: getattr(model, name).detach().clone() for name in variables},
        "counters": {name: int(getattr(model, name)) for name in COUNTERS},
        "last_obs": torch.from_numpy(np.array(model._last_obs)),
        "last_episode_starts": torch.from_numpy(np.array(model._last_episode_starts)),
        "generators": _generators(model),
        "torch_generator": torch.get_rng_state(),
        "environment": _tensors(_environment(model).get_state()),
        "buffer": _buffer(model),
        "callback": json.dumps(callback),
    }
    with atomic_write(path) as temporary:
        torch.save(state, temporary)


def load_checkpoint(path: Path, model: BaseAlgorithm) -> dict[str, Any]:
    """Bring a freshly built model to the state that was saved; returns the callback's state.

    Raises:
        DSAError: when the file is damaged or was written for another model.
    """
    try:
        state = torch.load(path, weights_only=True)
        if state["version"] != VERSION:
            raise KeyError("version")
        model.set_parameters(state["modules"], exact_match=True, device="cpu")
        for name, value in state["variables"].items():
            getattr(model, name).data = value.data
        callback: dict[str, Any] = json.loads(state["callback"])
    except (RuntimeError, KeyError, ValueError, EOFError, pickle.UnpicklingError) as error:
        reason = " ".join(str(error).split())[:200]
        raise DSAError(
            f"{path} cannot be resumed from ({reason}); delete it to train this seed again."
        ) from error
    for name, value in state["counters"].items():
        setattr(model, name, value)
    model._last_obs = state["last_obs"].numpy()
    model._last_episode_starts = state["last_episode_starts"].numpy()
    _environment(model).set_state({k: v.numpy() for k, v in state["environment"].items()})
    _restore_buffer(model, state["buffer"])
    _restore_generators(model, json.loads(state["generators"]))
    torch.set_rng_state(state["torch_generator"])
    return callback


def _environment(model: BaseAlgorithm) -> CoreVecEnv:
    return cast("CoreVecEnv", model.env)


def _generators(model: BaseAlgorithm) -> str:
    """The states of Python's, NumPy's and the action space's generators, as JSON."""
    numpy_state = np.random.get_state(legacy=False)
    numpy_state["state"]["key"] = numpy_state["state"]["key"].tolist()
    return json.dumps(
        {
            "python": random.getstate(),
            "numpy": numpy_state,
            "actions": model.action_space.np_random.bit_generator.state,
        }
    )


def _restore_generators(model: BaseAlgorithm, states: dict[str, Any]) -> None:
    version, internal, gauss = states["python"]
    random.setstate((version, tuple(internal), gauss))
    states["numpy"]["state"]["key"] = np.array(states["numpy"]["state"]["key"], dtype=np.uint32)
    np.random.set_state(states["numpy"])
    model.action_space.np_random.bit_generator.state = states["actions"]


def _buffer(model: BaseAlgorithm) -> dict[str, Any]:
    """The filled part of the replay buffer; empty for algorithms that have none."""
    buffer = getattr(model, "replay_buffer", None)
    if buffer is None:
        return {}
    filled = buffer.buffer_size if buffer.full else buffer.pos + 1
    arrays = {name: getattr(buffer, name)[:filled] for name in BUFFER_ARRAYS}
    return {"pos": buffer.pos, "full": buffer.full, **_tensors(arrays)}


def _restore_buffer(model: BaseAlgorithm, state: dict[str, Any]) -> None:
    if not state:
        return
    buffer = cast("Any", model).replay_buffer
    buffer.pos, buffer.full = state["pos"], state["full"]
    for name in BUFFER_ARRAYS:
        getattr(buffer, name)[: len(state[name])] = state[name].numpy()


def _tensors(arrays: dict[str, Any]) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(np.ascontiguousarray(a)) for name, a in arrays.items()}
