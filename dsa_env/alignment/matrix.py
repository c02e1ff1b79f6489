"""The learnable alignment matrix: visual and logical features into one shared space."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Self

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from dsa_env.errors import DSAError, unknown
from dsa_env.files import PathLike, atomic_write, read_json, write_json

INITS = ("uniform", "orthogonal", "identity")
PROJECT = ("where_needed", "visual", "all")
REACH = 0.01
"""A starts with entries uniform in [-REACH, REACH]."""
WEIGHTS, CONFIG, REPORT = "model.safetensors", "config.json", "report.json"


@dataclass(frozen=True)
class AlignmentConfig:
    """The form of an alignment.

    Attributes:
        visual: width of each visual modality's features by name, such as ``{"coarse": 64}``.
        logical: width of each logical modality's (text, program) by name.
        width: columns of A; the width of the first logical modality by default.
        dim: rows of A, the width of the shared space; `width` by default.
        init: how A starts: ``"uniform"`` in [-0.01, 0.01], ``"orthogonal"`` or ``"identity"``.
        rank: A = U W with U [dim, rank] and W [rank, width]; None: a full matrix.
        separate: one matrix for the visual modalities, another for the logical ones.
        project: which modalities have an input projection in front of A: those whose width is
            not A's (``"where_needed"``), all visual ones besides (``"visual"``) or ``"all"``.
            A projection between equal widths starts as the identity.

    Raises:
        DSAError: a name or size does not exist or does not fit the others.
    """

    visual: Mapping[str, int]
    logical: Mapping[str, int]
    width: int = 0
    dim: int = 0
    init: str = "uniform"
    rank: int | None = None
    separate: bool = False
    project: str = "where_needed"
    modalities: Mapping[str, int] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Fill in the defaults and check."""
        for kind, name, options in (
            ("start of A", self.init, INITS),
            ("projection", self.project, PROJECT),
        ):
            if name not in options:
                raise unknown(kind, name, options)
        if not self.visual or not self.logical or set(self.visual) & set(self.logical):
            raise DSAError(
                "An alignment needs visual and logical modalities of different names, got "
                f"{sorted(self.visual)} and {sorted(self.logical)}."
            )
        object.__setattr__(self, "visual", dict(self.visual))
        object.__setattr__(self, "logical", dict(self.logical))
        object.__setattr__(self, "modalities", {**self.visual, **self.logical})
        object.__setattr__(self, "width", self.width or next(iter(self.logical.values())))
        object.__setattr__(self, "dim", self.dim or self.width)
        sizes = {**self.modalities, "width": self.width, "dim": self.dim}
        sizes |= {} if self.rank is None else {"rank": self.rank}
        for name, size in sizes.items():
            if not isinstance(size, int) or isinstance(size, bool) or size < 1:
                raise DSAError(f"{name} of an alignment must be a whole number from 1, got {size}.")
        if self.rank is not None and self.rank > min(self.width, self.dim):
            raise DSAError(
                f"rank {self.rank} is above the matrix's {self.dim} x {self.width}; at most "
                f"{min(self.width, self.dim)} makes a difference."
            )
        if self.rank is not None and self.init == "identity" and self.rank < self.dim:
            raise DSAError(
                f"A matrix of rank {self.rank} cannot start as the identity; choose another init."
            )

    def projected(self, name: str) -> bool:
        """Whether a modality has an input projection."""
        if self.modalities[name] != self.width or self.project == "all":
            return True
        return self.project == "visual" and name in self.visual

    def to_json(self) -> dict[str, Any]:
        """What `config.json` holds: the constructor's arguments."""
        return {name: value for name, value in asdict(self).items() if name != "modalities"}


class Matrix(nn.Module):
    """One matrix A [dim, width], whole or as the product of two thin ones.

    Its parameters are what the paper trains with the small learning rate.
    """

    def __init__(self, dim: int, width: int, init: str, rank: int | None) -> None:
        super().__init__()
        shapes = [(dim, width)] if rank is None else [(dim, rank), (rank, width)]
        self.factors = nn.ParameterList(nn.Parameter(_start(init, shape)) for shape in shapes)

    def forward(self, features: Tensor) -> Tensor:
        """A x for rows x: [..., width] to [..., dim]."""
        for factor in reversed(list(self.factors)):
            features = features @ factor.T
        return features

    @property
    def value(self) -> Tensor:
        """A itself, [dim, width]."""
        first, *rest = list(self.factors)
        product: Tensor = first @ rest[0] if rest else first
        return product


class AlignmentMatrix(nn.Module):
    """V' = A V and L' = A L: visual and logical features in one shared space.

    Features are rows here, so A V stands as ``features @ A.T``. What differs in width from A
    passes a linear input projection (with a bias) first. With ``separate`` V' = A_v V and
    L' = A_l L.

    Args:
        config: the form.
        seed: of the random start; the same seed gives the same parameters.
    """

    def __init__(self, config: AlignmentConfig, seed: int = 0) -> None:
        super().__init__()
        self.config = config
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            sides = ("visual", "logical") if config.separate else ("shared",)
            self.matrices = nn.ModuleDict(
                {side: Matrix(config.dim, config.width, config.init, config.rank) for side in sides}
            )
            self.projections = nn.ModuleDict(
                {
                    name: _projection(width, config.width)
                    for name, width in config.modalities.items()
                    if config.projected(name)
                }
            )

    def forward(self, features: Tensor, modality: str) -> Tensor:
        """Features of a modality in the shared space, not normalised.

        Args:
            features: float [..., width of the modality].
            modality: its name in the configuration.

        Returns:
            [..., dim].

        Raises:
            DSAError: no such modality, or features of another width.
        """
        if modality not in self.config.modalities:
            raise unknown("modality", modality, self.config.modalities)
        width = self.config.modalities[modality]
        if features.shape[-1] != width:
            raise DSAError(
                f"The {modality} features have width {features.shape[-1]}, but this alignment was "
                f"made for {width}; use the encoder it was trained on."
            )
        if modality in self.projections:
            features = self.projections[modality](features)
        aligned: Tensor = self.matrices[self._side(modality)](features)
        return aligned

    def unit(self, features: Tensor, modality: str) -> Tensor:
        """As `forward`, scaled to length 1."""
        return nn.functional.normalize(self(features, modality), dim=-1)

    def matrix(self, modality: str) -> Tensor:
        """The matrix A [dim, width] that a modality passes through."""
        matrix = self.matrices[self._side(modality)]
        assert isinstance(matrix, Matrix)
        return matrix.value

    def matrix_parameters(self) -> list[nn.Parameter]:
        """The parameters of A (or A_v and A_l), apart from everything else."""
        return list(self.matrices.parameters())

    def freeze(self) -> Self:
        """Keep A as it is from here on; projections still learn."""
        for parameter in self.matrix_parameters():
            parameter.requires_grad_(False)
        return self

    def _side(self, modality: str) -> str:
        if not self.config.separate:
            return "shared"
        return "visual" if modality in self.config.visual else "logical"

    def save_pretrained(self, folder: PathLike, report: Mapping[str, Any] | None = None) -> None:
        """Write `config.json`, `model.safetensors` and, with a report, `report.json`."""
        target = Path(folder)
        if report is not None:
            write_json(target / REPORT, dict(report))
        write_json(target / CONFIG, self.config.to_json())
        state = {name: value.contiguous() for name, value in self.state_dict().items()}
        with atomic_write(target / WEIGHTS) as temporary:
            save_file(state, temporary, metadata={"format": "pt"})

    @classmethod
    def from_pretrained(cls, folder: PathLike) -> Self:
        """Read an alignment that `save_pretrained` wrote; reads no pickles.

        Raises:
            DSAError: a file is missing, damaged, holds NaN or does not fit the other.
        """
        source = Path(folder)
        for name in (CONFIG, WEIGHTS):
            if not (source / name).is_file():
                raise DSAError(
                    f"{source} holds no {name}, so it is no alignment; point to a folder written "
                    "by save_pretrained (dsa align keeps it in the bank's folder 'alignment')."
                )
        model = cls(read_config(source / CONFIG))
        try:
            model.load_state_dict(load_file(source / WEIGHTS), strict=True)
        except (SafetensorError, RuntimeError) as error:
            reason = " ".join(str(error).split())[:200]
            raise DSAError(
                f"{source / WEIGHTS} is damaged or does not fit its {CONFIG} ({reason}); align "
                "again."
            ) from None
        if not all(torch.isfinite(value).all() for value in model.state_dict().values()):
            raise DSAError(f"{source / WEIGHTS} holds NaN or infinity; align again.")
        return model.eval()


def read_config(file: Path) -> AlignmentConfig:
    """The configuration in a file; `DSAError` when it is none."""
    document = read_json(file)
    known = {one.name for one in fields(AlignmentConfig) if one.init}
    try:
        if not isinstance(document, dict) or set(document) - known:
            raise TypeError("other fields than an alignment has")
        return AlignmentConfig(**document)
    except (TypeError, AttributeError, DSAError) as error:
        raise DSAError(f"{file} is not an alignment's ({error}); align again.") from None


def _start(init: str, shape: tuple[int, int]) -> Tensor:
    value = torch.empty(shape)
    if init == "orthogonal":
        return nn.init.orthogonal_(value)
    if init == "identity":
        return nn.init.eye_(value)
    return nn.init.uniform_(value, -REACH, REACH)


def _projection(width: int, target: int) -> nn.Linear:
    layer = nn.Linear(width, target)
    nn.init.zeros_(layer.bias)
    if width == target:
        nn.init.eye_(layer.weight)
    return layer
