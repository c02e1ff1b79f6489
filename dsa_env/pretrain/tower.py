"""Trains the embedded captioner's vision tower: what stands where, and the scene as a whole."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional as F
from transformers import CLIPVisionConfig, CLIPVisionModel

from dsa_env.datasets.scenes import (
    COLORS,
    CROWDEDNESS,
    FLOORS,
    LAYOUTS,
    LIGHTS,
    MATERIALS,
    MAX_OBJECTS,
    PICTURE_SIZE,
    SHAPES,
    SIZES,
    Scene,
)
from dsa_env.pretrain.stepping import one_cycle, quick
from dsa_env.progress import bar

PATCH, WIDTH = 16, 192
GRID = PICTURE_SIZE // PATCH  # patches along a side
NOTHING, UNSURE = -1, -2  # the attributes of a patch without an object, and at one's edge
ORDER = 3  # so many objects are counted from the front, "further back" is one more class
WORDS = {"shape": SHAPES, "size": tuple(SIZES), "color": COLORS, "material": MATERIALS}
WHOLE = (len(FLOORS), len(LIGHTS), len(LAYOUTS), len(CROWDEDNESS), len(COLORS) + 1, MAX_OBJECTS + 1)
"""Classes of a scene: its properties ("no dominant colour" is one), and the number of objects."""
WHOLE_WEIGHT = 0.5  # of the scene's losses against the patches'
SHAPE_WEIGHT = 2.0  # of the shapes' loss, the hardest to see
QUIET = 1e-2  # weight of the mean square of the coordinates that mean nothing
DENSE = (1 + len(SHAPES), len(SIZES), len(COLORS), len(MATERIALS), ORDER + 2)
"""Classes of a patch, in the order of `patch_labels`; "nothing" is a shape and an order."""


@dataclass(frozen=True)
class TowerRecipe:
    """Everything that the training of the tower depends on.

    Attributes:
        cycles: epochs and highest learning rate of each; the rate rises and falls anew in each.
    """

    seed: int = 0
    cycles: tuple[tuple[int, float], ...] = ((10, 1e-3), (11, 2e-3))
    batch: int = 96
    weight_decay: float = 0.05


def build_tower() -> CLIPVisionModel:
    """The untrained tower: four layers, 64 patches a picture."""
    config = CLIPVisionConfig(
        hidden_size=WIDTH,
        intermediate_size=3 * WIDTH,
        num_hidden_layers=4,
        num_attention_heads=6,
        image_size=PICTURE_SIZE,
        patch_size=PATCH,
    )
    # the default's backward pass is four times as slow on processors, in bfloat16
    tower: CLIPVisionModel = CLIPVisionModel._from_config(config, attn_implementation="eager")
    return tower


def read_pictures(files: Sequence[Path]) -> NDArray[np.uint8]:
    """Pictures [N, side, side, 3] uint8."""
    pictures = np.empty((len(files), PICTURE_SIZE, PICTURE_SIZE, 3), dtype=np.uint8)
    for n, file in enumerate(files):
        with Image.open(file) as opened:
            pictures[n] = np.asarray(opened.convert("RGB"))
    return pictures


def patch_labels(scene: Scene) -> NDArray[np.int8]:
    """What stands at each patch, [GRID, GRID, 5]: four attributes, and whose centre it is.

    The attributes are those of the frontmost object whose box's inscribed ellipse holds the
    patch's centre; `UNSURE` in the rest of a box, `NOTHING` elsewhere. The last label numbers the
    objects from the front, from 0 to `ORDER`, at the patch of their centre, `NOTHING` elsewhere.
    """
    labels = np.full((GRID, GRID, len(WORDS) + 1), NOTHING, dtype=np.int8)
    centre = (np.arange(GRID) + 0.5) * PATCH
    near_to_far = sorted(scene["objects"], key=lambda item: item["3d_coords"][1])
    for place, item in reversed(list(enumerate(near_to_far))):
        code = [words.index(item[name]) for name, words in WORDS.items()]
        x, y, w, h = item["bbox"]
        across, down = (centre - x) / w * 2 - 1, (centre - y) / h * 2 - 1
        box = np.ix_(np.abs(down) <= 1, np.abs(across) <= 1)
        labels[*box, : len(WORDS)] = UNSURE
        labels[down[:, None] ** 2 + across**2 <= 1, : len(WORDS)] = code
        row, column = (int(np.clip(at // PATCH, 0, GRID - 1)) for at in (y + h / 2, x + w / 2))
        labels[row, column] = [*code, min(place, ORDER)]
    return labels


def scene_labels(scene: Scene) -> list[int]:
    """The classes of a scene, in the order of `WHOLE`."""
    told = scene["properties"]
    dominant = told["dominant_color"]
    return [
        FLOORS.index(told["floor"]),
        LIGHTS.index(told["light"]),
        LAYOUTS.index(told["layout"]),
        list(CROWDEDNESS).index(told["crowdedness"]),
        COLORS.index(dominant) if dominant else len(COLORS),
        len(scene["objects"]),
    ]


def as_input(pictures: NDArray[np.uint8]) -> Tensor:
    """Pictures [B, side, side, 3] as the tower reads them, [B, 3, side, side] float32."""
    values = torch.from_numpy(np.array(pictures, order="C")).permute(0, 3, 1, 2).float() / 255
    return (values - 0.5) / 0.25


def patch_features(tower: CLIPVisionModel, pixels: Tensor) -> Tensor:
    """What LLaVA reads of the tower: the last layer's patches [B, GRID * GRID, WIDTH]."""
    states: Tensor = tower(pixels, output_hidden_states=True).hidden_states[-1]
    return states[:, 1:]


def tower_loss(patches: Tensor, dense: Tensor, whole: Tensor) -> Tensor:
    """Sum of cross-entropies whose logits are the first coordinates of the features themselves.

    Heads of their own could read what is faint; who reads the features later could not find it.
    As logits, all that is taught is equally loud, and what is not is asked to be quiet.

    Args:
        patches: [B, T, W] float, the tower's patch features.
        dense: [B, T, 5] int64, as `patch_labels` has them.
        whole: [B, 6] int64, as `scene_labels` has them; told by the mean of the patches.
    """
    classes = [*DENSE, *WHOLE]
    logits = patches.split([*classes, WIDTH - sum(classes)], dim=-1)
    dense_logits, scene_logits, rest = logits[: len(DENSE)], logits[len(DENSE) : -1], logits[-1]
    shape, *others, order = dense_logits
    loss: Tensor = QUIET * rest.square().mean()
    loss = loss + F.cross_entropy(order.flatten(0, 1), dense[..., -1].flatten() + 1)
    loss = loss + SHAPE_WEIGHT * F.cross_entropy(
        shape.flatten(0, 1), dense[..., 0].flatten() + 1, ignore_index=UNSURE + 1
    )
    seen = dense[..., 0] >= 0
    for number, told in enumerate(others, start=1):
        loss = loss + F.cross_entropy(told[seen], dense[seen][:, number])
    for number, told in enumerate(scene_logits):
        loss = loss + WHOLE_WEIGHT * F.cross_entropy(told.mean(dim=1), whole[:, number])
    return loss


def train_tower(
    scenes: Sequence[Scene], pictures: NDArray[np.uint8], recipe: TowerRecipe
) -> CLIPVisionModel:
    """Trains the tower to say of each patch what stands there, and of the mean what scene it is.

    Args:
        scenes: N scene graphs of the encoder split.
        pictures: [N, side, side, 3] uint8; half of them are mirrored in each epoch.
        recipe: what the training depends on.

    Returns:
        The tower in evaluation mode.
    """
    torch.manual_seed(recipe.seed)
    rng = np.random.default_rng(recipe.seed)
    dense = np.stack([patch_labels(scene) for scene in scenes])
    whole = np.array([scene_labels(scene) for scene in scenes])
    tower = build_tower()
    learned = list(tower.parameters())
    each = len(scenes) // recipe.batch
    tower.train()
    with bar("training the vision tower", each * sum(n for n, _ in recipe.cycles)) as progress:
        for epochs, rate in recipe.cycles:
            step = one_cycle(learned, rate, recipe.weight_decay, epochs * each, 0.15)
            for rows in _batches(len(scenes), epochs, recipe.batch, rng):
                mirror = (rng.random(recipe.batch) < 0.5)[:, None, None, None]
                seen = np.where(mirror, pictures[rows][:, :, ::-1], pictures[rows])
                told = np.where(mirror, dense[rows][:, :, ::-1], dense[rows])
                with quick():
                    patches = patch_features(tower, as_input(seen))
                loss = tower_loss(
                    patches.float(),
                    torch.from_numpy(told.astype(np.int64)).flatten(1, 2),
                    torch.from_numpy(whole[rows]),
                )
                step(loss)
                progress.advance()
                progress.describe(f"training the tower (loss {loss.item():.2f})")
    tower.eval()
    return tower


def _batches(
    count: int, epochs: int, batch: int, rng: np.random.Generator
) -> Iterator[NDArray[np.int64]]:
    """Numbers of pictures, each at most once an epoch."""
    for _ in range(epochs):
        order = rng.permutation(count)
        yield from (order[start : start + batch] for start in range(0, count - batch + 1, batch))


@torch.no_grad()
def frozen_features(
    tower: CLIPVisionModel, pictures: NDArray[np.uint8], batch: int = 256
) -> NDArray[np.float16]:
    """Patch features [2, N, T, W] of the pictures and of their mirror images."""
    found = np.empty((2, len(pictures), GRID**2, WIDTH), dtype=np.float16)
    with bar("looking at the pictures", 2 * len(pictures)) as progress:
        for side, seen in enumerate((pictures, pictures[:, :, ::-1])):
            for start in range(0, len(pictures), batch):
                part = slice(start, start + batch)
                found[side, part] = patch_features(tower, as_input(seen[part])).numpy()
                progress.advance(len(found[side, part]))
    return found
