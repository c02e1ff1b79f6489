"""The deployable controller: a small torch network that maps features to a granularity."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from huggingface_hub import PyTorchModelHubMixin, hf_hub_download
from numpy.typing import ArrayLike, NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from dsa_env.errors import DSAError, unknown
from dsa_env.files import atomic_write, read_json, write_json

INPUTS = ("text", "image", "ambiguity", "granularity", "retrieved")
ACTIVATIONS: dict[str, type[nn.Module]] = {"tanh": nn.Tanh, "relu": nn.ReLU}
SQUASHES = ("clip", "tanh")
WEIGHTS, CONFIG = "model.safetensors", "config.json"
CARD = """---
{{ card_data }}
---

A granularity controller: it chooses, for each query, how much detail g in [0, 1] of a frozen
vision-language encoder to use, V' = g * V_fine + (1 - g) * V_coarse.

```python
from dsa_env.controller import GranularityController

controller = GranularityController.from_pretrained("this folder or repository")
g = controller(text, image)  # float32 tensors [B, D]; g is [B], in [0, 1]
```
"""


class GranularityController(
    nn.Module,
    PyTorchModelHubMixin,
    library_name="dsa-env",
    tags=["granularity-controller"],
    model_card_template=CARD,
):
    """Maps one observation of the environment to a granularity g in [0, 1].

    The observation's entries are concatenated in the order of `inputs`, standardised with the
    frozen statistics `mean` and `std` (buffers, so they are part of the saved file), passed
    through fully connected layers and squashed: ``"clip"`` is g = (clip(x, -1, 1) + 1) / 2 and
    ``"tanh"`` is g = (tanh(x) + 1) / 2.

    `save_pretrained(folder)` writes `model.safetensors` and `config.json`, each atomically;
    `from_pretrained(folder or hub name)` reads them back, never a pickle; `push_to_hub(name)`
    publishes them.

    Args:
        inputs: width of each entry of the observation, by name, in order; the names are some of
            ``"text"``, ``"image"``, ``"ambiguity"``, ``"granularity"`` and ``"retrieved"``.
        hidden: widths of the hidden layers; empty for a linear controller.
        activation: ``"tanh"`` or ``"relu"``, after each hidden layer.
        squash: ``"clip"`` or ``"tanh"``, from the last layer's output to g.
        metadata: anything JSON can hold, such as how the controller was trained.

    Raises:
        DSAError: for an unknown name or a width that is not positive.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        inputs: Mapping[str, int],
        hidden: Sequence[int] = (256, 128),
        activation: str = "tanh",
        squash: str = "clip",
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        for name in inputs:
            if name not in INPUTS:
                raise unknown("controller input", name, INPUTS)
        if activation not in ACTIVATIONS:
            raise unknown("activation", activation, ACTIVATIONS)
        if squash not in SQUASHES:
            raise unknown("squash", squash, SQUASHES)
        widths = [*inputs.values(), *hidden]
        if not inputs or any(not isinstance(width, int) or width < 1 for width in widths):
            raise DSAError(
                f"Controller widths must be positive integers, got inputs {dict(inputs)} and "
                f"hidden layers {list(hidden)}; give at least one input."
            )
        self.inputs = dict(inputs)
        self.hidden = list(hidden)
        self.activation = activation
        self.squash = squash
        self.metadata = dict(metadata or {})
        total = sum(self.inputs.values())
        self.register_buffer("mean", torch.zeros(total))
        self.register_buffer("std", torch.ones(total))
        self.net = nn.Sequential(*_layers([total, *hidden], ACTIVATIONS[activation]))

    @property
    def config(self) -> dict[str, Any]:
        """What `config.json` holds: the constructor's arguments."""
        return {
            "inputs": self.inputs,
            "hidden": self.hidden,
            "activation": self.activation,
            "squash": self.squash,
            "metadata": self.metadata,
        }

    def forward(
        self,
        text: Tensor | None = None,
        image: Tensor | None = None,
        granularity: Tensor | None = None,
        retrieved: Tensor | None = None,
        ambiguity: Tensor | None = None,
    ) -> Tensor:
        """Choose a granularity for each row of a batch.

        Args:
            text: text features [B, Dt] of the observation.
            image: image features [B, Di] of the observation.
            granularity: the current g [B, 1]; only controllers trained with a horizon above 1.
            retrieved: features [B, Dr] of the item now on top; as `granularity`.
            ambiguity: how many readings the text has [B, 1], as
                `dsa_env.logic.ambiguity.ambiguity_feature` says it; only controllers trained so.

        Returns:
            g [B], float32, in [0, 1].

        Raises:
            DSAError: when an input is missing, unexpected or of the wrong shape.
        """
        given = {
            "text": text,
            "image": image,
            "ambiguity": ambiguity,
            "granularity": granularity,
            "retrieved": retrieved,
        }
        return self.from_flat(torch.cat(list(self._checked(given)), dim=1))

    def from_flat(self, observation: Tensor) -> Tensor:
        """Choose g [B] from entries that are already concatenated, [B, sum of widths]."""
        output: Tensor = self.net((observation - self.mean) / self.std).squeeze(1)
        squashed = torch.tanh(output) if self.squash == "tanh" else output.clamp(-1.0, 1.0)
        return (squashed + 1.0) / 2.0

    @torch.no_grad()
    def predict(self, observation: Mapping[str, ArrayLike]) -> NDArray[np.float32]:
        """Choose g [B] for a batch of observations given as NumPy arrays, by name."""
        tensors = {
            name: torch.as_tensor(np.asarray(observation[name], dtype=np.float32))
            for name in self.inputs
            if name in observation
        }
        chosen: NDArray[np.float32] = self(**tensors).numpy()
        return chosen

    def _checked(self, given: Mapping[str, Tensor | None]) -> Iterator[Tensor]:
        """The entries in order, each [B, width]."""
        for name, value in given.items():
            if value is not None and name not in self.inputs:
                raise DSAError(
                    f"This controller takes no {name!r}; pass only {', '.join(self.inputs)}."
                )
        for name, width in self.inputs.items():
            value = given[name]
            if value is None:
                raise DSAError(
                    f"The controller's input {name!r} is missing; pass {', '.join(self.inputs)}."
                )
            if value.ndim != 2 or value.shape[1] != width:
                raise DSAError(
                    f"The controller's input {name!r} has shape {tuple(value.shape)}, expected "
                    f"[batch, {width}]; use the encoder that the controller was trained on."
                )
            yield value

    def _save_pretrained(self, save_directory: Path) -> None:
        """Write weights and configuration, each atomically; the weights come last."""
        write_json(save_directory / CONFIG, self.config)
        state = {name: value.contiguous() for name, value in self.state_dict().items()}
        with atomic_write(save_directory / WEIGHTS) as temporary:
            save_file(state, temporary, metadata={"format": "pt"})

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | Path, **kwargs: Any) -> Self:
        """Load a controller from a folder, or from the hub when no such folder exists.

        Args:
            pretrained_model_name_or_path: folder written by `save_pretrained`, or a hub name.
            **kwargs: for a hub name, those of `huggingface_hub.hf_hub_download` (revision,
                token, cache_dir, local_files_only, force_download).

        Raises:
            DSAError: when there is no controller, or its files do not fit together.
        """
        source = str(pretrained_model_name_or_path)
        config_path, weights_path = (_locate(source, name, kwargs) for name in (CONFIG, WEIGHTS))
        config = read_json(config_path)
        try:
            controller = cls(**config)
        except TypeError as error:
            raise DSAError(
                f"{config_path} is not a granularity controller's ({error}); "
                "point to a folder written by `dsa export`."
            ) from error
        try:
            controller.load_state_dict(load_file(weights_path), strict=True)
        except (SafetensorError, RuntimeError) as error:
            reason = " ".join(str(error).split())
            raise DSAError(
                f"{weights_path} does not fit its {CONFIG} or is damaged ({reason}); "
                "export the controller again."
            ) from error
        return controller.eval()


def _layers(widths: Sequence[int], activation: type[nn.Module]) -> Iterator[nn.Module]:
    """Linear layers with an activation after each but the last, which has one output."""
    for before, after in pairwise(widths):
        yield nn.Linear(before, after)
        yield activation()
    yield nn.Linear(widths[-1], 1)


def _locate(source: str, name: str, download: Mapping[str, Any]) -> Path:
    """The path of a file of a controller's folder, downloaded when `source` is a hub name."""
    folder = Path(source)
    if folder.is_dir():
        if not (folder / name).is_file():
            raise DSAError(
                f"{folder} holds no {name}, so it is no controller; "
                "point to a folder written by `dsa export` or `save_pretrained`."
            )
        return folder / name
    try:
        return Path(hf_hub_download(source, name, **download))
    except Exception as error:  # the hub's client has many errors; all mean the same here
        reason = str(error).split("\n", 1)[0]
        raise DSAError(
            f"There is no folder {source!r} and it could not be had from the hub ({reason}); "
            "check the path or the hub name."
        ) from error
