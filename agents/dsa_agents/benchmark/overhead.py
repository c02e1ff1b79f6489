"""What a controller inside a generating model costs: end to end, and part by part."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image

from dsa_agents.benchmark.plan import MAX_NEW_TOKENS
from dsa_agents.benchmark.timing import (
    Work,
    clock_of,
    interleaved,
    milliseconds,
    relative_cost,
    synchroniser,
)
from dsa_env.mllm import attach
from dsa_env.mllm.bridges import find_bridge
from dsa_env.mllm.features import picture_features, prompt_features

if TYPE_CHECKING:
    from dsa_env.captioning.captioner import Captioner
    from dsa_env.controller import GranularityController

QUICK = 5
"""How often the small parts are timed for each round: they are short, and so noisier."""
FASTEST_OF = 2
"""Runs of each generation in a round; the fastest counts."""
LONGEST = 150.0
"""Seconds after which no further round of generations begins."""


def measure_speed(
    captioner: Captioner,
    controller: GranularityController | None,
    pictures: Sequence[Image.Image],
    prompt: str,
    *,
    rounds: int = 20,
    max_new_tokens: int = MAX_NEW_TOKENS,
    seed: int = 0,
) -> dict[str, Any]:
    """Pictures a second from pictures in memory to captions, preparation included.

    One batch of all pictures, interleaved rounds, medians, one torch thread.

    Args:
        captioner: the model.
        controller: what is attached; None measures the native model alone.
        pictures: one batch [B].
        prompt: asked about each.
        rounds: that count.
        max_new_tokens: where a caption ends at the latest.
        seed: of the rounds' orders.

    Returns:
        ``{"native": images/s}``, and ``"dsa"`` with a controller.
    """
    asked, size = [prompt] * len(pictures), len(pictures)
    given = {"native": None} | ({} if controller is None else {"dsa": controller})

    def caption(granularity: Any) -> Work:
        return lambda: captioner.captions(
            pictures, asked, granularity, batch=size, max_new_tokens=max_new_tokens
        )

    with _one_thread():
        work = {name: caption(granularity) for name, granularity in given.items()}
        wait = synchroniser(captioner.model.device)
        times = interleaved(work, rounds, seconds=LONGEST, seed=seed, synchronise=wait)
    return {name: size / float(np.median(values)) for name, values in times.items()}


@torch.no_grad()
def measure_overhead(
    captioner: Captioner,
    controller: GranularityController,
    pictures: Sequence[Image.Image],
    prompt: str,
    *,
    rounds: int = 20,
    max_new_tokens: int = MAX_NEW_TOKENS,
    seed: int = 0,
) -> dict[str, Any]:
    """How much longer generation takes with the controller attached, at equal lengths and as it is.

    What is timed is ``model.generate`` on a prepared batch: vision tower, the attachment with the
    features that the controller reads, the controller, the blend, and greedy decoding. No detector
    takes part, the fine view is the model's own. *Equal tokens* makes both write as many tokens as
    the native captions have on average; *as it is* lets either end where it will, so that a change
    of length counts too. The parts are timed by themselves on the same batch, as a share of native
    generation. On a processor it is this process' own time that is measured, by one thread.

    Args:
        captioner: the model.
        controller: fits it.
        pictures: one batch [B].
        prompt: asked about each.
        rounds: that count.
        max_new_tokens: where a caption ends at the latest.
        seed: of the rounds' orders.

    Returns:
        ``{"batch", "rounds", "threads", "tokens": {"native", "dsa"} (mean),
        "milliseconds": {...medians}, "overhead_percent": {"equal_tokens", "as_is"}`` (summaries)``,
        "breakdown_percent": {"features", "controller", "blend"}}``; the blend is null with a coarse
        view from an early layer, which cannot be timed by itself.
    """
    model, coarse = captioner.model, captioner.coarse
    wait, clock = synchroniser(model.device), clock_of(model.device)
    with _one_thread():
        inputs = captioner.inputs(pictures, [prompt] * len(pictures))
        lengths = {
            name: _tokens(model, inputs, max_new_tokens, granularity, coarse)
            for name, granularity in (("native", None), ("dsa", controller))
        }
        equal = max(1, round(float(lengths["native"].mean())))

        def write(granularity: Any, least: int | None) -> Work:
            most = max_new_tokens if least is None else least
            return lambda: _generate(model, inputs, most, least, granularity, coarse)

        times = interleaved(
            {
                "native": write(None, equal),
                "dsa": write(controller, equal),
                "native as it is": write(None, None),
                "dsa as it is": write(controller, None),
            },
            rounds,
            fastest_of=FASTEST_OF,
            seconds=LONGEST,
            seed=seed,
            synchronise=wait,
            clock=clock,
        )
        parts = interleaved(
            _parts(captioner, controller, inputs),
            QUICK * rounds,
            seed=seed,
            synchronise=wait,
            clock=clock,
        )
    median = milliseconds(times) | milliseconds(parts)
    share = {name: 100 * median[name] / median["native"] for name in ("features", "controller")}
    blend = None
    if "projector" in parts:
        extra = 1e3 * float(np.median(parts["projector, blended"] - parts["projector"]))
        blend = 100 * max(0.0, extra) / median["native"]
    return {
        "batch": len(pictures),
        "rounds": len(times["native"]),
        "threads": 1,
        "tokens": {name: float(values.mean()) for name, values in lengths.items()},
        "milliseconds": {name: round(value, 4) for name, value in median.items()},
        "overhead_percent": {
            "equal_tokens": relative_cost(times["dsa"], times["native"], seed=seed),
            "as_is": relative_cost(times["dsa as it is"], times["native as it is"], seed=seed),
        },
        "breakdown_percent": {**share, "blend": blend},
    }


def _parts(
    captioner: Captioner, controller: GranularityController, inputs: dict[str, Any]
) -> dict[str, Work]:
    """What the attachment does, each by itself on a batch's own tokens."""
    model = captioner.model
    module, fed = find_bridge(model).module, _fed(model, inputs)
    tokens = module(*fed[0], **fed[1])
    tokens = tokens if isinstance(tokens, torch.Tensor) else tokens.last_hidden_state
    read = _features(model, controller, inputs, tokens)
    work: dict[str, Work] = {
        "features": lambda: _features(model, controller, inputs, tokens),
        "controller": lambda: controller(**read),
    }
    if captioner.coarse == "pooled":

        def blended() -> None:
            module(*fed[0], **fed[1])

        work["projector"] = blended
        work["projector, blended"] = lambda: _attached(model, blended)
    return work


def _attached(model: Any, work: Work) -> None:
    with attach(model, 0.5):
        work()


def _features(
    model: Any, controller: GranularityController, inputs: dict[str, Any], tokens: torch.Tensor
) -> dict[str, torch.Tensor]:
    """What the controller reads, from the model's own words and picture tokens."""
    found = {
        "text": lambda: prompt_features(model, inputs["input_ids"], inputs.get("attention_mask")),
        "image": lambda: picture_features(tokens),
    }
    return {name: found[name]().to(controller.mean.device) for name in controller.inputs}


def _fed(model: Any, inputs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """What the last module before the language model is called with for a batch."""
    seen: list[tuple[tuple[Any, ...], dict[str, Any]]] = []
    handle = find_bridge(model).module.register_forward_pre_hook(
        lambda module, args, kwargs: seen.append((args, kwargs)), with_kwargs=True
    )
    try:
        _generate(model, inputs, 1, None, None, "pooled")
    finally:
        handle.remove()
    return seen[0]


def _generate(
    model: Any, inputs: dict[str, Any], most: int, least: int | None, given: Any, coarse: str
) -> torch.Tensor:
    """Greedy tokens of a batch, with something attached or not."""
    settings = {"do_sample": False, "num_beams": 1, "max_new_tokens": most}
    if least is not None:
        settings["min_new_tokens"] = least
    if given is None:
        found: torch.Tensor = model.generate(**inputs, **settings)
        return found
    with attach(model, given, coarse=coarse):
        found = model.generate(**inputs, **settings)
    return found


def _tokens(
    model: Any, inputs: dict[str, Any], most: int, given: Any, coarse: str
) -> np.ndarray[Any, np.dtype[np.float64]]:
    """How many tokens each caption has, the one that ends it included, [B]."""
    ids = _generate(model, inputs, most, None, given, coarse)
    if not model.config.is_encoder_decoder:
        ids = ids[:, inputs["input_ids"].shape[1] :]
    ends = model.generation_config.eos_token_id
    last = torch.tensor(np.atleast_1d([] if ends is None else ends), device=ids.device)
    ended = torch.isin(ids, last.to(ids.dtype))
    count = torch.where(ended.any(dim=1), ended.int().argmax(dim=1) + 1, ids.shape[1])
    return count.cpu().numpy().astype(np.float64)


@contextmanager
def _one_thread() -> Iterator[None]:
    """One torch thread: two of them fight over a busy machine's cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
