"""A frozen multimodal model that writes captions with a chosen amount of detail."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from dsa_env.captioning.families import PART, Family, find_family, model_identity, own_prompts
from dsa_env.controller import GranularityController
from dsa_env.encoders import model_folder
from dsa_env.encoders.loading import frozen, loading
from dsa_env.encoders.vision import parse_coarse
from dsa_env.errors import DSAError
from dsa_env.mllm import attach
from dsa_env.mllm.bridges import find_bridge
from dsa_env.mllm.features import picture_features, prompt_features

MAX_NEW_TOKENS = 64
BATCH = 128
_GREEDY = {"do_sample": False, "num_beams": 1, "temperature": None, "top_p": None, "top_k": None}
_CURE = "Give a hub name or a local folder of a LLaVA, BLIP-2 or IDEFICS with its processor."

Floats = NDArray[np.float32]
Granularity = float | ArrayLike | GranularityController | None


class Captioner:
    """A frozen LLaVA, BLIP-2 or IDEFICS that answers prompts about pictures, greedily.

    Make one with `Captioner.load`. Pictures and prompts come in pairs; pairs whose prompts have
    equally many tokens are worked on together, so nothing is ever padded.

    Attributes:
        name: what the user called the model.
        model: the transformers model, in eval mode.
        processor: its processor.
        prompts: what it is asked by default.
        coarse: its coarse view, as `dsa_env.mllm.attach` takes it.
        identity: a hash of what decides captions: the model's files, dtype and coarse view.
    """

    def __init__(self, name: str, model: Any, processor: Any, family: Family, coarse: str) -> None:
        """Not for users: takes what `load` has loaded."""
        self.name = name
        self.model = model
        self.processor = processor
        self.prompts = own_prompts(name)
        self.coarse = coarse
        self.identity = captioner_identity(name, coarse=coarse, dtype=str(model.dtype))
        self._family = family
        self._bridge = find_bridge(model)
        self._forms: dict[str, tuple[str, int]] = {}

    @classmethod
    def load(
        cls,
        model: str = "embedded",
        *,
        device: str = "cpu",
        dtype: str | None = None,
        coarse: str = "pooled",
    ) -> Self:
        """Load a model and its processor.

        Args:
            model: ``"embedded"`` (the small LLaVA that ships), a local folder or a hub name.
            device: torch device.
            dtype: ``"float32"`` (what None means), ``"bf16"`` or ``"fp16"``.
            coarse: ``"pooled"`` or ``"layer:K"``.

        Raises:
            DSAError: it cannot be loaded, is of another family, or has no processor.
        """
        import transformers

        parse_coarse(coarse)
        family = find_family(model)
        source = model_folder(model, PART)
        with loading("captioner", model, _CURE):
            kind = getattr(transformers, family.model_class)
            loaded = frozen(kind, source, model, dtype or "float32", device)
            processor: Any = transformers.AutoProcessor.from_pretrained(source)
            if not hasattr(processor, "image_processor") or not hasattr(processor, "tokenizer"):
                raise DSAError(
                    f"the captioner {model!r} has no processor; save its processor (tokenizer and "
                    "image processor) beside the model"
                )
        if processor.tokenizer.pad_token is None:  # nothing is padded, but some ask for it
            processor.tokenizer.pad_token = processor.tokenizer.eos_token
        return cls(model, loaded, processor, family, coarse)

    def captions(
        self,
        pictures: Sequence[Image.Image],
        prompts: Sequence[str],
        granularity: Granularity = None,
        *,
        batch: int = BATCH,
        max_new_tokens: int = MAX_NEW_TOKENS,
    ) -> list[str]:
        """What the model writes about each picture when it is asked its prompt.

        Decoding is greedy, so a caption is a function of picture, prompt and g, but for rounding:
        where two words are almost equally probable, other company in a batch may tip the scales.

        Args:
            pictures: B pictures.
            prompts: B prompts, in plain words: the model's own form is put around them.
            granularity: g for all, one each [B], a controller that reads the model's own
                features, or None for the native model with nothing attached.
            batch: pairs that are worked on at once, at most.
            max_new_tokens: where a caption ends at the latest.

        Returns:
            B captions, stripped of white space.

        Raises:
            DSAError: lengths differ, a granularity is out of range, the controller does not fit.
        """
        given = self._granularities(granularity, len(pictures))
        found = [""] * len(pictures)
        for rows in self._batches(pictures, prompts, batch):
            inputs = self._some(pictures, prompts, rows)
            with self._attached(given, rows):
                told = self._write(inputs, max_new_tokens)
            for row, caption in zip(rows, told, strict=True):
                found[row] = caption
        return found

    def sweep(
        self,
        pictures: Sequence[Image.Image],
        prompts: Sequence[str],
        granularities: Sequence[float],
        *,
        batch: int = BATCH,
        max_new_tokens: int = MAX_NEW_TOKENS,
    ) -> list[list[str]]:
        """The captions of each pair for each of G granularities; a picture is looked at but once.

        Args:
            pictures: B pictures.
            prompts: B prompts.
            granularities: G numbers in [0, 1].
            batch: captions that are written at once, at most.
            max_new_tokens: where a caption ends at the latest.

        Returns:
            B lists of G captions.

        Raises:
            DSAError: as `captions`.
        """
        grid = torch.as_tensor(list(granularities), dtype=torch.float32)
        times = len(grid)
        found: list[list[str]] = [[] for _ in pictures]
        for rows in self._batches(pictures, prompts, max(1, batch // max(1, times))):
            inputs = {
                name: value.repeat_interleave(times, dim=0)
                for name, value in self._some(pictures, prompts, rows).items()
            }
            given = grid.repeat(len(rows))
            with attach(self.model, given, coarse=self.coarse, copies=times):
                told = self._write(inputs, max_new_tokens)
            for place, row in enumerate(rows):
                found[row] = told[place * times : (place + 1) * times]
        return found

    def observe(
        self, pictures: Sequence[Image.Image], prompts: Sequence[str], *, batch: int = BATCH
    ) -> tuple[Floats, Floats]:
        """What the model itself knows of each prompt and picture before it writes.

        These are what a controller reads inside `dsa_env.mllm.attach`; `dsa_env.mllm.features`
        has the formulas.

        Returns:
            text [B, Dt] and image [B, Di], float32 in [-1, 1].

        Raises:
            DSAError: lengths differ.
        """
        texts: dict[int, Floats] = {}
        images: dict[int, Floats] = {}
        for rows in self._batches(pictures, prompts, batch):
            inputs = self._some(pictures, prompts, rows)
            text = prompt_features(self.model, inputs["input_ids"], inputs.get("attention_mask"))
            image = picture_features(self._bridge.tokens(inputs["pixel_values"]))
            texts.update(zip(rows, _bounded(text), strict=True))
            images.update(zip(rows, _bounded(image), strict=True))
        order = range(len(pictures))
        widths = self.widths
        return (
            np.array([texts[row] for row in order], np.float32).reshape(-1, widths["text"]),
            np.array([images[row] for row in order], np.float32).reshape(-1, widths["image"]),
        )

    @property
    def widths(self) -> dict[str, int]:
        """How many features `observe` has of a prompt and of a picture."""
        return self._bridge.widths

    def _granularities(self, granularity: Granularity, count: int) -> Any:
        """None, a controller, or g [B]."""
        if granularity is None or isinstance(granularity, GranularityController):
            return granularity
        try:
            g = np.broadcast_to(np.asarray(granularity, dtype=np.float32), (count,))
        except (TypeError, ValueError):
            raise DSAError(
                f"Granularities are one number or one for each of {count} pictures, got "
                f"{granularity!r}."
            ) from None
        return g

    @torch.inference_mode()
    def _write(self, inputs: dict[str, Any], most: int) -> list[str]:
        """What the model writes, as it is, after some inputs."""
        tokens = self.model.generate(**inputs, **_GREEDY, max_new_tokens=most)
        if not self.model.config.is_encoder_decoder:
            tokens = tokens[:, inputs["input_ids"].shape[1] :]
        told = self.processor.tokenizer.batch_decode(tokens, skip_special_tokens=True)
        return [caption.strip() for caption in told]

    def _attached(self, given: Any, rows: list[int]) -> AbstractContextManager[Any]:
        if given is None:
            return nullcontext()
        own = torch.from_numpy(given[rows]) if isinstance(given, np.ndarray) else given
        return attach(self.model, own, coarse=self.coarse)

    def _batches(
        self, pictures: Sequence[Image.Image], prompts: Sequence[str], batch: int
    ) -> Iterator[list[int]]:
        """Numbers of pairs whose prompts have equally many tokens, at most `batch` at a time."""
        if len(pictures) != len(prompts):
            raise DSAError(
                f"Pictures and prompts come in pairs, got {len(pictures)} and {len(prompts)}."
            )
        if batch < 1:
            raise DSAError(f"batch must be at least 1, got {batch}.")
        groups: dict[int, list[int]] = {}
        for row, prompt in enumerate(prompts):
            groups.setdefault(self._form(prompt)[1], []).append(row)
        for rows in groups.values():
            yield from (rows[start : start + batch] for start in range(0, len(rows), batch))

    def _form(self, prompt: str) -> tuple[str, int]:
        """What the processor is given for a prompt, and how many tokens that has."""
        if prompt not in self._forms:
            form = self._family.form(prompt)
            if getattr(self.processor, "chat_template", None):
                content = [{"type": "image"}, {"type": "text", "text": prompt}]
                form = self.processor.apply_chat_template(
                    [{"role": "user", "content": content}], add_generation_prompt=True
                )
            self._forms[prompt] = form, len(self.processor.tokenizer(form)["input_ids"])
        return self._forms[prompt]

    def _some(
        self, pictures: Sequence[Image.Image], prompts: Sequence[str], rows: list[int]
    ) -> dict[str, Any]:
        return self.inputs([pictures[row] for row in rows], [prompts[row] for row in rows])

    def inputs(self, pictures: Sequence[Image.Image], prompts: Sequence[str]) -> dict[str, Any]:
        """What the model's ``generate`` takes for B pairs of pictures and equally long prompts."""
        made = self.processor(
            images=[picture.convert("RGB") for picture in pictures],
            text=[self._form(prompt)[0] for prompt in prompts],
            return_tensors="pt",
        )
        return dict(made.to(self.model.device, self.model.dtype))


def captioner_identity(name: str, *, coarse: str = "pooled", dtype: str = "float32") -> str:
    """The identity of a `Captioner`, without loading its weights."""
    parts = [model_identity(name), coarse, dtype.removeprefix("torch.")]
    return hashlib.sha256(" ".join(parts).encode()).hexdigest()


def _bounded(values: torch.Tensor) -> Floats:
    bounded: Floats = values.float().clamp(-1, 1).cpu().numpy()
    return bounded
