"""Rewards: pure functions of a batch of outcomes, by name, by object or of one's own."""

from __future__ import annotations

import functools
import importlib
import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from numbers import Real
from types import ModuleType
from typing import Any, ClassVar, Protocol

import numpy as np
from gymnasium.spaces import Box
from numpy.typing import NDArray

from dsa_env.errors import DSAError, unknown
from dsa_env.outcome import Outcome

Terms = dict[str, NDArray[Any]]


class Reward(Protocol):
    """The whole contract: a callable from a batch of outcomes to values and named terms.

    It must be pure (the same outcome gives the same values, entry i depends on entry i alone and
    nothing is written into the arrays it was given) and cheap: it is called at every step. A
    reward with a vector value may say where it lies in an attribute `reward_space` (a
    ``gymnasium.spaces.Box`` of shape [m]). `dsa_env.testing.check_reward` checks all of it.

    Example, used as ``reward="my_rewards:PricedDetail", reward_kwargs={"price": 0.2}``::

        class PricedDetail:
            def __init__(self, price=0.1):
                self.price = price

            def __call__(self, outcome):
                cost = self.price * outcome.granularity
                return outcome.recall - cost, {"recall": outcome.recall, "cost": -cost}
    """

    def __call__(self, outcome: Outcome) -> tuple[NDArray[Any], Terms]:
        """Evaluate B outcomes.

        Returns:
            values: [B], or [B, m] for a vector reward; finite numbers.
            terms: name -> [B] finite numbers, the parts the value was made of, unweighted; the
                same names at every call. They appear as ``info["reward_terms"]``.
        """


@dataclass(frozen=True)
class ClippedReward:
    """The reward of Dynamic Semantic Anchoring: ``clip(alpha * recall + beta * penalty)``.

    Attributes:
        alpha: weight >= 0 of the hit, Recall@k in {0, 1}.
        beta: weight >= 0 of the penalty, minus the severity, in [-1, 0].
        low: lower bound of the clip.
        high: upper bound of the clip.

    Raises:
        DSAError: weights that are negative, not finite or both 0, or bounds out of order.
    """

    alpha: float = 1.0
    beta: float = 0.25
    low: float = -1.0
    high: float = 1.0

    gain: ClassVar[str] = "recall"

    def __post_init__(self) -> None:
        """Check the weights and turn them into plain floats."""
        for field in fields(self):
            value = getattr(self, field.name)
            object.__setattr__(self, field.name, _finite(type(self).__name__, field.name, value))
        if self.alpha < 0 or self.beta < 0:
            raise DSAError(
                f"alpha and beta are weights and must be at least 0, got alpha={self.alpha:g}, "
                f"beta={self.beta:g}; the penalty carries its minus sign already."
            )
        if self.alpha == 0 and self.beta == 0:
            raise DSAError("alpha and beta are both 0, so every action earns 0; raise one of them.")
        if self.low >= self.high:
            raise DSAError(
                f"low must be below high, got low={self.low:g}, high={self.high:g}; swap them."
            )

    def unclipped(self, outcome: Outcome) -> NDArray[np.float32]:
        """[B] float32: the weighted sum of the terms before the clip."""
        gain: NDArray[np.float32] = getattr(outcome, self.gain)
        weighted: NDArray[np.float32] = self.alpha * gain + self.beta * outcome.penalty
        return weighted

    def clipped(self, outcome: Outcome) -> NDArray[np.bool_]:
        """[B] bool: where the clip bites."""
        values = self.unclipped(outcome)
        outside: NDArray[np.bool_] = (values < self.low) | (values > self.high)
        return outside

    def __call__(self, outcome: Outcome) -> tuple[NDArray[np.float32], Terms]:
        """Return the clipped values [B] float32 in [low, high] and the two unweighted terms."""
        values = np.clip(self.unclipped(outcome), self.low, self.high)
        return values, {self.gain: getattr(outcome, self.gain), "penalty": outcome.penalty}


@dataclass(frozen=True)
class ReciprocalRankReward(ClippedReward):
    """`ClippedReward` with the reciprocal rank (0, 1] in place of the hit: smoother to learn from.

    It still tells apart two actions that both miss, or both hit, the first k places.
    """

    gain: ClassVar[str] = "reciprocal_rank"


@dataclass(frozen=True)
class TermsReward:
    """The unscalarised terms as a vector [B, 2]: recall in {0, 1} and penalty in [-1, 0].

    For multi-objective learners, which weigh the terms themselves.
    """

    @property
    def reward_space(self) -> Box:
        """Where the vector lies: recall in [0, 1], penalty in [-1, 0]."""
        return Box(np.array([0, -1], np.float32), np.array([1, 0], np.float32), dtype=np.float32)

    def __call__(self, outcome: Outcome) -> tuple[NDArray[np.float32], Terms]:
        """Return [B, 2] float32 (recall, penalty) and the same two as terms."""
        terms: Terms = {"recall": outcome.recall, "penalty": outcome.penalty}
        return np.stack([terms["recall"], terms["penalty"]], axis=1), terms


BUILT_IN: dict[str, Callable[..., Reward]] = {
    "clipped": ClippedReward,
    "reciprocal_rank": ReciprocalRankReward,
    "terms": TermsReward,
}


_TRUSTED = frozenset({ClippedReward, ReciprocalRankReward, TermsReward})


def resolve_reward(spec: Any = None, kwargs: Mapping[str, Any] | None = None) -> Reward:
    """Turn what a user gave into a reward.

    Args:
        spec: None (``ClippedReward``), the name of a built-in reward (``"clipped"``,
            ``"reciprocal_rank"``, ``"terms"``), ``"package.module:name"`` of a class, a function
            or an object, a class, or anything callable.
        kwargs: arguments for a class, or the remaining arguments of a function.

    Raises:
        DSAError: unknown names (with the nearest one), arguments that do not fit, not callable.
    """
    label = repr(spec) if isinstance(spec, str) else getattr(spec, "__name__", repr(spec))
    found = ClippedReward if spec is None else _find(spec) if isinstance(spec, str) else spec
    arguments = dict(kwargs or {})
    if isinstance(found, type):
        _check_arguments(found, arguments)
        found = found(**arguments)
    elif arguments:
        if not inspect.isroutine(found):
            raise DSAError(
                f"reward_kwargs {sorted(arguments)} have nowhere to go: reward {label} is an "
                "object already; give its class or its name instead."
            )
        _check_arguments(found, arguments, None)
        found = functools.partial(found, **arguments)
    if not callable(found):
        raise DSAError(
            f"Reward {label} is a {type(found).__name__} and cannot be called; give a function of "
            "an Outcome, or a class with __call__(self, outcome)."
        )
    reward: Reward = found
    return reward


def evaluate(reward: Reward, outcome: Outcome) -> tuple[NDArray[Any], Terms]:
    """Call `reward` and check what it returns.

    Returns:
        values: [B] or [B, m], finite.
        terms: name -> [B], finite.

    Raises:
        DSAError: the reward breaks its contract; the line says what to return instead.
    """
    returned: Any = reward(outcome)
    if not isinstance(returned, tuple) or len(returned) != 2:
        raise DSAError(
            f"A reward must return the pair (values, terms), got {type(returned).__name__}; write "
            '`return values, {"name": term}`.'
        )
    values, terms = returned
    if type(reward) not in _TRUSTED:  # what ships keeps the contract: its tests say so
        check_values(values, terms, len(outcome))
    return values, terms


def check_values(values: Any, terms: Any, batch: int) -> None:
    """Check what a reward returned for `batch` outcomes against the `Reward` contract.

    Raises:
        DSAError: one line that says what is wrong and what to return instead.
    """
    _check_array("values", values, batch, vector=True)
    if not isinstance(terms, dict):
        raise DSAError(
            f"A reward must return (values, terms) with terms a dict of arrays, got terms of type "
            f"{type(terms).__name__}; return {{}} if there are none."
        )
    for name, term in terms.items():
        if not isinstance(name, str):
            raise DSAError(f"The names of a reward's terms must be strings, got {name!r}.")
        _check_array(f"term {name!r}", term, batch, vector=False)


def _check_array(what: str, array: Any, batch: int, *, vector: bool) -> None:
    """Check shape, dtype and finiteness of one returned array."""
    if not isinstance(array, np.ndarray):
        raise DSAError(
            f"The reward's {what} must be a NumPy array, got {type(array).__name__}; compute it "
            "from the outcome's arrays without a loop over them."
        )
    if array.shape != (batch,) and not (vector and array.shape[:-1] == (batch,) and array.size):
        wanted = f"({batch},)" + (f", or ({batch}, m) for a vector reward" if vector else "")
        raise DSAError(
            f"The reward's {what} must have shape {wanted}, one entry per outcome, got "
            f"{array.shape}."
        )
    if array.dtype.kind not in "fiu":
        raise DSAError(
            f"The reward's {what} must be real numbers, got dtype {array.dtype}; add "
            "`.astype(np.float32)`."
        )
    if not np.isfinite(array).all():
        first = int(np.argwhere(~np.isfinite(array))[0][0])
        raise DSAError(
            f"The reward's {what} must be finite, got {array[first]} at outcome {first}; guard "
            "divisions and logarithms."
        )


def _find(spec: str) -> Any:
    """Look up a built-in name or ``"package.module:name"``."""
    if spec in BUILT_IN:
        return BUILT_IN[spec]
    module_name, colon, name = spec.partition(":")
    if not (colon and module_name and name):
        raise unknown("reward", spec, [*BUILT_IN, "package.module:name"])
    module = _import(module_name, spec)
    try:
        return getattr(module, name)
    except AttributeError:
        public = [key for key, value in vars(module).items() if callable(value) and key[0] != "_"]
        raise unknown(f"name in module {module_name!r}", name, public) from None


def _import(module_name: str, spec: str) -> ModuleType:
    """Import the module of a reward; whatever goes wrong becomes one line."""
    try:
        return importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise DSAError(
                f"Reward {spec!r}: importing {module_name!r} failed: {error}."
            ) from error
        raise DSAError(
            f"Reward {spec!r}: there is no module {error.name!r}; install it, or put its folder on "
            "PYTHONPATH."
        ) from None
    except Exception as error:
        summary = " ".join(f"{type(error).__name__}: {error}".split())
        raise DSAError(f"Reward {spec!r}: importing {module_name!r} failed: {summary}.") from error


def _check_arguments(maker: Callable[..., Any], kwargs: dict[str, Any], *args: Any) -> None:
    """Check that `maker` takes these arguments; suggests the nearest name for a wrong one."""
    name = getattr(maker, "__name__", repr(maker))
    try:
        signature = inspect.signature(maker)
    except ValueError:  # built without a signature: let the call speak
        return
    free = list(signature.parameters.values())[len(args) :]
    if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in free):
        names = [parameter.name for parameter in free]
        for key in kwargs:
            if key not in names:
                raise unknown(f"argument of reward {name}", key, names)
    try:
        signature.bind(*args, **kwargs)
    except TypeError as error:
        raise DSAError(
            f"Reward {name}{signature} cannot be made: {error}; give it in reward_kwargs."
        ) from None


def _finite(owner: str, name: str, value: Any) -> float:
    """A finite float, or an error that names the argument."""
    if isinstance(value, bool) or not isinstance(value, Real) or not math.isfinite(value):
        raise DSAError(f"{owner} needs a finite number for {name}, got {value!r}.")
    return float(value)
