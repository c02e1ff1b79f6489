"""Trains the embedded captioner's vision tower: what stands where, and the scene as a whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
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
from dsa_env.progress import bar

PATCH, WIDTH = 16, 128
GRID = PICTURE_SIZE // PATCH  # patches along a side
NOTHING = -1  # the attribute of a patch without an object
WORDS = {"shape": SHAPES, "size": tuple(SIZES), "color": COLORS, "material": MATERIALS}
WHOLE = (len(FLOORS), len(LIGHTS), len(LAYOUTS), len(CROWDEDNESS), len(COLORS) + 1, MAX_OBJECTS + 1)
"""Classes of a scene: its properties ("no dominant colour" is one), and the number of objects."""
WHOLE_WEIGHT = 0.5  # of the scene's losses against the patches'


@dataclass(frozen=True)
class TowerRecipe:
    """Everything that the training of the tower depends on."""

    seed: int = 0
    epochs: int = 14
    batch: int = 96
    learning_rate: float = 2e-3
    weight_decay: float = 0.05


def build_tower() -> CLIPVisionModel:
    """The untrained tower: four layers, 64 patches a picture."""
    config = CLIPVisionConfig(
        hidden_size=WIDTH,
        intermediate_size=3 * WIDTH,
        num_hidden_layers=4,
        num_attention_heads=4,
        image_size=PICTURE_SIZE,
        patch_size=PATCH,
    )
    return CLIPVisionModel(config)


def read_pictures(files: Sequence[Path]) -> NDArray[np.uint8]:
    """Pictures [N, side, side, 3] uint8."""
    pictures = np.empty((len(files), PICTURE_SIZE, PICTURE_SIZE, 3), dtype=np.uint8)
    for n, file in enumerate(files):
        with Image.open(file) as opened:
            pictures[n] = np.asarray(opened.convert("RGB"))
    return pictures


def patch_labels(scene: Scene) -> NDArray[np.int8]:
    """Attributes of the frontmost object at each patch, [GRID, GRID, 4]; `NOTHING` without one.

    An object has the patches whose centre its box holds, and always the one of its own centre.
    """
    labels = np.full((GRID, GRID, len(WORDS)), NOTHING, dtype=np.int8)
    centre = (np.arange(GRID) + 0.5) * PATCH
    for item in sorted(scene["objects"], key=lambda item: -item["3d_coords"][1]):  # far to near
        code = [words.index(item[name]) for name, words in WORDS.items()]
        x, y, w, h = item["bbox"]
        across = (centre >= x) & (centre <= x + w)
        down = (centre >= y) & (centre <= y + h)
        labels[np.ix_(down, across)] = code
        row, column = (int(np.clip(at // PATCH, 0, GRID - 1)) for at in (y + h / 2, x + w / 2))
        labels[row, column] = code
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
    values = torch.from_numpy(np.ascontiguousarray(pictures)).permute(0, 3, 1, 2).float() / 255
    return (values - 0.5) / 0.25


def patch_features(tower: CLIPVisionModel, pixels: Tensor) -> Tensor:
    """What LLaVA reads of the tower: the last layer's patches [B, GRID * GRID, WIDTH]."""
    states: Tensor = tower(pixels, output_hidden_states=True).hidden_states[-1]
    return states[:, 1:]


class _Heads(nn.Module):
    """What the tower is asked while it learns; thrown away afterwards."""

    def __init__(self) -> None:
        super().__init__()
        self.shape = nn.Linear(WIDTH, 1 + len(SHAPES))
        self.others = nn.ModuleList(
            nn.Linear(WIDTH, len(words)) for name, words in WORDS.items() if name != "shape"
        )
        self.whole = nn.ModuleList(nn.Linear(WIDTH, classes) for classes in WHOLE)

    def forward(self, patches: Tensor, dense: Tensor, whole: Tensor) -> Tensor:
        """Sum of cross-entropies; patches [B, T, W], dense [B, T, 4] and whole [B, 6] labels."""
        loss = F.cross_entropy(self.shape(patches).flatten(0, 1), dense[..., 0].flatten() + 1)
        seen = dense[..., 0] != NOTHING
        for number, head in enumerate(self.others, start=1):
            loss = loss + F.cross_entropy(head(patches[seen]), dense[seen][:, number])
        mean = patches.mean(dim=1)
        for number, head in enumerate(self.whole):
            loss = loss + WHOLE_WEIGHT * F.cross_entropy(head(mean), whole[:, number])
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
    tower, heads = build_tower(), _Heads()
    learned = [*tower.parameters(), *heads.parameters()]
    optimizer = torch.optim.AdamW(
        learned, recipe.learning_rate, weight_decay=recipe.weight_decay, betas=(0.9, 0.98)
    )
    steps = recipe.epochs * (len(scenes) // recipe.batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, recipe.learning_rate, total_steps=steps, pct_start=0.1
    )
    tower.train()
    with bar("training the vision tower", steps) as progress:
        for epoch in range(recipe.epochs):
            order = rng.permutation(len(scenes))
            for start in range(0, len(order) - recipe.batch + 1, recipe.batch):
                rows = order[start : start + recipe.batch]
                mirror = (rng.random(recipe.batch) < 0.5)[:, None, None, None]
                seen = np.where(mirror, pictures[rows][:, :, ::-1], pictures[rows])
                told = np.where(mirror, dense[rows][:, :, ::-1], dense[rows])
                loss = heads(
                    patch_features(tower, as_input(seen)),
                    torch.from_numpy(told.astype(np.int64)).flatten(1, 2),
                    torch.from_numpy(whole[rows]),
                )
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                nn.utils.clip_grad_norm_(learned, 1.0)
                optimizer.step()
                schedule.step()
                progress.advance()
            progress.describe(f"training the tower (epoch {epoch + 1}, loss {loss.item():.2f})")
    tower.eval()
    return tower


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
