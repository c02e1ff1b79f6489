"""``DSA/Captioning-v0``: choose how much detail a frozen model reads before it writes a caption."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from dsa_env.core import RetrievalCore
from dsa_env.env import CoreEnv, check_render_mode
from dsa_env.vector import CoreVectorEnv

if TYPE_CHECKING:
    from dsa_env.bank import FeatureBank

DIRECTION = "captioning"


class CaptioningEnv(CoreEnv):
    """Choose, for one picture and prompt at a time, how much detail a frozen model reads.

    ## Description

    A frozen multimodal model (LLaVA, BLIP-2, IDEFICS) is asked about a picture. The agent answers
    with a granularity g, and the model writes its caption, greedily, while it reads

        V' = g * V_fine + (1 - g) * V_coarse

    in place of its picture tokens V_fine, V_coarse being their mean at every place
    (`dsa_env.mllm.attach`). The caption is then judged: does it find its own picture, and is what
    it asserts true of it? One judge serves all captions, whatever g wrote them.

    Captions are written once for a grid of granularities, and g means the nearest one of the grid;
    what was written is kept in the bank's cache folder, and a killed writing goes on where it
    stopped. With ``live=True`` they are written when a step asks for them, for the exact g.

    ## Observation space

    A ``Dict`` of flat float32 boxes in [-1, 1], of what the frozen model itself knows before it
    writes (`dsa_env.mllm.features`); a controller inside `dsa_env.mllm.attach` reads the same.

    | key         | meaning                                                                     |
    |-------------|-----------------------------------------------------------------------------|
    | text        | mean input embedding of the prompt's words [D], of unit length              |
    | image       | mean picture token, and root mean square deviation from it [2 D'], each of  |
    |             | unit length                                                                 |
    | granularity | the g last used [1], 0.5 at the start                                       |
    | retrieved   | the bank's coarse and fine features of the picture that the last caption    |
    |             | found, zeros at the start                                                   |

    The last two exist for ``horizon`` above 1 only.

    ## Action space

    ``Box(0, 1, (1,), float32)``: the granularity g. Actions outside are clipped; NaN is an error.

    ## Rewards

    Those of ``DSA/Retrieval-v0``, by default ``clip(alpha * Recall@k + beta * penalty)``.
    Recall@k is *self-retrieval*: the caption goes through the bank's frozen text encoder, and is 1
    if its own picture is among the first k of the gallery (the galleries of text to image, each
    picture in the even blend of its two views). The penalty is minus the severity: the mean of
    1 - probability over the facts that the caption asserts, by the bank's hallucination detection
    network. A caption of which no fact can be read has severity 1: it supports nothing, and
    silence shall not pay. In a bank without that network severities are 0.

    ## Starting state

    A query, that is a picture and a prompt, of the split, drawn uniformly and with replacement;
    ``reset(options={"query": i})`` chooses query i: prompt i % P of picture i // P.

    ## Episode end

    The episode terminates after ``horizon`` steps, all of them on the same query. It is never
    truncated.

    ## Arguments

    | argument      | default    | meaning                                                         |
    |---------------|------------|-----------------------------------------------------------------|
    | bank          | "embedded" | folder of a feature bank with pictures, of ``dsa build``       |
    | model         | "embedded" | the small LLaVA that ships, a local folder or a hub name        |
    | prompts       | None       | what is asked of each picture; None: the model's own list       |
    | split         | "train"    | "pretrain", "train", "validation" or "test"                     |
    | k             | 10         | cut-off of Recall@k, 1 to 10                                    |
    | grid          | 11         | granularities that captions are written for                     |
    | live          | False      | write captions on demand, for the exact g; horizon 1, no oracle |
    | reward        | None       | as in ``DSA/Retrieval-v0``                                      |
    | reward_kwargs | None       | as in ``DSA/Retrieval-v0``                                      |
    | horizon       | 1          | steps per episode                                               |
    | render_mode   | None       | None, "ansi" or "rgb_array"                                     |
    | observation   | "features" | or "index", the query's number                                  |

    ## Info

    As in ``DSA/Retrieval-v0``: ``rank`` and ``recall`` of self-retrieval, ``severity`` of the
    caption on its own picture, ``retrieved`` the picture that the caption finds.
    ``oracle_reward`` and ``regret`` are left out with ``live``.

    ## Vector version

    ``gymnasium.make_vec("DSA/Captioning-v0", num_envs=1024)`` makes `CaptioningVectorEnv`, whose
    environment i, seeded with s, does exactly what this one does when seeded with s + i.

    ## Version history

    * v0: the first version.
    """

    def __init__(
        self,
        bank: str | os.PathLike[str] | FeatureBank = "embedded",
        model: str = "embedded",
        prompts: Sequence[str] | None = None,
        split: str = "train",
        k: int = 10,
        grid: int = 11,
        live: bool = False,
        reward: Any = None,
        reward_kwargs: dict[str, Any] | None = None,
        horizon: int = 1,
        render_mode: str | None = None,
        observation: str = "features",
    ) -> None:
        check_render_mode(render_mode)
        core = RetrievalCore(
            bank,
            DIRECTION,
            split,
            k,
            horizon,
            reward,
            reward_kwargs,
            observation=observation,
            model=model,
            prompts=prompts,
            grid=grid,
            live=live,
        )
        super().__init__(core, render_mode)


class CaptioningVectorEnv(CoreVectorEnv):
    """`CaptioningEnv`, `num_envs` times side by side; that class documents the environment.

    Args:
        num_envs: number of environments.
        bank: this and the others as in `CaptioningEnv`.
        model: see there.
        prompts: see there.
        split: see there.
        k: see there.
        grid: see there.
        live: see there.
        reward: see there.
        reward_kwargs: see there.
        horizon: see there.
        render_mode: see there.
        observation: see there.
    """

    def __init__(
        self,
        num_envs: int = 1,
        bank: str | os.PathLike[str] | FeatureBank = "embedded",
        model: str = "embedded",
        prompts: Sequence[str] | None = None,
        split: str = "train",
        k: int = 10,
        grid: int = 11,
        live: bool = False,
        reward: Any = None,
        reward_kwargs: dict[str, Any] | None = None,
        horizon: int = 1,
        render_mode: str | None = None,
        observation: str = "features",
    ) -> None:
        check_render_mode(render_mode)
        core = RetrievalCore(
            bank,
            DIRECTION,
            split,
            k,
            horizon,
            reward,
            reward_kwargs,
            observation=observation,
            model=model,
            prompts=prompts,
            grid=grid,
            live=live,
        )
        super().__init__(core, num_envs, render_mode)
