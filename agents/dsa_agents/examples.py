"""Queries to look at: what the best fixed g retrieved, and what the agent's g did."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dsa_agents.verdict import label
from dsa_env.rendering import render

if TYPE_CHECKING:
    from dsa_agents.evaluate import Evaluation
    from dsa_env.core import RetrievalCore


@dataclass(frozen=True)
class Example:
    """A query shown twice: with the best fixed g and with the agent's.

    Attributes:
        title: what it is an example of.
        before: PNG bytes of the frame with the best fixed g.
        after: PNG bytes of the frame with the agent's g.
        before_text: what the first frame shows, for those who do not see it.
        after_text: the same for the second.
    """

    title: str
    before: bytes
    after: bytes
    before_text: str
    after_text: str


def find_examples(evaluation: Evaluation, seed: int = 0) -> list[Example]:
    """Queries drawn at random where the agent's first seed and the best fixed g differ in the hit.

    One of each kind of query that the agent alone answers, and one that the best fixed g alone
    answers; the titles say how many of either there are.
    """
    recall = f"recall@{evaluation.core.k}"
    agent = evaluation.measures[evaluation.agent]
    change = agent[recall][0] - evaluation.measures["fixed"][recall][0]
    won, lost = np.flatnonzero(change > 0), np.flatnonzero(change < 0)
    names, code = evaluation.groups
    rng = np.random.default_rng(seed)
    name = label(evaluation.agent)
    chosen = [
        (
            f"{kind.capitalize()}: one of {len(members):,} queries that {name} alone answers.",
            members,
        )
        for kind, members in _by_group(won, names, code).items()
    ]
    chosen.append((f"All: one of {len(lost):,} that the best fixed g alone answers.", lost))
    g = agent["granularity"][0]
    return [
        _example(evaluation.core, title, int(rng.choice(members)), evaluation.fixed, g)
        for title, members in chosen
        if len(members)
    ]


def _by_group(
    query: NDArray[np.int64], names: tuple[str, ...], code: NDArray[np.int64]
) -> dict[str, NDArray[np.int64]]:
    """The queries of each group; all together where there are no groups."""
    if not names:
        return {"all": query}
    return {name: query[code[query] == index] for index, name in enumerate(names)}


def _example(
    core: RetrievalCore, title: str, query: int, fixed: float, g: NDArray[np.float64]
) -> Example:
    before, after = fixed, float(g[query])
    return Example(
        title,
        _png(core, query, before),
        _png(core, query, after),
        str(render(core, query, before, "ansi")),
        str(render(core, query, after, "ansi")),
    )


def _png(core: RetrievalCore, query: int, g: float) -> bytes:
    """The frame of one step as PNG bytes."""
    frame = render(core, query, g, "rgb_array")
    stream = io.BytesIO()
    Image.fromarray(np.asarray(frame, dtype=np.uint8)).save(stream, format="PNG", optimize=True)
    return stream.getvalue()
