"""A run: the folder of one training, with its configuration, seeds and trained controllers.

RUN/config.json        what was trained (`TrainConfig`), every default written out
RUN/provenance.json    with what: command line, versions, the bank's hash, when, where
RUN/seed-S/best/                  the controller that did best on validation
RUN/seed-S/last/checkpoint.pt     everything needed to resume (tensors only, no pickled code)
RUN/seed-S/learning_curve.json    one entry per validation
RUN/seed-S/summary.json           times, steps, the best validation reward, finished or not
RUN/seed-S/tensorboard/           event files
"""

from __future__ import annotations

import platform
import re
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any, Self

from dsa_env import __version__
from dsa_env.bank import FeatureBank, resolve_bank
from dsa_env.errors import DSAError, unknown
from dsa_env.files import read_json, write_json

if TYPE_CHECKING:
    from dsa_env.controller import GranularityController
    from dsa_env.core import RetrievalCore

CONFIG, PROVENANCE = "config.json", "provenance.json"
SUMMARY, CURVE, CHECKPOINT = "summary.json", "learning_curve.json", "checkpoint.pt"
BEST, LAST = "best", "last"
PACKAGES = ("numpy", "gymnasium", "torch", "stable_baselines3", "sb3_contrib")


@dataclass(frozen=True)
class TrainConfig:
    """What to train; everything that decides the result.

    Attributes:
        bank: folder of a feature bank, or ``"embedded"``.
        direction: ``"text_to_image"``, ``"image_to_text"`` or ``"captioning"``.
        k: the k of Recall@k.
        horizon: steps of an episode; 1 is a contextual bandit.
        reward: name of a reward, as `dsa_env.rewards.resolve_reward` takes it.
        reward_kwargs: the reward's arguments.
        shortlist: candidates per query; None for the environment's default.
        faiss: whether candidates come from a FAISS index, for very large galleries.
        ambiguity: whether the agent sees how many readings the query's text has.
        model: of captioning, the model that writes: ``"embedded"``, a folder or a hub name.
        prompts: of captioning, what the model is asked; None for its own list.
        grid: of captioning, how many granularities captions are written for.
        algorithm: ``"ppo"``, ``"a2c"``, ``"sac"``, ``"td3"`` or ``"tqc"``.
        hyperparameters: what differs from the algorithm's defaults; a run's own configuration
            holds all of them.
        timesteps: environment steps per seed; None for the algorithm's default.
        n_envs: environments stepped together; None for the algorithm's default.
        observation: what the agent's rollouts hold: ``"features"``, or ``"index"``, the number of
            the query, from which the policy gathers the same features itself.
        validate_every: environment steps between two validations; None for 40 in all.
        seeds: one training each.
    """

    bank: str = "embedded"
    direction: str = "text_to_image"
    k: int = 10
    horizon: int = 1
    reward: str = "clipped"
    reward_kwargs: dict[str, Any] = field(default_factory=dict)
    shortlist: int | None = None
    faiss: bool = False
    ambiguity: bool = False
    model: str = "embedded"
    prompts: tuple[str, ...] | None = None
    grid: int = 11
    algorithm: str = "ppo"
    hyperparameters: dict[str, Any] = field(default_factory=dict)
    timesteps: int | None = None
    n_envs: int | None = None
    observation: str = "features"
    validate_every: int | None = None
    seeds: tuple[int, ...] = (0,)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        """Build from what a `config.json` holds; `DSAError` for unknown fields."""
        names = [item.name for item in fields(cls)]
        for name in values:
            if name not in names:
                raise unknown("field of a run's configuration", name, names)
        lists = {"seeds": (0,), "prompts": None} | values
        tuples = {name: lists[name] and tuple(lists[name]) for name in ("seeds", "prompts")}
        return cls(**{**values, **tuples})

    def core(self, bank: FeatureBank, split: str) -> RetrievalCore:
        """The environment's core on a split of a bank, as this configuration wants it."""
        from dsa_env.core import RetrievalCore

        return RetrievalCore(
            bank,
            self.direction,
            split,
            self.k,
            self.horizon,
            self.reward,
            self.reward_kwargs,
            self.shortlist,
            self.faiss,
            ambiguity=self.ambiguity,
            model=self.model,
            prompts=self.prompts,
            grid=self.grid,
        )

    @property
    def options(self) -> dict[str, Any]:
        """What the queries of this direction depend on beside bank and split."""
        from dsa_env.directions import DIRECTIONS

        names = [item.name for item in fields(self)]
        known = DIRECTIONS[self.direction].options
        return {name: getattr(self, name) for name in known if name in names}

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON can hold them."""
        values = asdict(self)
        return {name: list(v) if isinstance(v, tuple) else v for name, v in values.items()}


@dataclass(frozen=True)
class RunFolder:
    """A training's folder: open one with `RunFolder.open`.

    Attributes:
        path: the folder.
        config: what was trained, every default written out.
        provenance: with what; see `describe_provenance`.
    """

    path: Path
    config: TrainConfig
    provenance: dict[str, Any]
    _bank: str | Path | FeatureBank | None = None

    @classmethod
    def open(
        cls,
        path: str | Path,
        *,
        bank: str | Path | FeatureBank | None = None,
        check_bank: bool = True,
    ) -> Self:
        """Open a finished run, by default together with the bank it was trained on.

        Args:
            path: the run's folder.
            bank: where the bank lies now, if not where the run was trained.
            check_bank: open the bank now, so that a missing or changed one is told at once;
                who only wants the controllers does not need it.

        Raises:
            DSAError: when there is no run, a seed is unfinished, or the bank is another one.
        """
        folder = Path(path)
        config, provenance = read_run(folder)
        run = cls(folder, config, provenance, bank)
        if unfinished := [seed for seed in run.seeds if not run.finished(seed)]:
            listed = ", ".join(map(str, unfinished))
            raise DSAError(
                f"{folder} is unfinished (seed {listed}); "
                f"continue it with `dsa train --out {folder} --resume`."
            )
        if check_bank:
            run.bank  # noqa: B018
        return run

    @cached_property
    def bank(self) -> FeatureBank:
        """The bank; `DSAError` when its data is not what the run was trained on."""
        return open_bank(self.path, self.config, self.provenance, self._bank)

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds, in the order they were trained."""
        return self.config.seeds

    @property
    def train_seconds(self) -> float:
        """Mean seconds of training per seed."""
        return fmean(self.summary(seed)["train_seconds"] for seed in self.seeds)

    @property
    def best_seed(self) -> int:
        """The seed whose best controller has the highest validation reward (ties: the first)."""
        return max(self.seeds, key=lambda seed: self.summary(seed)["best_validation_reward"])

    def seed_folder(self, seed: int) -> Path:
        """The folder of one seed; `DSAError` when the run has no such seed."""
        if seed not in self.seeds:
            raise unknown("seed", str(seed), map(str, self.seeds))
        return seed_folder(self.path, seed)

    def finished(self, seed: int) -> bool:
        """Whether a seed was trained to its end."""
        path = self.seed_folder(seed) / SUMMARY
        return path.is_file() and bool(read_json(path)["finished"])

    def summary(self, seed: int) -> dict[str, Any]:
        """A seed's times, steps and best validation reward."""
        summary: dict[str, Any] = read_json(self.seed_folder(seed) / SUMMARY)
        return summary

    def learning_curve(self, seed: int) -> list[dict[str, float]]:
        """One entry per validation: steps, seconds, reward, recall, severity, granularity."""
        curve: list[dict[str, float]] = read_json(self.seed_folder(seed) / CURVE)
        return curve

    def controller(self, seed: int) -> GranularityController:
        """The controller of a seed that did best on the validation split."""
        from dsa_env.controller import GranularityController

        return GranularityController.from_pretrained(self.seed_folder(seed) / BEST)


def seed_folder(run: Path, seed: int) -> Path:
    """Where one seed of a run lies."""
    return run / f"seed-{seed}"


def read_run(folder: Path) -> tuple[TrainConfig, dict[str, Any]]:
    """A run's configuration and provenance; `DSAError` when the folder is no run."""
    if not (folder / CONFIG).is_file() or not (folder / PROVENANCE).is_file():
        state = f"holds no {CONFIG}" if folder.is_dir() else "does not exist"
        raise DSAError(
            f"{folder} is no run: it {state}; train one with `dsa train --out {folder}`."
        )
    return TrainConfig.from_json(read_json(folder / CONFIG)), read_json(folder / PROVENANCE)


def open_bank(
    folder: Path,
    config: TrainConfig,
    provenance: dict[str, Any],
    bank: str | Path | FeatureBank | None = None,
) -> FeatureBank:
    """The bank of a run; `DSAError` when its data is not what the run was trained on.

    The same of the model whose captions a run was trained on.
    """
    opened = resolve_bank(config.bank if bank is None else bank)
    if opened.sha256 != provenance["bank_sha256"]:
        raise DSAError(
            f"{folder} was trained on another bank (data hash {provenance['bank_sha256'][:12]}, "
            f"this one has {opened.sha256[:12]}); give the original bank or train again."
        )
    if provenance.get("model_identity") != _model_identity(config):
        raise DSAError(
            f"{folder} was trained on the captions of another model than {config.model} is now; "
            "put the original back or train again."
        )
    return opened


def _model_identity(config: TrainConfig) -> str | None:
    """What the model that writes captions is; None where none does."""
    from dsa_env.captioning.families import model_identity

    return model_identity(config.model) if "model" in config.options else None


def check_free(folder: Path) -> None:
    """`DSAError` when a folder holds anything, a run included."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        cure = "add --resume to continue it" if (folder / CONFIG).is_file() else "empty it"
        raise DSAError(f"{folder} already exists; {cure}, or choose another --out.")


def create_run(folder: Path, config: TrainConfig, bank: FeatureBank, torch_threads: int) -> None:
    """Start a run's folder; `DSAError` when the folder is already in use."""
    check_free(folder)
    provenance = describe_provenance(bank, torch_threads, sys.argv)
    if (identity := _model_identity(config)) is not None:
        provenance["model_identity"] = identity
    write_json(folder / PROVENANCE, provenance)
    write_json(folder / CONFIG, config.to_json())


def describe_provenance(
    bank: FeatureBank, torch_threads: int, command: Sequence[str]
) -> dict[str, Any]:
    """With what a run is made: versions, machine, command line and the bank's data hash."""
    versions = {"python": platform.python_version(), "dsa_env": __version__}
    return {
        "command_line": [without_passwords(word) for word in command],
        "versions": versions | {name: _version(name) for name in PACKAGES},
        "bank_sha256": bank.sha256,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "torch_threads": torch_threads,
        "platform": platform.platform(),
    }


def without_passwords(text: str) -> str:
    """The same text with the passwords of its URLs blotted out: no file of a run shall hold one."""
    return re.sub(r"(://[^/@:\s]*:)[^/\s]*@", r"\1***@", text)


def _version(package: str) -> str | None:
    """The version of an installed distribution; None when it runs from a plain folder."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None
