"""What is compared, and how large the comparison is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dsa_env.errors import DSAError

EMBEDDED = "llava (embedded)"
MAX_NEW_TOKENS = 64
"""Where captions end at the latest; those of the environment do too."""
NOT_TRAINED = {
    "blip-2": "not trained: no small BLIP-2 ships; give your own with --models blip-2=PATH.",
    "flamingo": "not trained: no small IDEFICS ships; give your own with --models flamingo=PATH.",
}
"""Rows of the default table without numbers, and why."""


@dataclass(frozen=True)
class Plan:
    """A benchmark's size and settings.

    Attributes:
        split: whose pictures are captioned.
        pictures: how many of them; None for all.
        prompts: asked about each picture; None for the model's own.
        k: the k of Recall@k.
        fixed_pictures: validation pictures on which the best fixed g is chosen; 0 for all, None
            for all where the controller's run was trained on the same bank and for 500 else.
        grid: how many g it is chosen among, equally far apart from 0 to 1.
        ceilings: whether full information and the oracle get rows, where the controller was trained
            on the same bank: captions of the split are then written for the run's whole grid.
            Needs the environment's `max_new_tokens`.
        batch: captions that are written at once.
        max_new_tokens: where a caption ends at the latest.
        rounds: interleaved rounds of the timing.
        timed: pictures of its batch.
        resamples: behind the intervals.
        seed: of drawn pictures, resamples and rounds.
        device: torch device of the models; None for a graphics card where there is one.
        dtype: ``"float32"``, ``"bf16"`` or ``"fp16"``; None for the model's own on a card, else
            float32, as the environment has it.
    """

    split: str = "test"
    pictures: int | None = None
    prompts: tuple[str, ...] | None = None
    k: int = 10
    fixed_pictures: int | None = None
    grid: int = 11
    ceilings: bool = True
    batch: int = 64
    max_new_tokens: int = MAX_NEW_TOKENS
    rounds: int = 30
    timed: int = 32
    resamples: int = 2000
    seed: int = 0
    device: str | None = None
    dtype: str | None = None

    def __post_init__(self) -> None:
        """Check the numbers.

        Raises:
            DSAError: naming the one that is out of range.
        """
        sizes = ("pictures", "k", "batch", "max_new_tokens", "timed")
        for name in sizes:
            value = getattr(self, name)
            if value is not None and value < 1:
                raise DSAError(f"{name} must be at least 1, got {value}.")
        for name in ("fixed_pictures", "rounds", "resamples", "seed"):
            if (getattr(self, name) or 0) < 0:
                raise DSAError(f"{name} must be at least 0, got {getattr(self, name)}.")
        if self.grid < 2:
            raise DSAError(f"grid must be at least 2, got {self.grid}.")
        if self.prompts is not None and len(set(self.prompts)) < max(1, len(self.prompts)):
            raise DSAError("prompts must be different and at least one; leave them out for the "
                           "model's own.")  # fmt: skip

    def to_json(self) -> dict[str, Any]:
        """The settings, as JSON's types."""
        return asdict(self) | {"prompts": None if self.prompts is None else list(self.prompts)}


def named(words: Sequence[str], what: str) -> dict[str, str]:
    """``NAME=PATH`` words as a dictionary, in order.

    Raises:
        DSAError: a word has another form, or a name comes twice.
    """
    found: dict[str, str] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not (name and equals and value):
            raise DSAError(f"{what} takes NAME=PATH, got {word!r}; write llava-1.5=PATH.")
        if name in found:
            raise DSAError(f"{what} names {name} twice; give each model its own name.")
        found[name] = value
    return found


def sort_words(
    models: Sequence[str], controllers: Sequence[str], more: Sequence[str]
) -> tuple[dict[str, str], dict[str, str]]:
    """Models and controllers by name, from all that stood on the command line.

    ``--models a=X b=Y --controller a=R b=S`` leaves words that belong to no option by themselves;
    what lies at their path tells a controller or a run from a model.

    Returns:
        model name -> path, and model name -> controller's or run's path, where the name ``""``
        stands for whatever model it fits.

    Raises:
        DSAError: a word has another form, or a controller is for a model that is not given.
    """
    own = [*controllers, *(word for word in more if is_controller(word.partition("=")[2] or word))]
    given = [*models, *(word for word in more if word not in own)]
    loose = [word for word in own if "=" not in word]
    if len(loose) > 1:
        raise DSAError(
            f"--controller is given {len(loose)} controllers without a model's name; write "
            "NAME=PATH for each."
        )
    chosen = named([word for word in own if "=" in word], "--controller")
    if loose:
        chosen[""] = loose[0]
    return named(given, "--models"), chosen


def is_controller(path: str) -> bool:
    """Whether a path is a run's folder or a controller's; a model's is neither."""
    from dsa_env.files import read_json

    config = Path(path) / "config.json"
    if not config.is_file():
        return False
    try:
        found = read_json(config)
    except DSAError:
        return False
    return isinstance(found, Mapping) and (
        {"inputs", "squash"} <= set(found) or {"algorithm", "direction"} <= set(found)
    )
