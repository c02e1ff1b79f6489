"""The full-information policy: supervised regression of every query's whole reward curve."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from dsa_agents.adapter import flatten, observation_statistics
from dsa_agents.policies import CHUNK, Granularity, Queries
from dsa_env.core import RetrievalCore
from dsa_env.errors import DSAError
from dsa_env.progress import Bar, bar


@dataclass(frozen=True)
class Fit:
    """How the full-information policy is fitted.

    Attributes:
        grid: equidistant g at which a query's reward curve is regressed.
        members: networks whose predicted curves are averaged.
        hidden: widths of their layers.
        dropout: share of the hidden units left out while fitting.
        learning_rate: of AdamW; warmed up, then lowered to 0 along a cosine.
        weight_decay: of AdamW.
        batch: queries per step, at most.
        epochs: passes over the train split, within `min_steps` and `max_steps` steps.
        min_steps: so that small splits are fitted too.
        max_steps: bounds the time on large splits.
        checks: times a member's reward is looked at on the validation split.
        patience: checks in a row without a better one after which a member stops.
        seed: of the weights, the order and the dropout.
    """

    grid: int = 33
    members: int = 4
    hidden: tuple[int, ...] = (128,)
    dropout: float = 0.3
    learning_rate: float = 2e-3
    weight_decay: float = 1e-2
    batch: int = 512
    epochs: int = 20
    min_steps: int = 300
    max_steps: int = 2400
    checks: int = 20
    patience: int = 6
    seed: int = 0


class FullInformationPolicy:
    """Chooses where the predicted reward curve is highest: what supervision could reach.

    The curve of every training query is known exactly, so a network can be fitted to all of it,
    where a reinforcement-learning agent sees one point of it at a time. It sees the same
    observation as the agent's first step. Make one with `fit_full_information`.

    Attributes:
        grid: [G] the g at which curves are predicted.
        networks: the ensemble; each maps standardised observations [B, D] to curves [B, G].
        mean, std: [D] of the observation over the train split.
    """

    def __init__(
        self, grid: Tensor, networks: Sequence[nn.Module], mean: Tensor, std: Tensor
    ) -> None:
        self.grid = grid
        self.networks = list(networks)
        self.mean = mean
        self.std = std

    @torch.no_grad()
    def predict(self, core: RetrievalCore, query: Queries) -> Tensor:
        """Predicted centred reward curves [B, G] of the queries [B]."""
        parts = [query[start : start + CHUNK] for start in range(0, len(query), CHUNK)]
        inputs = (_observations(core, part, self.mean, self.std) for part in parts)
        return torch.cat([_average(self.networks, rows) for rows in inputs])

    def __call__(self, core: RetrievalCore, query: Queries) -> Granularity:
        """Return g [B] float32, one of `grid`."""
        chosen: Granularity = self.grid[self.predict(core, query).argmax(dim=1)].numpy()
        return chosen


def fit_full_information(
    train: RetrievalCore,
    validation: RetrievalCore,
    fit: Fit | None = None,
    *,
    progress: bool = True,
) -> FullInformationPolicy:
    """Regress the whole centred reward curve from the observation, by mean squared error.

    A network starts as the mean curve, whose highest point is the best fixed g, and is kept as it
    was when its exact mean reward on the validation split was highest. One torch thread; the same
    policy on every run of one machine; the caller's random generator and number of threads are
    left as they were.

    Args:
        train: a core with a scalar reward, to fit on.
        validation: the same for another split, to stop by.
        fit: how.
        progress: show a progress bar on standard error.
    """
    fit = fit or Fit()
    if train.reward_space is not None:
        raise DSAError("A vector reward has no best g; weigh its terms, as 'clipped' does.")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng(devices=[]):
            return _fit(train, validation, fit, progress)
    finally:
        torch.set_num_threads(threads)


def _fit(
    train: RetrievalCore, validation: RetrievalCore, fit: Fit, progress: bool
) -> FullInformationPolicy:
    grid = np.linspace(0.0, 1.0, fit.grid, dtype=np.float32)
    mean, std = (torch.from_numpy(part) for part in observation_statistics(train))
    query = np.arange(train.n_queries)
    inputs = _observations(train, query, mean, std)
    curves = torch.from_numpy(_curves(train, grid))
    curves -= curves.mean(dim=1, keepdim=True)
    held_out = np.arange(validation.n_queries)
    judge_inputs = _observations(validation, held_out, mean, std)
    judge_curves = torch.from_numpy(_curves(validation, grid))

    def judge(networks: Sequence[nn.Module]) -> float:
        """The exact mean reward on the validation split."""
        chosen = _average(networks, judge_inputs).argmax(dim=1, keepdim=True)
        return float(judge_curves.gather(1, chosen).mean(dtype=torch.float64))

    steps = fit.epochs * -(-len(query) // fit.batch)
    steps = min(max(steps, fit.min_steps), fit.max_steps)
    shown = bar("full information", fit.members * steps) if progress else nullcontext()
    networks = []
    with shown as progress_bar:
        for member in range(fit.members):
            torch.manual_seed(fit.seed * 1000 + member)
            network = _network(inputs.shape[1], fit, curves.mean(dim=0))
            batches = _descend(network, inputs, curves, fit, steps)
            networks.append(_keep_best(network, batches, judge, fit, steps, progress_bar))
    return FullInformationPolicy(torch.from_numpy(grid), networks, mean, std)


def _network(width: int, fit: Fit, mean_curve: Tensor) -> nn.Sequential:
    """Fully connected layers whose output starts as the mean curve for every query."""
    widths = [width, *fit.hidden]
    hidden = [
        layer
        for before, after in itertools.pairwise(widths)
        for layer in (nn.Linear(before, after), nn.ReLU(), nn.Dropout(fit.dropout))
    ]
    last = nn.Linear(widths[-1], fit.grid)
    nn.init.zeros_(last.weight)
    with torch.no_grad():
        last.bias.copy_(mean_curve)
    return nn.Sequential(*hidden, last)


def _descend(
    network: nn.Module, inputs: Tensor, curves: Tensor, fit: Fit, steps: int
) -> Iterator[None]:
    """Take `steps` steps of AdamW, pausing after each."""
    optimiser = torch.optim.AdamW(
        network.parameters(), lr=fit.learning_rate, weight_decay=fit.weight_decay
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, fit.learning_rate, total_steps=steps, pct_start=0.15
    )
    for index in itertools.islice(_batches(len(inputs), fit.batch), steps):
        network.train()
        loss = nn.functional.mse_loss(network(inputs[index]), curves[index])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        yield


def _batches(queries: int, size: int) -> Iterator[Tensor]:
    """Random batches without end; every pass sees each query once."""
    while True:
        yield from torch.split(torch.randperm(queries), size)


def _keep_best(
    network: nn.Module,
    batches: Iterator[None],
    judge: Callable[[Sequence[nn.Module]], float],
    fit: Fit,
    steps: int,
    progress_bar: Bar | None,
) -> nn.Module:
    """Fit until the judge has not been pleased for long; return the network it liked best."""
    best, kept, waited = judge([network]), copy.deepcopy(network), 0
    every = max(steps // fit.checks, 1)
    for step, _ in enumerate(batches, start=1):
        if progress_bar is not None:
            progress_bar.advance()
        if step % every:
            continue
        reward = judge([network])
        waited += 1
        if reward > best:
            best, kept, waited = reward, copy.deepcopy(network), 0
        if waited >= fit.patience:
            break
    return kept


@torch.no_grad()
def _average(networks: Sequence[nn.Module], inputs: Tensor) -> Tensor:
    """Mean predicted curve [B, G] of the networks."""
    return torch.stack([network.eval()(inputs) for network in networks]).mean(dim=0)


def _observations(core: RetrievalCore, query: Queries, mean: Tensor, std: Tensor) -> Tensor:
    """Standardised flat observations [B, D] of the episodes' first steps."""
    return (torch.from_numpy(flatten(core.observe(query))) - mean) / std


def _curves(core: RetrievalCore, grid: NDArray[np.float32]) -> NDArray[np.float32]:
    """The exact reward [Q, G] of every query at every g of the grid."""
    query = np.arange(core.n_queries)
    columns = [core.evaluate(query, np.full(len(query), g, np.float32))[0] for g in grid]
    return np.stack(columns, axis=1).astype(np.float32)
