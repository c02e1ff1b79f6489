"""``DSA/Retrieval-v0``: choose how much detail a frozen model should use for a query."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, ClassVar

import gymnasium as gym
import numpy as np
from gymnasium.spaces import Box
from numpy.typing import NDArray

from dsa_env.core import Observation, RetrievalCore
from dsa_env.episodes import Episodes, draw_key
from dsa_env.errors import unknown
from dsa_env.infos import first_info
from dsa_env.solo import Solo
from dsa_env.step import check_actions

if TYPE_CHECKING:
    from dsa_env.bank import FeatureBank

RENDER_MODES = ("ansi", "rgb_array")


def check_render_mode(render_mode: str | None) -> None:
    """Refuse a render mode that does not exist."""
    if render_mode is not None and render_mode not in RENDER_MODES:
        raise unknown("render mode", render_mode, RENDER_MODES)


class CoreEnv(gym.Env[dict[str, Any], NDArray[np.float32]]):
    """One environment on a core; what is asked, seen and rewarded is the core's.

    Args:
        core: one split as independent problems.
        render_mode: None, ``"ansi"`` or ``"rgb_array"``.

    Attributes:
        core: the stateless `RetrievalCore`.
        reward_space: where a vector reward lies, None for a scalar one.
    """

    observation_space: gym.spaces.Dict
    metadata: ClassVar[dict[str, Any]] = {"render_modes": list(RENDER_MODES), "render_fps": 1}  # type: ignore[misc]

    def __init__(self, core: RetrievalCore, render_mode: str | None = None) -> None:
        check_render_mode(render_mode)
        self.render_mode = render_mode
        self.core = core
        self.observation_space = core.observation_space
        self.action_space = core.action_space
        self.reward_space: Box | None = core.reward_space
        solo = core.horizon == 1 and core.retrieval.curves is not None
        self._solo = Solo(core) if solo else None
        self._episodes = Episodes(core, 1)
        self._keyed = False

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Start an episode on a new query, or on ``options["query"]``."""
        if seed is not None:
            super().reset(seed=seed)
        if seed is not None or not self._keyed:
            key = draw_key(self.np_random)
            self._keyed = True
            self._episodes.seed([key])
            if self._solo is not None:
                self._solo.seed(key)
        if self._solo is not None:
            return self._solo.begin(options)
        info = self._episodes.begin(options)
        return self._first_observation(), first_info(info)

    def step(
        self, action: NDArray[np.float32]
    ) -> tuple[Observation, Any, bool, bool, dict[str, Any]]:
        """Rank the gallery with granularity `action` ([1], clipped to [0, 1])."""
        if self._solo is not None:
            observation, value, info = self._solo.advance(action)
            return observation, value, True, False, info
        g = check_actions(action, ((1,), ()))
        step, terminated = self._episodes.advance(g)
        reward = float(step.values[0]) if step.values.ndim == 1 else step.values[0]
        return self._first_observation(), reward, terminated, False, first_info(step.info())

    def render(self) -> Any:
        """The last step as text (``"ansi"``) or as a picture [H, W, 3] uint8 (``"rgb_array"``)."""
        if self.render_mode is None:
            gym.logger.warn(
                "render() was called without a render mode; make the environment with "
                f"render_mode= one of {', '.join(RENDER_MODES)}."
            )
            return None
        from dsa_env.rendering import render

        if self._solo is not None:
            return render(self.core, self._solo.query, self._solo.granularity, self.render_mode)
        state = self._episodes
        g = state.granularity[0] if state.elapsed > 0 else None
        return render(self.core, int(state.query[0]), g, self.render_mode)

    def _first_observation(self) -> Observation:
        return {name: rows[0] for name, rows in self._episodes.observe().items()}


class RetrievalEnv(CoreEnv):
    """Choose, for one query at a time, how much detail a frozen vision-language model should use.

    ## Description

    A frozen encoder sees every picture twice: as a whole (coarse) and by its objects (fine). The
    agent gets a query and answers with a granularity g; the gallery is then ranked by the cosine
    with the blended view

        V' = g * V_fine + (1 - g) * V_coarse

    and the agent is rewarded for what this retrieves. For "a crowded street at night" the whole
    scene is right, for "the small red cup left of the plate" the objects are. In the direction
    ``text_to_image`` the query is a text and the gallery pictures; in ``image_to_text`` the query
    is a picture, whose view is blended, and the gallery captions.

    ## Observation space

    A ``Dict`` of flat float32 boxes in [-1, 1]. It holds only what exists at inference: nothing of
    the matching item that its place on the shortlist does not say.

    | key         | text_to_image                               | image_to_text                    |
    |-------------|---------------------------------------------|----------------------------------|
    | text        | the query's text features [D]               | caption candidates, averaged by  |
    |             |                                             | coarse and by fine match [2 D]   |
    | image       | picture candidates, averaged: coarse        | the picture's coarse and fine    |
    |             | features, fine features [2 D]               | features [2 D]                   |
    | granularity | the g last used [1], 0.5 at the start       | the same                         |
    | retrieved   | coarse and fine features of the picture on  | text features of the caption on  |
    |             | top [2 D], zeros at the start               | top [D], zeros at the start      |

    The last two exist for ``horizon`` above 1 only.

    ## Action space

    ``Box(0, 1, (1,), float32)``: the granularity g, 0 for the whole scene and 1 for the objects.
    Actions outside are clipped; NaN is an error.

    ## Rewards

    By default ``clip(alpha * Recall@k + beta * penalty, low, high)`` with alpha 1, beta 0.25 and
    bounds -1 and 1. Recall@k is 1 when a positive is among the first k and 0 otherwise; the penalty
    is minus the severity, how much of what the text asserts is unsupported by the picture (of the
    query and the item on top). Other rewards, one's own included, by name or by object: see
    `dsa_env.rewards`. A vector reward comes as an array, and `reward_space` says where it lies.

    ## Starting state

    A query of the split, drawn uniformly and with replacement; ``reset(options={"query": i})``
    chooses query i of the split instead.

    ## Episode end

    The episode terminates after ``horizon`` steps, all of them on the same query, each with its own
    reward. With ``horizon=1`` this is a contextual bandit. It is never truncated.

    ## Arguments

    | argument      | default         | meaning                                                  |
    |---------------|-----------------|----------------------------------------------------------|
    | bank          | "embedded"      | folder of a feature bank; the embedded one is built once |
    | direction     | "text_to_image" | or "image_to_text"                                       |
    | split         | "train"         | "pretrain", "train", "validation" or "test"              |
    | k             | 10              | cut-off of Recall@k, 1 to 10                             |
    | horizon       | 1               | steps per episode                                        |
    | reward        | None            | "clipped" (what None means), "reciprocal_rank", "terms", |
    |               |                 | "package.module:Name" or a callable                      |
    | reward_kwargs | None            | arguments of the reward, such as {"beta": 0.5}           |
    | shortlist     | None            | candidates per query; None: all up to 512, else 256      |
    | render_mode   | None            | "ansi" or "rgb_array"                                    |
    | faiss         | False           | candidates from a FAISS index, for very large galleries  |
    | observation   | "features"      | or "index", the query's number, for policies that         |
    |               |                 | gather the features themselves                           |
    | ambiguity     | False           | also observe how many readings the query's text has      |

    ## Info

    ``reset`` gives ``query``, the position of the query in the split. Every ``step`` gives the
    same keys:

    | key           | meaning                                                                   |
    |---------------|---------------------------------------------------------------------------|
    | query         | position of the query in the split                                        |
    | rank          | rank of the best positive, >= 1; the expected rank on ties                |
    | recall        | 1.0 if rank <= k, else 0.0                                                |
    | severity      | in [0, 1]                                                                 |
    | granularity   | the g that was used, after clipping                                       |
    | retrieved     | bank id of the item on top                                                |
    | oracle_reward | the best reward that any g would have earned; NaN for vector rewards      |
    | regret        | oracle_reward - reward, >= 0; NaN for vector rewards                      |
    | reward_terms  | the unweighted terms by name                                              |

    ## Vector version

    ``gymnasium.make_vec("DSA/Retrieval-v0", num_envs=1024)`` makes `RetrievalVectorEnv`, whose
    environment i, seeded with s, does exactly what this one does when seeded with s + i.

    ## Version history

    * v0: the first version.

    Attributes:
        core: the stateless `RetrievalCore`.
        reward_space: where a vector reward lies, None for a scalar one.
    """

    def __init__(
        self,
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
        super().__init__(core, render_mode)
