"""What happens between two rollouts: validation, the best controller, checkpoints, progress."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import numpy as np
from stable_baselines3.common.callbacks import BaseCallback

from dsa_agents.checkpoint import save_checkpoint
from dsa_agents.run_folder import BEST, CHECKPOINT, CURVE, LAST, SUMMARY
from dsa_env.files import write_json

if TYPE_CHECKING:
    from stable_baselines3.common.base_class import BaseAlgorithm

    from dsa_env.controller import GranularityController
    from dsa_env.progress import Bar


class StopRequest:
    """Whether the user asked to stop; a second Ctrl-C stops at once."""

    def __init__(self) -> None:
        self.asked = False

    def ask(self, _signal: int, _frame: FrameType | None) -> None:
        """Handle one SIGINT."""
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True

    def check(self) -> None:
        """Raise KeyboardInterrupt if the user asked; called where it is safe to stop."""
        if self.asked:
            raise KeyboardInterrupt


@contextmanager
def stop_on_interrupt() -> Iterator[StopRequest]:
    """Turn Ctrl-C into a request that is honoured between two rollouts (main thread only)."""
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    before = signal.signal(signal.SIGINT, request.ask)
    try:
        yield request
    finally:
        signal.signal(signal.SIGINT, before)


@dataclass
class TrainingState:
    """What a training found out so far; part of the checkpoint."""

    seconds: float = 0.0
    next_validation: int = 0
    best_step: int = 0
    best_reward: float | None = None
    curve: list[dict[str, float]] = field(default_factory=list)


class TrainingCallback(BaseCallback):
    """Validates, keeps the best controller, writes checkpoints and moves the progress bar.

    Everything happens between two rollouts, after the update, so that a checkpoint is a point
    from which training continues exactly.

    Args:
        folder: the seed's folder.
        state: a new state, or the one of the checkpoint.
        export: builds the controller from the model and a dictionary to put into its metadata.
        validate: the controller's means on the validation split; ``reward`` picks the best.
        validate_every: environment steps between two validations.
        checkpoint_seconds: seconds between two checkpoints.
        stop: honoured by writing a checkpoint and raising `KeyboardInterrupt`.
        bar: the progress bar, counting environment steps; None for none.
    """

    def __init__(
        self,
        folder: Path,
        state: TrainingState,
        *,
        export: Callable[[BaseAlgorithm, dict[str, Any]], GranularityController],
        validate: Callable[[GranularityController], dict[str, float]],
        validate_every: int,
        checkpoint_seconds: float,
        stop: StopRequest,
        bar: Bar | None = None,
    ) -> None:
        super().__init__()
        self.folder = folder
        self.state = state
        self.bar = bar
        self._export = export
        self._validate = validate
        self._every = validate_every
        self._checkpoint_seconds = checkpoint_seconds
        self._stop = stop
        self._seconds_before = state.seconds
        self._started = self._saved = time.monotonic()
        self._rewards: list[float] = []
        self._shown = 0

    def _on_training_start(self) -> None:
        self._started = self._saved = time.monotonic()

    def _on_step(self) -> bool:
        self._rewards.append(float(np.mean(self.locals["rewards"])))
        return True

    def _on_rollout_start(self) -> None:
        steps = self.model.num_timesteps
        self._show(steps)
        if steps >= self.state.next_validation:
            self.validate()
            self.state.next_validation += self._every * (
                (steps - self.state.next_validation) // self._every + 1
            )
        if self._stop.asked:
            self.checkpoint()
            raise KeyboardInterrupt
        if time.monotonic() - self._saved >= self._checkpoint_seconds:
            self.checkpoint()

    def _on_training_end(self) -> None:
        self._show(self.model.num_timesteps)
        if not self.state.curve or self.state.curve[-1]["steps"] < self.model.num_timesteps:
            self.validate()
        self.checkpoint()
        self.write_summary(finished=True)

    def validate(self) -> None:
        """Measure the deterministic policy on the validation split; keep it if it is the best."""
        steps = self.model.num_timesteps
        controller = self._export(self.model, {"steps": steps})
        means = self._validate(controller)
        self.state.curve.append({"steps": steps, "seconds": self.seconds, **means})
        if self.state.best_reward is None or means["reward"] > self.state.best_reward:
            self.state.best_reward, self.state.best_step = means["reward"], steps
            controller.metadata["validation"] = means
            controller.save_pretrained(self.folder / BEST)
        if self.bar is not None:
            self.bar.describe(f"{self.folder.name} validation reward {means['reward']:.4f}")
        self._log(means)

    def checkpoint(self) -> None:
        """Write the checkpoint, the learning curve and an unfinished summary."""
        self.state.seconds = self.seconds
        save_checkpoint(self.folder / LAST / CHECKPOINT, self.model, vars(self.state))
        self.write_summary(finished=False)
        self._saved = time.monotonic()

    def write_summary(self, *, finished: bool) -> None:
        """Write the learning curve and the summary."""
        write_json(self.folder / CURVE, self.state.curve)
        summary = {
            "train_seconds": round(self.seconds, 3),
            "timesteps": self.model.num_timesteps,
            "best_step": self.state.best_step,
            "best_validation_reward": self.state.best_reward,
            "finished": finished,
        }
        write_json(self.folder / SUMMARY, summary)

    @property
    def seconds(self) -> float:
        """Seconds of training so far, interruptions left out."""
        return self._seconds_before + time.monotonic() - self._started

    def _show(self, steps: int) -> None:
        if self.bar is not None:
            self.bar.advance(steps - self._shown)
        self._shown = steps

    def _log(self, means: dict[str, float]) -> None:
        """Write the validation means and SB3's own training figures to TensorBoard."""
        for name, value in means.items():
            self.logger.record(f"validation/{name}", value)
        if self._rewards:
            self.logger.record("rollout/reward", float(np.mean(self._rewards)))
            self.logger.record("time/steps_per_second", self.model.num_timesteps / self.seconds)
            self._rewards.clear()
        self.logger.dump(self.model.num_timesteps)
