"""Steps per second of the environments beside Gymnasium's, EnvPool's and the gather's limit."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode

import dsa_env  # noqa: F401 (registers the environments)
from dsa_env.outcome import Outcome

from .measure import Contender, Rounds, Row, cycle, in_turns

BATCH = 1024
ACTIONS = 64
"""Different batches of actions (and of indices) that go around."""
ROUNDS = 31


def rows(bank: str) -> list[Row]:
    """The rows of the table that are about environments."""
    dense = gym.make_vec("DSA/Retrieval-v0", num_envs=BATCH, bank=bank, direction="image_to_text")
    index = gym.make_vec(
        "DSA/Retrieval-v0", num_envs=BATCH, bank=bank, direction="image_to_text",
        observation="index",
    )  # fmt: skip
    small = gym.make_vec("DSA/Retrieval-v0", num_envs=BATCH, bank=bank)
    own = gym.make_vec(
        "DSA/Retrieval-v0", num_envs=BATCH, bank=bank, direction="image_to_text", reward=priced
    )
    sync = gym.make_vec(
        "CartPole-v1", num_envs=BATCH, vectorization_mode="sync",
        vector_kwargs={"autoreset_mode": AutoresetMode.SAME_STEP},
    )  # fmt: skip
    pools = {f"EnvPool CartPole, threads: {n}": n for n in sorted({1, os.cpu_count() or 1})}
    contenders = {
        "ours": stepping(dense),
        "limit": gathering(dense),
        "index": stepping(index),
        "own": stepping(own),
        "sync": stepping(sync, seconds=0.3),
        **{pool: stepping(envpool(n), seconds=0.2) for pool, n in pools.items()},
    }
    found = in_turns(contenders, ROUNDS)
    other = in_turns({"ours": stepping(small), "limit": gathering(small)}, ROUNDS)
    single = in_turns(
        {"ours": alone("DSA/Retrieval-v0", bank=bank), "peer": alone("CartPole-v1")}, ROUNDS
    )
    where = f"{described(dense)}, batch {BATCH:,}"
    return [
        found.row("native vector env / Gymnasium SyncVectorEnv CartPole", "ours", "sync", 50,
                  note=f"ours: {where}"),
        *(found.row(f"native vector env / {pool}", "ours", pool, 15, note=beside(found, pool))
          for pool in pools),
        found.row("native vector env / `np.take` of the same observations", "ours", "limit", 0.8,
                  note=where),
        found.row("the same with a reward of one's own", "own", "limit", None,
                  note="a function of the outcome that prices g, called and checked at every step"),
        other.row("the same, text to image", "ours", "limit", None, note=described(small)),
        found.row("index observations / Gymnasium SyncVectorEnv CartPole", "index", "sync", 300,
                  note="the policy gathers from the frozen table"),
        single.row("`gym.make` single env / CartPole's", "ours", "peer", 1,
                   note="wrappers of `gym.make` around both; text to image"),
    ]  # fmt: skip


def beside(found: Rounds, pool: str) -> str:
    """What one must know of an EnvPool: how much it copies, and what copying alone would reach."""
    times = {name: found.median(name) / found.median(pool) for name in ("limit", "index")}
    return (
        "ours has one thread; EnvPool hands out 4 floats. `np.take` of our 256, the limit, is "
        f"itself {times['limit']:.1f} times EnvPool here; without the copy (index observations) "
        f"ours is {times['index']:.0f} times"
    )


def priced(outcome: Outcome) -> Any:
    """A reward that looks at g, so that nothing can be prepared for it."""
    return outcome.recall - 0.1 * outcome.granularity, {"recall": outcome.recall}


def stepping(env: Any, seconds: float = 0.1) -> Contender:
    """Steps of a vector environment with random actions; the last observation is held."""
    env.reset(seed=0)
    rng = np.random.default_rng(0)
    space = env.single_action_space if hasattr(env, "single_action_space") else env.action_space
    if isinstance(space, gym.spaces.Box):
        actions = list(rng.random((ACTIONS, BATCH, 1), dtype=np.float32))
    else:
        actions = list(rng.integers(0, 2, (ACTIONS, BATCH)).astype(np.int32))
    following, held = cycle(actions), [None]

    def run() -> int:
        held[0] = env.step(following())
        return BATCH

    return Contender(run, seconds)


def gathering(env: Any) -> Contender:
    """`np.take` of what the environment returns, fresh random queries each time: the limit."""
    retrieval = env.unwrapped.core.retrieval
    table = np.array(retrieval.observation)
    queries = np.random.default_rng(0).integers(len(retrieval), size=(ACTIONS, BATCH))
    following: Callable[[], Any] = cycle(queries)
    held: list[Any] = [None]

    def run() -> int:
        asked = following()
        held[0] = np.take(table, asked, axis=0)
        return BATCH

    return Contender(run)


def alone(name: str, **settings: Any) -> Contender:
    """Episodes of a single environment as `gym.make` gives it."""
    env = gym.make(name, **settings)
    env.reset(seed=0)
    env.action_space.seed(0)
    following = cycle([env.action_space.sample() for _ in range(ACTIONS)])

    def run() -> int:
        _, _, terminated, truncated, _ = env.step(following())
        if terminated or truncated:
            env.reset()
        return 1

    return Contender(run)


def envpool(threads: int) -> Any:
    """EnvPool's CartPole, all environments at each step."""
    import envpool as pool

    return pool.make(
        "CartPole-v1", env_type="gymnasium", num_envs=BATCH, batch_size=BATCH, num_threads=threads
    )


def described(env: Any) -> str:
    """The split in words: queries, candidates, segments, floats observed."""
    core = env.unwrapped.core
    retrieval = core.retrieval
    queries, candidates = retrieval.candidates.shape
    floats = retrieval.observation.shape[1]
    segments = len(retrieval.curves.start) / queries
    return (
        f"{core.direction.replace('_', ' ')}, {queries:,} queries x {candidates} candidates, "
        f"{segments:.0f} segments a query, {floats} floats"
    )
