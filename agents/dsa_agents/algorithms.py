"""The algorithms that can be trained, their defaults, and the checking of hyperparameters.

PPO and A2C act by a Gaussian on g rescaled to [-1, 1]. The other remedy for a bounded action, a
Beta policy, ended level with it (benchmarks/policy_distribution.py, embedded world, 300,000 steps,
3 seeds, best validation reward: text to image .4301 Gaussian, .4299 Beta; image to text .5683
Gaussian, .5695 Beta; standard deviation between seeds up to .007), so there is one, the simpler.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dsa_env.errors import DSAError, unknown

if TYPE_CHECKING:
    from stable_baselines3.common.base_class import BaseAlgorithm
    from stable_baselines3.common.vec_env import VecEnv
    from torch import Tensor

ACTIVATIONS = ("tanh", "relu")


@dataclass(frozen=True)
class Setting:
    """What a hyperparameter may be.

    Attributes:
        kind: ``int``, ``float``, ``bool``, ``list`` (of layer widths) or ``str``.
        low: smallest value, and `high` the largest; excluded when `open_low`.
        options: the values of a ``str``.
    """

    kind: type
    low: float = -np.inf
    high: float = np.inf
    open_low: bool = False
    options: tuple[str, ...] = ()

    def check(self, name: str, value: Any) -> Any:
        """The value in its own type, from a value or its text; `DSAError` when it does not fit."""
        try:
            converted = _convert(self.kind, value)
        except (KeyError, TypeError, ValueError):
            raise DSAError(
                f"Hyperparameter {name} must be {_NAMES[self.kind]}, got {value!r}."
            ) from None
        if self.options and converted not in self.options:
            raise unknown(name, converted, self.options)
        if self.kind in (int, float):
            inside = self.low < converted if self.open_low else self.low <= converted
            if not (inside and converted <= self.high and np.isfinite(converted)):
                left = "(" if self.open_low else "["
                raise DSAError(
                    f"Hyperparameter {name} must lie in {left}{self.low:g}, {self.high:g}], "
                    f"got {converted:g}."
                )
        return converted


SETTINGS: dict[str, Setting] = {
    "learning_rate": Setting(float, 0, 1, open_low=True),
    "learning_rate_end": Setting(float, 0, 1),  # share of learning_rate left at the end, linear
    "gamma": Setting(float, 0, 1),
    "net_arch": Setting(list),
    "activation": Setting(str, options=ACTIVATIONS),
    "weight_decay": Setting(float, 0, 1),
    "batch_size": Setting(int, 2),
    "n_steps": Setting(int, 1),
    "n_epochs": Setting(int, 1),
    "gae_lambda": Setting(float, 0, 1),
    "clip_range": Setting(float, 0, open_low=True),
    "ent_coef": Setting(float, 0),
    "vf_coef": Setting(float, 0),
    "max_grad_norm": Setting(float, 0, open_low=True),
    "log_std_init": Setting(float, -20, 2),
    "normalize_advantage": Setting(bool),
    "buffer_size": Setting(int, 1),
    "learning_starts": Setting(int, 0),
    "tau": Setting(float, 0, 1, open_low=True),
    "train_freq": Setting(int, 1),
    "gradient_steps": Setting(int, 1),
    "action_noise": Setting(float, 0),
    "target_policy_noise": Setting(float, 0),
    "policy_delay": Setting(int, 1),
    "top_quantiles_to_drop_per_net": Setting(int, 0, 24),
}

ROLLOUTS = (2_048, 8_192)
"""Steps of PPO's rollout, over all environments, at horizon 1 and above."""

_SHARED = {
    "learning_rate": 1e-3,
    "learning_rate_end": 0.1,
    "gamma": None,  # 0 at horizon 1, where nothing follows a step; 0.9 above
    "net_arch": [256, 128],
    "activation": "tanh",
    "weight_decay": 0.0,
}
_OFF_POLICY = _SHARED | {
    "activation": "relu",
    "batch_size": 1024,
    "buffer_size": 100_000,
    "learning_starts": 8_192,
    "tau": 0.005,
    "train_freq": 1,
    "gradient_steps": 1,
}


@dataclass(frozen=True)
class Algorithm:
    """One trainable algorithm.

    Attributes:
        name: how it is asked for.
        path: ``"module:class"`` of the implementation, imported on first use.
        squash: how its network's output becomes an action, as the controller names it.
        timesteps: default environment steps per seed.
        n_envs: default number of environments stepped together.
        defaults: every hyperparameter with its default.
    """

    name: str
    path: str
    squash: str
    timesteps: int
    n_envs: int
    defaults: dict[str, Any]

    @property
    def on_policy(self) -> bool:
        """Whether each rollout is used once and thrown away."""
        return "n_steps" in self.defaults


ALGORITHMS: dict[str, Algorithm] = {
    algorithm.name: algorithm
    for algorithm in (
        Algorithm(
            "ppo",
            "stable_baselines3:PPO",
            "clip",
            600_000,
            1_024,
            # ReLU and weight decay keep it from overfitting small train splits: embedded world,
            # image to text, 500,000 steps, 2 seeds: Recall@10 .645, with tanh and no decay .634.
            # The network is small: [256, 128] takes three times as long (best validation reward
            # from image to text .575 against .572, 3 seeds, rollouts of 8,192 steps). Short
            # rollouts at a high rate that falls to almost nothing learn fast at first (`make
            # bench`) and end level with rollouts of 8,192 steps at 1e-3 (600,000 steps, 5 seeds,
            # reward on validation: .449 and .449 text to image, .576 and .575 image to text; on
            # test .449 and .450, .566 and .570).
            _SHARED
            | {
                "activation": "relu",
                "weight_decay": 0.03,
                "net_arch": [128, 64],
                "learning_rate": 2e-3,
                "learning_rate_end": 0.02,
                "batch_size": 1_024,
                "n_steps": None,  # as many as fill a rollout of `ROLLOUTS` steps
                "n_epochs": 2,
                "gae_lambda": 1.0,
                "clip_range": 0.2,
                "ent_coef": 0.0,
                "vf_coef": 0.5,
                "max_grad_norm": 0.5,
                "log_std_init": -1.0,
                "normalize_advantage": True,
            },
        ),
        Algorithm(
            "a2c",
            "stable_baselines3:A2C",
            "clip",
            1_200_000,
            1_024,
            _SHARED
            | {
                "n_steps": 1,
                "gae_lambda": 1.0,
                "ent_coef": 0.0,
                "vf_coef": 0.5,
                "max_grad_norm": 0.5,
                "log_std_init": -1.0,
                "normalize_advantage": True,
            },
        ),
        Algorithm("sac", "stable_baselines3:SAC", "tanh", 200_000, 256, _OFF_POLICY),
        Algorithm(
            "td3",
            "stable_baselines3:TD3",
            "tanh",
            200_000,
            256,
            _OFF_POLICY | {"action_noise": 0.3, "target_policy_noise": 0.2, "policy_delay": 2},
        ),
        Algorithm(
            "tqc",
            "sb3_contrib:TQC",
            "tanh",
            200_000,
            256,
            _OFF_POLICY | {"top_quantiles_to_drop_per_net": 0},
        ),
    )
}


def get_algorithm(name: str) -> Algorithm:
    """The algorithm of that name; `DSAError` suggests the nearest for an unknown one."""
    if name not in ALGORITHMS:
        raise unknown("algorithm", name, ALGORITHMS)
    return ALGORITHMS[name]


def full_hyperparameters(
    algorithm: Algorithm, given: Mapping[str, Any], *, horizon: int, n_envs: int
) -> dict[str, Any]:
    """All hyperparameters: the defaults with what was given, each checked.

    Args:
        algorithm: whose hyperparameters.
        given: name to value, or to its text (``"1e-3"``, ``"256,128"``, ``"true"``).
        horizon: steps of an episode; decides the default gamma.
        n_envs: environments stepped together; a default minibatch changes to what fits.

    Raises:
        DSAError: for an unknown name, a value of the wrong type or out of range, or a PPO
            minibatch that does not divide the rollout.
    """
    full = algorithm.defaults | {"gamma": 0.0 if horizon == 1 else 0.9}
    if "n_epochs" in full:
        full["n_steps"] = max(1, ROLLOUTS[horizon > 1] // n_envs)
    for name, value in given.items():
        if name not in full:
            raise unknown(f"hyperparameter of {algorithm.name}", name, full)
        full[name] = SETTINGS[name].check(name, value)
    if "n_epochs" in full:
        rollout = n_envs * full["n_steps"]
        if "batch_size" not in given:
            full["batch_size"] = _nearest_divisor(rollout, full["batch_size"])
        if rollout % full["batch_size"] or rollout < 2:
            raise DSAError(
                f"A minibatch of {full['batch_size']} does not divide a rollout of {n_envs} "
                f"environments x {full['n_steps']} steps; set batch_size to a divisor of {rollout}."
            )
    return full


def build_model(
    algorithm: Algorithm,
    env: VecEnv,
    hyperparameters: Mapping[str, Any],
    mean: NDArray[np.float32],
    std: NDArray[np.float32],
    seed: int,
    policy: Any = "MlpPolicy",
    table: Tensor | None = None,
) -> BaseAlgorithm:
    """The untrained Stable-Baselines3 model, on the CPU.

    Args:
        algorithm: which one.
        env: the training environment.
        hyperparameters: all of them, from `full_hyperparameters`.
        mean: statistics of the observation on the train split, frozen into the model, [D].
        std: as `mean`, positive.
        seed: seeds Python, NumPy, torch and `env`.
        policy: policy class or name.
        table: features [Q, D] of the queries, for an environment whose observation is a query's
            number; None for one whose observation is the features.
    """
    from torch import nn

    from dsa_agents.adapter import IndexedFeatures, Standardise

    settings = dict(hyperparameters)
    widths = settings.pop("net_arch")
    policy_kwargs: dict[str, Any] = {
        "net_arch": list(widths),
        "activation_fn": {"tanh": nn.Tanh, "relu": nn.ReLU}[settings.pop("activation")],
        "features_extractor_class": Standardise if table is None else IndexedFeatures,
        "features_extractor_kwargs": {"mean": mean, "std": std}
        | ({} if table is None else {"table": table}),
        "optimizer_kwargs": {"weight_decay": settings.pop("weight_decay")},
    }
    if "log_std_init" in settings:
        policy_kwargs["log_std_init"] = settings.pop("log_std_init")
    if algorithm.name == "a2c":
        policy_kwargs["optimizer_kwargs"]["eps"] = 1e-5
        settings["use_rms_prop"] = False
    if not algorithm.on_policy:
        # Episodes only ever terminate, so the next observation of a last step is never used
        # and one array can hold both observations.
        settings["optimize_memory_usage"] = True
        settings["replay_buffer_kwargs"] = {"handle_timeout_termination": False}
    if algorithm.name in ("sac", "tqc"):
        settings["ent_coef"] = "auto_0.1"  # tuned from here; rewards lie in [-1, 1]
    if "action_noise" in settings:
        settings["action_noise"] = _noise(settings["action_noise"])
    start, end = settings.pop("learning_rate"), settings.pop("learning_rate_end")
    settings["learning_rate"] = _linear(start, start * end)
    module, _, name = algorithm.path.partition(":")
    model: BaseAlgorithm = getattr(importlib.import_module(module), name)(
        policy, env, seed=seed, device="cpu", policy_kwargs=policy_kwargs, **settings
    )
    return model


def _linear(start: float, end: float) -> Callable[[float], float]:
    """A schedule from `start` to `end` over the progress that remains (1 to 0)."""
    return lambda remaining: end + (start - end) * remaining


def _noise(std: float) -> Any:
    """Gaussian exploration noise for a deterministic policy."""
    from stable_baselines3.common.noise import NormalActionNoise

    return NormalActionNoise(np.zeros(1), np.full(1, std)) if std > 0 else None


def _nearest_divisor(number: int, wanted: int) -> int:
    """The divisor of `number`, above 1 where there is one, whose ratio to `wanted` is nearest 1.

    A smaller one may be far too small: a prime number of environments has none but itself.
    """
    divisors = (d for d in range(2, number + 1) if number % d == 0)
    return min(divisors, key=lambda d: max(d / wanted, wanted / d), default=number)


_NAMES = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    list: "layer widths such as 256,128",
    str: "a word",
}


def _convert(kind: type, value: Any) -> Any:
    """`value`, or the value that its text names, in the given type."""
    if kind is str:
        return str(value)
    if kind is bool:
        return {"true": True, "false": False}[str(value).lower()]
    if kind is list:
        parts = value.split(",") if isinstance(value, str) else list(value)
        widths = [_convert(int, part) for part in parts if part != ""]
        if any(width < 1 for width in widths):
            raise ValueError(value)
        return widths
    if isinstance(value, bool):
        raise TypeError(value)
    if kind is int:
        number = float(value)
        if not number.is_integer():
            raise ValueError(value)
        return int(number)
    return float(value)
