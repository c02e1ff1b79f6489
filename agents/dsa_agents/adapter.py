"""The environment as Stable-Baselines3 sees it: batched, flat, without one dict per environment."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from gymnasium.spaces import Box
from gymnasium.utils import seeding
from numpy.typing import NDArray
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.vec_env import VecEnv
from torch import Tensor

from dsa_env.core import Observation, RetrievalCore
from dsa_env.episodes import Episodes, draw_key
from dsa_env.errors import DSAError

CHUNK = 1 << 14
MOST_INDEXED = 1 << 24
"""Whole numbers up to this are exact in float32."""
FLAT_STD = 1e-6
"""Entries that vary less than this over the train split are centred but not scaled."""


class CoreVecEnv(VecEnv):
    """`n_envs` environments of one core, in lockstep.

    The observation is the concatenation of the core's entries in the order of `inputs`, float32
    [n_envs, D]; the action is a Box(-1, 1, (1,)) that becomes g = (a + 1) / 2, so that a fresh
    policy starts in the middle of [0, 1] and not at its edge. Environment i, seeded with s, draws
    the queries that a `dsa_env.RetrievalEnv` seeded with s + i draws.

    The infos are one shared empty dictionary: episodes only ever terminate, and Stable-Baselines3
    needs ``terminal_observation`` for truncated ones alone.

    With `indexed` the observation is the number of the query, float32 [n_envs, 1], and the policy
    gathers the features itself (`IndexedFeatures`): rollouts and replay buffers then hold one
    number a step.

    Args:
        core: one split of a bank with a scalar reward.
        n_envs: number of environments.
        seed: of environment 0.
        indexed: whether the observation is the query's number; with a horizon of 1 only.

    Attributes:
        inputs: width of each entry of the observation, by name, in order.

    Raises:
        DSAError: when `n_envs` is below 1, the reward is a vector, or the queries of the core
            cannot be told by number.
    """

    def __init__(
        self, core: RetrievalCore, n_envs: int, seed: int = 0, *, indexed: bool = False
    ) -> None:
        if n_envs < 1:
            raise DSAError(f"n_envs must be at least 1, got {n_envs}.")
        require_scalar(core)
        if indexed:
            require_indexable(core)
        self.indexed = indexed
        self.core = core
        self.inputs = input_widths(core)
        self.render_mode = None
        width = sum(self.inputs.values())
        seen = (
            Box(0.0, float(core.n_queries - 1), (1,), np.float32)
            if indexed
            else Box(-1.0, 1.0, (width,), np.float32)
        )
        super().__init__(n_envs, seen, Box(-1.0, 1.0, (1,), np.float32))
        self._episodes = Episodes(core, n_envs)
        self._actions = np.zeros((n_envs, 1), dtype=np.float32)
        self._infos: list[dict[str, Any]] = [{}] * n_envs
        self._running = np.zeros(n_envs, dtype=np.bool_)
        self._ended = np.ones(n_envs, dtype=np.bool_)
        self.seed(seed)

    def seed(self, seed: int | None = None) -> Sequence[int | None]:
        """Give every environment its stream of queries; takes effect at the next episodes."""
        start = 0 if seed is None else seed
        seeds = range(start, start + self.num_envs)
        self._episodes.seed([draw_key(seeding.np_random(one)[0]) for one in seeds])
        return list(seeds)

    def reset(self) -> NDArray[np.float32]:
        """Start new episodes; returns their first observations [n_envs, D]."""
        self._episodes.begin()
        return self._seen(self._episodes.observe())

    def step_async(self, actions: NDArray[np.float32]) -> None:
        """Keep the actions [n_envs, 1] for `step_wait`."""
        self._actions = actions

    def step_wait(
        self,
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_], list[dict[str, Any]]]:
        """Take the step; where episodes end, the observation is the first of the next ones."""
        if np.isnan(self._actions).any():
            raise DSAError(
                "The policy has diverged (its action is NaN); lower learning_rate or check the "
                "bank with `dsa info`."
            )
        g = np.ascontiguousarray((self._actions[:, 0] + 1.0) / 2.0, dtype=np.float32)
        step, last, seen = self._episodes.turn(g)
        dones = self._running if last is None else self._ended
        return self._seen(seen), step.values.astype(np.float32), dones.copy(), self._infos

    def get_state(self) -> dict[str, NDArray[Any]]:
        """Everything that later steps depend on, as arrays."""
        state = self._episodes
        return {
            "key": state.key.view(np.int64).copy(),
            "drawn": np.array([state.drawn], dtype=np.uint64).view(np.int64),
            "elapsed": np.array([state.elapsed], dtype=np.int64),
            "query": state.query.copy(),
            "granularity": state.granularity.copy(),
            "retrieved": state.retrieved.copy(),
        }

    def set_state(self, saved: dict[str, NDArray[Any]]) -> None:
        """Continue from what `get_state` returned."""
        state = self._episodes
        state.key = saved["key"].view(np.uint64).copy()
        state.drawn = int(saved["drawn"].view(np.uint64)[0])
        state.elapsed = int(saved["elapsed"][0])
        state.query = saved["query"].copy()
        state.granularity = saved["granularity"].copy()
        state.retrieved = saved["retrieved"].copy()

    def _seen(self, observation: Observation) -> NDArray[np.float32]:
        if self.indexed:
            return self._episodes.query.astype(np.float32)[:, None]
        return flatten(observation)

    def close(self) -> None:
        """Nothing is held open."""

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """An attribute of this object, once per environment."""
        return [getattr(self, attr_name)] * len(list(self._get_indices(indices)))

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Set an attribute of this object; the environments share everything."""
        setattr(self, attr_name, value)

    def env_method(self, method_name: str, *args: Any, indices: Any = None, **kwargs: Any) -> Any:
        """Refused: there are no single environments to call."""
        raise DSAError(f"CoreVecEnv is one batch and has no environments to call {method_name} on.")

    def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
        """Nothing is wrapped."""
        return [False] * len(list(self._get_indices(indices)))


class Standardise(BaseFeaturesExtractor):
    """(x - mean) / std with frozen statistics, part of the model's weights."""

    mean: Tensor
    std: Tensor

    def __init__(
        self, observation_space: Box, mean: NDArray[np.float32], std: NDArray[np.float32]
    ) -> None:
        super().__init__(observation_space, len(mean))
        self.register_buffer("mean", torch.as_tensor(mean, dtype=torch.float32).clone())
        self.register_buffer("std", torch.as_tensor(std, dtype=torch.float32).clone())

    def forward(self, observations: Tensor) -> Tensor:
        """[B, D] to [B, D]."""
        return (observations - self.mean) / self.std


class IndexedFeatures(Standardise):
    """`Standardise` of the features of queries that come as numbers [B, 1].

    The features are a frozen table [Q, D]; all extractors of a model share it, and it is no part of
    the model's weights.
    """

    table: Tensor

    def __init__(
        self,
        observation_space: Box,
        mean: NDArray[np.float32],
        std: NDArray[np.float32],
        table: Tensor,
    ) -> None:
        super().__init__(observation_space, mean, std)
        self.register_buffer("table", table, persistent=False)

    def forward(self, observations: Tensor) -> Tensor:
        """[B, 1] to [B, D]."""
        return super().forward(self.table[observations[:, 0].long()])


def feature_table(core: RetrievalCore) -> Tensor:
    """The flat observation of every query of a core, [Q, D] float32."""
    require_indexable(core)
    return torch.from_numpy(flatten(core.observe(np.arange(core.n_queries))))


def require_indexable(core: RetrievalCore) -> None:
    """`DSAError` unless a query's number says all that is observed, and float32 can hold it."""
    if core.horizon > 1:
        raise DSAError(
            "With a horizon above 1 the observation changes within an episode, so the query's "
            "number is not enough; train on features."
        )
    if core.n_queries > MOST_INDEXED:
        raise DSAError(
            f"{core.n_queries:,} queries cannot be told apart as float32 numbers (at most "
            f"{MOST_INDEXED:,}); train on features."
        )


def require_scalar(core: RetrievalCore) -> None:
    """`DSAError` when the core's reward is a vector."""
    if core.reward_space is not None:
        raise DSAError(
            "These algorithms need a scalar reward and this one is a vector of "
            f"{core.reward_space.shape[0]}; weigh its terms, as reward 'clipped' does."
        )


def input_widths(core: RetrievalCore) -> dict[str, int]:
    """Width of each entry of the observation, by name, in the order of `flatten`."""
    return {name: int(rows.shape[1]) for name, rows in core.observe(np.zeros(1, np.int64)).items()}


def flatten(observation: Observation) -> NDArray[np.float32]:
    """The entries side by side: [B, D] float32."""
    return np.concatenate(list(observation.values()), axis=1)


def observation_statistics(
    core: RetrievalCore,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Mean and standard deviation [D] of the flat observation over all queries of a split.

    For a horizon above 1 the refining entries are those after a uniformly random first g.
    """
    total = sum(input_widths(core).values())
    first, second = np.zeros(total), np.zeros(total)
    for observation in _observations(core):
        rows = flatten(observation).astype(np.float64)
        first += rows.sum(axis=0)
        second += np.square(rows).sum(axis=0)
    mean = first / core.n_queries
    std = np.sqrt(np.maximum(second / core.n_queries - np.square(mean), 0.0))
    std[std < FLAT_STD] = 1.0
    return mean.astype(np.float32), std.astype(np.float32)


def _observations(core: RetrievalCore) -> Iterator[Observation]:
    """Observations of every query once, in chunks."""
    rng = np.random.default_rng(0)
    for start in range(0, core.n_queries, CHUNK):
        query = np.arange(start, min(start + CHUNK, core.n_queries))
        if core.horizon == 1:
            yield core.observe(query)
        else:
            g = rng.random(len(query), dtype=np.float32)
            yield core.observe(query, g, core.evaluate(query, g)[2].retrieved)
