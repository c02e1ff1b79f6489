"""A query, what it retrieved, the granularity and the reward's terms, as text and as a picture."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dsa_env.errors import unknown

if TYPE_CHECKING:
    from dsa_env.core import RetrievalCore

TOP = 5
RENDER_MODES = ("ansi", "rgb_array")


@dataclass(frozen=True)
class Item:
    """A text or a picture as it is shown.

    Attributes:
        label: the text, or the name of a picture.
        picture: the picture's file; None for a text or where the bank has no pictures.
        id: the bank id.
        score: blended cosine with the query.
        positive: whether it is a right answer.
    """

    label: str
    picture: Path | None
    id: int
    score: float = 0.0
    positive: bool = False


@dataclass(frozen=True)
class View:
    """Everything that a frame shows.

    Attributes:
        title: direction, split and cut-off.
        asks_picture: whether the query is a picture (else a text).
        pictures: whether the retrieved items are pictures (else captions).
        query: what was asked.
        answers: lines below the query: the texts that belong to a picture, or what was written
            about it; empty for a text.
        kind: the query's kind, empty where the bank has none.
        items: the best candidates at g; empty before the first action.
        g: the granularity used; None before the first action.
        oracle_g: a g that earns the best reward; None where there is no such.
        numbers: rank, reward, oracle and regret by name, as they are written out.
        terms: the reward's unweighted terms.
    """

    title: str
    asks_picture: bool
    pictures: bool
    query: Item
    answers: tuple[str, ...]
    kind: str
    items: tuple[Item, ...]
    g: float | None
    oracle_g: float | None
    numbers: dict[str, str]
    terms: dict[str, float]


def render(core: RetrievalCore, query: int, g: float | None, mode: str) -> str | NDArray[np.uint8]:
    """Draw one step.

    Args:
        core: the core of the environment.
        query: position of the query in the split.
        g: the granularity used; None before the first action.
        mode: ``"ansi"`` for text, ``"rgb_array"`` for a picture [400, 720, 3] uint8.
    """
    if mode == "ansi":
        return as_text(view(core, query, g))
    if mode == "rgb_array":
        from dsa_env.frame import as_picture

        return as_picture(view(core, query, g))
    raise unknown("render mode", mode, RENDER_MODES)


def view(core: RetrievalCore, query: int, g: float | None) -> View:
    """Collect what a frame shows; ranks the query's shortlist at g on the fly."""
    retrieval = core.retrieval
    names = retrieval.kinds(core.bank)
    kind = "" if retrieval.kind is None else names[retrieval.kind[query]]
    best = float(core.oracle()[1][query])
    numbers: dict[str, str] = {}
    terms: dict[str, float] = {}
    items: tuple[Item, ...] = ()
    if g is not None:
        items = tuple(
            _item(core, one.item, retrieval.finds_pictures, score=one.score, positive=one.positive)
            for one in retrieval.best(core.bank, query, float(g), TOP)
        )
        step = core.step(np.array([query]), np.array([g], dtype=np.float32))
        values, info = step.values, step.info()
        terms = {name: float(term[0]) for name, term in info["reward_terms"].items()}
        numbers = _numbers(values[0], info)
    asked = _item(core, int(retrieval.query_ids[query]), retrieval.asks_pictures)
    return View(
        title=f"{core.direction.replace('_', ' ')}, {core.split}, Recall@{core.k}",
        asks_picture=retrieval.asks_pictures,
        pictures=retrieval.finds_pictures,
        query=replace(asked, label=retrieval.question(core.bank, query)),
        answers=retrieval.told(core.bank, query, None if g is None else float(g)),
        kind=kind,
        items=items,
        g=None if g is None else float(g),
        oracle_g=None if np.isnan(best) else best,
        numbers=numbers,
        terms=terms,
    )


def as_text(shown: View) -> str:
    """The view as lines of text."""
    kind = f" ({shown.kind})" if shown.kind else ""
    lines = [shown.title, f"query{kind}: {shown.query.label}"]
    lines += [f"       {answer}" for answer in shown.answers]
    lines.append(_gauge(shown))
    lines += [
        f"{place:>3}. {item.score:+.3f} {'*' if item.positive else ' '} {item.label}"
        for place, item in enumerate(shown.items, 1)
    ]
    if shown.numbers:
        lines.append("  ".join(f"{name} {value}" for name, value in shown.numbers.items()))
    if shown.terms:
        lines.append("  ".join(f"{name} {value:+.3f}" for name, value in shown.terms.items()))
    return "\n".join(lines)


def _gauge(shown: View, width: int = 41) -> str:
    """The granularity on a line from coarse to fine: # is the g used, ^ the oracle's."""
    line = ["-"] * width
    if shown.oracle_g is not None:
        line[round(shown.oracle_g * (width - 1))] = "^"
    if shown.g is not None:
        line[round(shown.g * (width - 1))] = "#"
    used = "not chosen yet" if shown.g is None else f"{shown.g:.2f}"
    best = "" if shown.oracle_g is None else f", oracle {shown.oracle_g:.2f}"
    return f"coarse |{''.join(line)}| fine   g {used}{best}"


def _item(core: RetrievalCore, id: int, picture: bool, **shown: Any) -> Item:
    """An item by its bank id, with its text or its picture's file where the bank has them."""
    if picture:
        file = core.bank.image_path(id)
        return Item(f"picture {id}", file if file and file.is_file() else None, id, **shown)
    texts = core.bank.texts
    return Item(f"text {id}" if texts is None else texts[id], None, id, **shown)


def _numbers(value: Any, info: dict[str, Any]) -> dict[str, str]:
    rank = float(info["rank"][0])
    numbers = {"rank": f"{rank:.0f}" if rank == int(rank) else f"{rank:.1f}"}
    if np.ndim(value):
        return {**numbers, "reward": "(" + ", ".join(f"{part:+.2f}" for part in value) + ")"}
    numbers["reward"] = f"{value:+.2f}"
    if "oracle_reward" in info:
        numbers["oracle"] = f"{float(info['oracle_reward'][0]):+.2f}"
        numbers["regret"] = f"{float(info['regret'][0]):.2f}"
    return numbers
