"""Inside a vision transformer: early layers, the patches of a box, and pooling over them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dsa_env.errors import DSAError


def parse_coarse(coarse: str) -> int | None:
    """The K of "layer:K", or None for "pooled".

    Raises:
        DSAError: for anything else.
    """
    match = re.fullmatch(r"layer:(-?\d+)", coarse)
    if not match and coarse != "pooled":
        raise DSAError(f'Unknown coarse feature {coarse!r}. Available: "pooled", "layer:K".')
    return int(match[1]) if match else None


def resolve_layer(layer: int, layers: int, name: str) -> int:
    """A layer counted from 0 (the patch embedding) to `layers` (the last); -1 is the last.

    Raises:
        DSAError: listing the range if there is no such layer.
    """
    if not -layers - 1 <= layer <= layers:
        raise DSAError(
            f"the vision transformer of {name!r} has no layer {layer}; choose layer:0 (the patch "
            f"embedding) to layer:{layers} (the last), or layer:-1 to layer:{-layers - 1}"
        )
    return layer % (layers + 1)


@contextmanager
def tap(blocks: Any, layers: Iterable[int]) -> Iterator[dict[int, Tensor]]:
    """Keeps the hidden states of some layers while a transformer runs; no others are held.

    Args:
        blocks: its layers, a `ModuleList`.
        layers: 0 is what enters the first block, k what leaves the k-th, as `hidden_states[k]`.

    Yields:
        A dictionary that holds hidden states [B, T, H] by layer after a forward pass.
    """
    seen: dict[int, Tensor] = {}

    def entering(module: Any, args: Any, kwargs: Any) -> None:
        seen[0] = args[0] if args else kwargs["hidden_states"]

    def leaving(layer: int) -> Callable[[Any, Any, Any], None]:
        def hook(module: Any, args: Any, output: Any) -> None:
            seen[layer] = output if torch.is_tensor(output) else output[0]

        return hook

    hooks = [
        blocks[layer - 1].register_forward_hook(leaving(layer))
        if layer
        else blocks[0].register_forward_pre_hook(entering, with_kwargs=True)
        for layer in set(layers)
    ]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def patches_in(boxes: NDArray[np.floating], rows: int, columns: int) -> NDArray[np.bool_]:
    """Which patches of a grid belong to a box: those whose centre lies in it, at least one.

    Args:
        boxes: (cx, cy, w, h) as shares of what the grid covers, [r, 4].
        rows: patches from top to bottom.
        columns: patches from left to right.

    Returns:
        [r, rows * columns], row by row. A box between all centres gets the patch it lies in.
    """
    cx, cy, w, h = np.asarray(boxes, dtype=np.float64).reshape(-1, 4).T[..., None]
    x = (np.arange(columns) + 0.5) / columns
    y = (np.arange(rows) + 0.5) / rows
    across = np.abs(x - cx) <= w / 2
    down = np.abs(y - cy) <= h / 2
    # along each axis: where no centre is inside, the patch that holds the box's centre
    across |= ~across.any(1, keepdims=True) & _holding(cx, columns)
    down |= ~down.any(1, keepdims=True) & _holding(cy, rows)
    both: NDArray[np.bool_] = down[:, :, None] & across[:, None, :]
    return both.reshape(len(across), rows * columns)


def _holding(centre: NDArray[np.float64], cells: int) -> NDArray[np.bool_]:
    cell = np.clip((centre * cells).astype(int), 0, cells - 1)
    holds: NDArray[np.bool_] = cell == np.arange(cells)
    return holds


def members(
    boxes: Sequence[NDArray[np.floating]], rows: int, columns: int
) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """The patches [N, P] of all boxes of several pictures, and each box's picture [N]."""
    inside = [patches_in(some, rows, columns) for some in boxes]
    owner = np.repeat(np.arange(len(boxes)), [len(some) for some in inside])
    return np.concatenate(inside), owner


def mean_pool(tokens: Tensor, inside: NDArray[np.bool_], owner: NDArray[np.int64]) -> Tensor:
    """The mean of the tokens in each box: tokens [B, P, D], inside [N, P], owner [N] -> [N, D]."""
    out = torch.empty(len(owner), tokens.shape[2], device=tokens.device)
    mask = torch.from_numpy(inside).to(tokens.device, torch.float32)
    mask = mask / mask.sum(1, keepdim=True)
    rows = torch.from_numpy(owner).to(tokens.device)
    for picture in np.unique(owner).tolist():
        mine = rows == picture
        out[mine] = mask[mine] @ tokens[picture].float()
    return out


def attend_pool(
    pool: Callable[[Tensor], Tensor],
    tokens: Tensor,
    inside: NDArray[np.bool_],
    owner: NDArray[np.int64],
    batch: int = 64,
) -> Tensor:
    """A learned pooling that sees the tokens in each box alone.

    Boxes with equally many tokens go through `pool` together: no mask is needed.

    Args:
        pool: contexts [n, T, H] of any length T -> [n, D].
        tokens: [B, P, H].
        inside: [N, P], which tokens each box has.
        owner: [N], each box's picture.
        batch: most contexts at a time.

    Returns:
        [N, D] float32.
    """
    counts = inside.sum(1)
    parts: list[Tensor] = []
    order: list[NDArray[np.int64]] = []
    for count in np.unique(counts).tolist():
        same = np.flatnonzero(counts == count)
        for start in range(0, len(same), batch):
            chosen = same[start : start + batch]
            index = np.nonzero(inside[chosen])[1].reshape(len(chosen), count)
            context = tokens[
                torch.from_numpy(owner[chosen])[:, None].to(tokens.device),
                torch.from_numpy(index).to(tokens.device),
            ]
            parts.append(pool(context).float())
            order.append(chosen)
    if not parts:
        return torch.empty(0, 0, device=tokens.device)
    back = np.argsort(np.concatenate(order))
    return torch.cat(parts)[torch.from_numpy(back).to(tokens.device)]
