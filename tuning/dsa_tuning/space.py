"""The search space: the share of beta, further reward arguments, and PPO's own hyperparameters.

PPO normalises advantages, so as long as the reward's clip does not bite only beta / alpha matters.
What is searched is therefore the share s = beta / (alpha + beta), with alpha = 1 - s and beta = s;
a scale and the clip's bounds can be searched too where the clip can bite.
"""

from __future__ import annotations

import itertools
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.trial import Trial

from dsa_agents.algorithms import SETTINGS, get_algorithm
from dsa_agents.run_folder import TrainConfig
from dsa_agents.train import complete
from dsa_env.errors import DSAError, unknown
from dsa_env.rewards import ClippedReward, resolve_reward
from dsa_tuning.distributions import (
    grid_of,
    is_fixed,
    is_number,
    nearest,
    parse,
    suggest,
    values_of,
)

Tables = dict[str, dict[str, Any]]

TABLES = ("weights", "reward", "hyperparameters")
WEIGHTS = ("share", "scale", "low", "high")
WHOLE_SHARE: Tables = {"weights": {"share": [0.0, 1.0]}}
"""What is searched by default."""
TOGETHER = ("n_steps", "batch_size")
"""Hyperparameters that must fit one another, so that only choices of them can be checked."""


@dataclass(frozen=True)
class Space:
    """A checked search space.

    Attributes:
        tables: what the user wrote, table by table.
        parameters: name in the study -> distribution. Arguments of the reward are called
            ``reward.NAME``, the rest as in the file.
        fixed: name -> value of what the file fixes.
    """

    tables: Tables
    parameters: dict[str, BaseDistribution]
    fixed: dict[str, Any]

    @property
    def has_share(self) -> bool:
        """Whether alpha and beta are searched."""
        return "share" in self.parameters

    @property
    def shares(self) -> tuple[float, float]:
        """The ends of the share's range; its one value twice where it is fixed."""
        found = self.parameters.get("share")
        ends = [self.fixed["share"]] if found is None else values_of(found)
        return float(min(ends)), float(max(ends))

    def suggest(self, trial: Trial) -> dict[str, Any]:
        """A value for every parameter, those that are fixed included."""
        return self.fixed | {
            name: suggest(trial, name, distribution)
            for name, distribution in self.parameters.items()
        }

    def apply(self, values: Mapping[str, Any], base: TrainConfig) -> TrainConfig:
        """A training's configuration with the values in the reward's and PPO's plain form."""
        reward = dict(base.reward_kwargs)
        settings = dict(base.hyperparameters)
        if "share" in values:
            scale = values.get("scale", 1.0)
            reward["alpha"], reward["beta"] = weights_of(values["share"], scale)
        for name, value in values.items():
            if name in ("low", "high"):
                reward[name] = value
            elif name.startswith("reward."):
                reward[name.removeprefix("reward.")] = value
            elif name in SETTINGS:
                settings[name] = value
        return replace(base, reward_kwargs=reward, hyperparameters=settings)

    def first(self, base: TrainConfig) -> list[dict[str, Any]]:
        """What every study begins with: both ends and the middle of the share, else as usual.

        The ends say how far the front reaches, which is what a model of it needs to know first.
        """
        usual = {
            name: nearest(distribution, _usual(name, distribution, base))
            for name, distribution in self.parameters.items()
        }
        if not self.has_share:
            return [usual]
        low, middle, high = grid_of(self.parameters["share"], 3)[:3]
        return [usual | {"share": share} for share in (low, high, middle)]

    def grid(self, trials: int) -> dict[str, list[Any]]:
        """Values per parameter whose product is the finest grid of at most `trials` points.

        Raises:
            DSAError: when not even two values per range fit.
        """
        for points in range(trials, 1, -1):
            values = {name: grid_of(d, points) for name, d in self.parameters.items()}
            if len(list(itertools.islice(itertools.product(*values.values()), trials + 1))) <= (
                trials
            ):
                return values
        raise DSAError(
            f"A grid over {len(self.parameters)} parameters needs more than {trials} trials; raise "
            "--trials or search fewer parameters."
        )


def weights_of(share: float, scale: float = 1.0) -> tuple[float, float]:
    """Alpha and beta of a share: scale * (1 - share) and scale * share."""
    return scale * (1.0 - share), scale * share


def takes_weights(base: TrainConfig) -> bool:
    """Whether the reward has the arguments alpha and beta."""
    try:
        resolve_reward(base.reward, {**base.reward_kwargs, "alpha": 0.5, "beta": 0.5})
    except DSAError:
        return False
    return True


def read_tables(path: str | Path) -> Tables:
    """The tables of a TOML file, for `make_space` to check.

    Raises:
        DSAError: the file cannot be read or is not TOML.
    """
    try:
        return tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise DSAError(f"{path} cannot be read ({error.strerror}); check --space.") from None
    except ValueError as error:
        raise DSAError(f"{path} is not valid TOML ({error}).") from None


def make_space(tables: Mapping[str, Any], base: TrainConfig) -> Space:
    """Check a space against the training that it varies.

    Args:
        tables: ``weights`` (share, scale, low, high), ``reward`` (further arguments of the reward)
            and ``hyperparameters`` (PPO's); each entry a plain value, which fixes the parameter,
            or a range or choices, as `dsa_tuning.distributions.parse` takes them.
        base: what is trained, apart from what is searched.

    Raises:
        DSAError: an unknown table or parameter, an empty range, a value out of its range, a clip
            that can never bite, or nothing to search.
    """
    for name in tables:
        if name not in TABLES:
            raise unknown("table of a search space", name, TABLES)
        if not isinstance(tables[name], Mapping):
            raise DSAError(f"[{name}] must be a table of parameters.")
    found: Tables = {name: dict(tables[name]) for name in TABLES if name in tables}
    weighed = takes_weights(base)
    if (
        weighed
        and "share" not in found.get("weights", {})
        and not {"alpha", "beta"} & set(base.reward_kwargs)
    ):
        found["weights"] = {**WHOLE_SHARE["weights"], **found.get("weights", {})}
    if "weights" in found and not weighed:
        raise DSAError(
            f"Reward {base.reward!r} takes no alpha and beta; search its own arguments in a table "
            "[reward] of --space."
        )
    found = {name: found[name] for name in TABLES if name in found}
    parameters: dict[str, BaseDistribution] = {}
    fixed: dict[str, Any] = {}
    for table, entries in found.items():
        for name, entry in entries.items():
            key = f"reward.{name}" if table == "reward" else name
            _check_name(table, name, base)
            if is_fixed(entry):
                fixed[key] = entry
                continue
            whole = table == "hyperparameters" and SETTINGS[name].kind is int
            parameters[key] = parse(name, entry, whole=whole)
    space = Space(found, parameters, fixed)
    _check_values(space, base)
    if not parameters:
        raise DSAError(
            "There is nothing to search; give at least one parameter a range in --space, such as "
            "share = [0.0, 1.0] under [weights]."
        )
    return space


def _check_name(table: str, name: str, base: TrainConfig) -> None:
    """Refuse a parameter that its table does not know."""
    if table == "weights" and name not in WEIGHTS:
        raise unknown("parameter in [weights]", name, WEIGHTS)
    if table == "hyperparameters":
        known = get_algorithm(base.algorithm).defaults
        if name not in known:
            raise unknown(f"hyperparameter of {base.algorithm}", name, known)
    if table == "reward" and name in ("alpha", "beta", "low", "high") and takes_weights(base):
        raise DSAError(
            f"{name} belongs under [weights], where alpha and beta are searched as their share."
        )


def _check_values(space: Space, base: TrainConfig) -> None:
    """Refuse values that the reward or the algorithm would refuse in the middle of a study."""
    every = {name: values_of(d) for name, d in space.parameters.items()}
    every |= {name: [value] for name, value in space.fixed.items()}
    for name, values in every.items():
        for value in values:
            if name in SETTINGS:
                SETTINGS[name].check(name, value)
            elif name in WEIGHTS and not is_number(value):
                raise DSAError(f"{name} must be a number, got {value!r}.")
    for name in TOGETHER:
        if name in space.parameters and "choices" not in space.tables["hyperparameters"][name]:
            raise DSAError(
                f"{name} must fit the rollout, so give it choices: "
                f"{name} = {{choices = [..]}}, not a range."
            )
    shares, scales = every.get("share", []), every.get("scale", [1.0])
    if any(not 0 <= share <= 1 for share in shares):
        raise DSAError(f"share = beta / (alpha + beta) lies in [0, 1], got {shares}.")
    if any(scale <= 0 for scale in scales):
        raise DSAError(f"scale must be above 0, got {min(scales):g}.")
    _check_clip(space, base, every)
    varied = [name for name in every if name in TOGETHER or name.startswith("reward.")]
    varied += [name for name in ("low", "high", "share") if name in every]
    for combination in itertools.product(*(every[name] for name in varied)):
        config = complete(space.apply(dict(zip(varied, combination, strict=True)), base))
        resolve_reward(config.reward, config.reward_kwargs)


def _check_clip(space: Space, base: TrainConfig, every: Mapping[str, list[Any]]) -> None:
    """Refuse a scale or bounds that change nothing: PPO sees a difference only in the clip."""
    searched = [name for name in ("scale", "low", "high") if name in space.parameters]
    if "scale" in every and "share" not in every:
        raise DSAError("scale multiplies the weights of a share; give share under [weights] too.")
    if not searched:
        return
    reward = resolve_reward(base.reward, {**base.reward_kwargs, "alpha": 0.5, "beta": 0.5})
    if not isinstance(reward, ClippedReward):
        return
    lows, highs = every.get("low", [reward.low]), every.get("high", [reward.high])
    if max(lows) >= min(highs):
        raise DSAError(
            f"The clip's low must stay below its high, but low reaches {max(lows):g} and high "
            f"{min(highs):g}; narrow their ranges."
        )
    if "share" in every:
        scale = max(every.get("scale", [1.0]))
        most, least = scale * (1 - min(every["share"])), -scale * max(every["share"])
    else:
        most = base.reward_kwargs.get("alpha", ClippedReward.alpha)
        least = -base.reward_kwargs.get("beta", ClippedReward.beta)
    if most <= min(highs) and least >= max(lows):
        raise DSAError(
            f"Searching {' and '.join(searched)} changes nothing: the reward stays within "
            f"[{least:g}, {most:g}], so the clip never bites; let scale exceed 1, or search bounds "
            "inside that range."
        )


def _usual(name: str, distribution: BaseDistribution, base: TrainConfig) -> Any:
    """What a parameter is when nobody searches it; the middle of its range where nobody knows."""
    settings = complete(base).hyperparameters
    if name in settings:
        value = settings[name]
        return ",".join(map(str, value)) if isinstance(value, list) else value
    usual = {"scale": 1.0, "low": ClippedReward.low, "high": ClippedReward.high}
    middle = grid_of(distribution, 3)
    fallback = usual.get(name, middle[1 % len(middle)])
    return base.reward_kwargs.get(name.removeprefix("reward."), fallback)
