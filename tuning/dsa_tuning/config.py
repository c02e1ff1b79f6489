"""What a study is: everything that decides its result, kept in its folder and in its storage."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Self

from dsa_agents.algorithms import get_algorithm
from dsa_agents.run_folder import TrainConfig
from dsa_agents.train import complete
from dsa_env.errors import DSAError, unknown
from dsa_tuning.names import PARETO, SAMPLERS
from dsa_tuning.space import Space, make_space

LEAST_SEEDS = 3
"""One seed's noise is larger than the effect of the weights."""
SHORTER = 3
"""How many times shorter than a usual training a trial's is, by default."""


@dataclass(frozen=True)
class TuneConfig:
    """What to tune.

    Attributes:
        base: what a trial trains, apart from what is searched; its seeds are the trial's.
        tables: the search space as its file has it.
        objective: ``"pareto"``, ``"recall"`` or ``"package.module:name"``.
        max_hallucination: a bound on hallucination; None for none.
        sampler: ``"gp"``, ``"tpe"``, ``"random"`` or ``"grid"``.
        trials: how many, all workers and machines together.
        seed: of the sampler.
        final_timesteps: environment steps per seed of the trainings that are tested at the end.
    """

    base: TrainConfig = field(
        default_factory=lambda: TrainConfig(direction="image_to_text", seeds=(0, 1, 2))
    )
    tables: dict[str, dict[str, Any]] = field(default_factory=dict)
    objective: str = PARETO
    max_hallucination: float | None = None
    sampler: str = "gp"
    trials: int = 20
    seed: int = 0
    final_timesteps: int | None = None

    def complete(self) -> Self:
        """The configuration with every default written out, checked.

        Raises:
            DSAError: one line that names the setting and the cure.
        """
        usual = get_algorithm(self.base.algorithm).timesteps
        shorter = usual // SHORTER if self.base.timesteps is None else self.base.timesteps
        final = self.final_timesteps or self.base.timesteps or usual
        base = complete(replace(self.base, timesteps=shorter, hyperparameters={}))
        full = complete(replace(base, hyperparameters=self.base.hyperparameters)).hyperparameters
        given = {name: full[name] for name in self.base.hyperparameters}
        base = replace(base, hyperparameters=given)
        if len(base.seeds) < LEAST_SEEDS:
            raise DSAError(
                f"A trial averages at least {LEAST_SEEDS} seeds, because one seed's noise is "
                f"larger than the effect; got {len(base.seeds)}."
            )
        for name, value in (("trials", self.trials), ("final_timesteps", final)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise DSAError(f"{name} must be a whole number of at least 1, got {value!r}.")
        if not 0 <= self.seed < 2**31:
            raise DSAError(f"The sampler's seed must lie in 0 .. 2**31 - 1, got {self.seed}.")
        if self.sampler not in SAMPLERS:
            raise unknown("sampler", self.sampler, SAMPLERS)
        space = make_space(self.tables, base)
        if self.sampler == "grid":
            space.grid(self.trials)
        return replace(self, base=base, tables=space.tables, final_timesteps=final)

    @property
    def space(self) -> Space:
        """The checked search space."""
        return make_space(self.tables, self.base)

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON can hold them."""
        return {**asdict(self), "base": self.base.to_json()}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Build from what `to_json` returned; `DSAError` for unknown fields."""
        for name in values:
            if name not in cls.__dataclass_fields__:
                raise unknown("field of a study's configuration", name, cls.__dataclass_fields__)
        return cls(**{**values, "base": TrainConfig.from_json(values["base"])})

    def identity(self) -> dict[str, Any]:
        """What must be the same for two commands to share a study; where the bank lies need not."""
        values = self.to_json()
        base = {f"base {name}": value for name, value in values.pop("base").items()}
        free = ("trials", "final_timesteps", "base bank", "base validate_every")
        return {name: value for name, value in {**values, **base}.items() if name not in free}
