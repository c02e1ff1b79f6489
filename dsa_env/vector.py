"""The native vector environment: many episodes in a few array operations."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from gymnasium.spaces import Box
from gymnasium.utils import seeding
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from dsa_env.core import Observation, RetrievalCore
from dsa_env.env import RENDER_MODES, check_render_mode
from dsa_env.episodes import Episodes, Last, draw_key
from dsa_env.errors import DSAError
from dsa_env.infos import LazyInfos, unbatch, with_masks
from dsa_env.step import Step, flat_actions

if TYPE_CHECKING:
    from dsa_env.bank import FeatureBank


class CoreVectorEnv(VectorEnv[Observation, NDArray[np.float32], NDArray[Any]]):
    """`CoreEnv`, `num_envs` times side by side.

    Autoreset is SAME_STEP: the step that ends the episodes (all end together) returns the first
    observations of the next ones, and the last ones' in ``infos["final_obs"]`` and
    ``infos["final_info"]``. With ``horizon=1`` every step is such a step. Environment i, seeded
    with s, does exactly what a `CoreEnv` does that is seeded with s + i.

    ``infos`` follows Gymnasium's convention: arrays [num_envs] with a mask ``_key`` for each key.
    They are made when they are first asked for, so who does not need them pays nothing.

    Args:
        core: one split as independent problems.
        num_envs: number of environments.
        render_mode: None, ``"ansi"`` or ``"rgb_array"``.
    """

    metadata: ClassVar[dict[str, Any]] = {  # type: ignore[misc]
        "render_modes": list(RENDER_MODES),
        "render_fps": 1,
        "autoreset_mode": AutoresetMode.SAME_STEP,
    }

    def __init__(
        self, core: RetrievalCore, num_envs: int = 1, render_mode: str | None = None
    ) -> None:
        check_render_mode(render_mode)
        if num_envs < 1:
            raise DSAError(f"num_envs must be at least 1, got {num_envs}.")
        self.num_envs = num_envs
        self.render_mode = render_mode
        self.core = core
        self.single_observation_space = self.core.observation_space
        self.single_action_space = self.core.action_space
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.reward_space: Box | None = self.core.reward_space
        self._episodes = Episodes(self.core, num_envs)
        self._keyed = False
        self._action_shapes = (num_envs, 1), (num_envs,)
        self._nobody = np.zeros(num_envs, dtype=np.bool_)
        self._everybody = ~self._nobody
        self._shown: tuple[NDArray[np.int64], NDArray[np.float32] | None] | None = None

    def reset(
        self,
        *,
        seed: int | Sequence[int | None] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[Observation, dict[str, Any]]:
        """Start new episodes everywhere.

        Args:
            seed: one number s, for s + i in environment i, or one number each.
            options: ``{"query": i}``, or one i each, chooses the queries.
        """
        self._seed(seed)
        info = self._episodes.begin(options)
        self._shown = self._episodes.query, None
        return self._episodes.observe(), with_masks(info, self.num_envs)

    def step(
        self, actions: NDArray[np.float32]
    ) -> tuple[Observation, NDArray[Any], NDArray[np.bool_], NDArray[np.bool_], dict[str, Any]]:
        """Use granularities [num_envs, 1], clipped to [0, 1]; rewards are float64."""
        flat = flat_actions(actions, self._action_shapes)
        query = self._episodes.query
        step, last, observation = self._episodes.turn(flat)
        self._shown = query, flat.copy() if self.render_mode else None
        if last is None:
            infos = LazyInfos(self._info, None, step)
            return observation, step.values, self._nobody.copy(), self._nobody.copy(), infos
        infos = LazyInfos(self._final_info, self._final_obs, step, last, self._episodes.query)
        return observation, step.values, self._everybody.copy(), self._nobody.copy(), infos

    def _info(self, step: Step) -> dict[str, Any]:
        return with_masks(step.info(), self.num_envs)

    def _final_obs(self, _step: Step, last: Last, _begun: NDArray[np.int64]) -> Any:
        return unbatch(self.core.observe(*last))

    def _final_info(self, step: Step, _last: Last, begun: NDArray[np.int64]) -> dict[str, Any]:
        """The infos of a step that ended the episodes, ``final_obs`` left out."""
        everyone = np.ones(self.num_envs, dtype=np.bool_)
        return {
            "_final_obs": everyone,
            "final_info": self._info(step),
            "_final_info": everyone.copy(),
            **with_masks({"query": begun.copy()}, self.num_envs),
        }

    def render(self) -> tuple[Any, ...] | None:
        """A frame for each environment: the step just taken, also where a new episode has begun."""
        if self.render_mode is None:
            return None
        if self._shown is None:
            raise DSAError("There is nothing to render yet: call reset() first.")
        from dsa_env.rendering import render

        query, used = self._shown
        granularity = [None] * self.num_envs if used is None else np.clip(used, 0, 1)
        return tuple(
            render(self.core, int(q), g, self.render_mode)
            for q, g in zip(query, granularity, strict=True)
        )

    def _seed(self, seed: int | Sequence[int | None] | None) -> None:
        """Give every environment the key that the scalar environment would draw."""
        if seed is None:
            if not self._keyed:
                self._episodes.seed([draw_key(self.np_random) for _ in range(self.num_envs)])
                self._keyed = True
            return
        seeds = [seed + i for i in range(self.num_envs)] if isinstance(seed, int) else list(seed)
        if len(seeds) != self.num_envs:
            raise DSAError(f"Give one seed, or {self.num_envs} of them; got {len(seeds)}.")
        super().reset(seed=seeds[0])
        self._episodes.seed([draw_key(seeding.np_random(one)[0]) for one in seeds])
        self._keyed = True


class RetrievalVectorEnv(CoreVectorEnv):
    """`RetrievalEnv`, `num_envs` times side by side; that class documents the environment.

    `CoreVectorEnv` says how environments are reset and seeded, and what infos look like.

    Args:
        num_envs: number of environments.
        bank: this and the others as in `RetrievalEnv`.
        direction: see there.
        split: see there.
        k: see there.
        horizon: see there.
        reward: see there.
        reward_kwargs: see there.
        shortlist: see there.
        render_mode: see there.
        faiss: see there.
        observation: see there.
        ambiguity: see there.
    """

    def __init__(
        self,
        num_envs: int = 1,
        bank: str | os.PathLike[str] | FeatureBank = "embedded",
        direction: str = "text_to_image",
        split: str = "train",
        k: int = 10,
        horizon: int = 1,
        reward: Any = None,
        reward_kwargs: dict[str, Any] | None = None,
        shortlist: int | None = None,
        render_mode: str | None = None,
        faiss: bool = False,
        observation: str = "features",
        ambiguity: bool = False,
    ) -> None:
        check_render_mode(render_mode)
        core = RetrievalCore(
            bank,
            direction,
            split,
            k,
            horizon,
            reward,
            reward_kwargs,
            shortlist,
            faiss,
            observation,
            ambiguity,
        )
        super().__init__(core, num_envs, render_mode)
