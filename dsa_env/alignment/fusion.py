"""Ways to fuse a picture's views with a question's features, of similar size and one interface."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from dsa_env.alignment.losses import contrastive_loss
from dsa_env.alignment.matrix import AlignmentConfig, AlignmentMatrix
from dsa_env.errors import DSAError, unknown

HEADS = 4
TEMPERATURE = 0.07
"""Where the learnable temperature of the contrastive term starts."""
ATTENTION_TEMPERATURE = 0.05
"""Of the parameter-free attention of the question over aligned regions, as in the bank's."""


@dataclass(frozen=True)
class FusionDims:
    """Widths of what is fused, and of the result.

    Attributes:
        visual: Dv, of regions and of the coarse view.
        text: Dt, of the question's text features.
        logic: Dl, of the encoded program; 0: there is none.
        hidden: H, of the fused representation.
        granularity: the g of V' = g V_fine + (1 - g) V_coarse in [0, 1]; None: no blend, the fine
            and the coarse view stand side by side.
    """

    visual: int
    text: int
    logic: int
    hidden: int = 128
    granularity: float | None = 0.5

    def __post_init__(self) -> None:
        """Check the sizes.

        Raises:
            DSAError: a width is no positive whole number, or g lies outside [0, 1].
        """
        for name in ("visual", "text", "logic", "hidden"):
            size = getattr(self, name)
            least = 0 if name == "logic" else 1
            if not isinstance(size, int) or isinstance(size, bool) or size < least:
                raise DSAError(f"{name} must be a whole number from {least}, got {size!r}.")
        if self.granularity is not None and not 0 <= self.granularity <= 1:
            raise DSAError(f"granularity must lie in [0, 1], got {self.granularity}.")


class Fusion(nn.Module, ABC):
    """Fuses a batch of pictures and questions; what follows (an answer's head) is not its matter.

    Attributes:
        dims: the widths.
    """

    def __init__(self, dims: FusionDims) -> None:
        super().__init__()
        self.dims = dims

    def forward(
        self, visual: Tensor, counts: Tensor, coarse: Tensor, text: Tensor, logic: Tensor
    ) -> Tensor:
        """The fused representation.

        Args:
            visual: regions' features [B, R, Dv], padding behind the first `counts`.
            counts: [B] ints, how many regions count; 0: the coarse view stands in.
            coarse: [B, Dv].
            text: [B, Dt].
            logic: [B, Dl]; [B, 0] where there is none.

        Returns:
            [B, H].

        Raises:
            DSAError: features of other widths than `dims` says.
        """
        return self.fuse(*self._checked(visual, counts, coarse, text, logic))

    @abstractmethod
    def fuse(
        self, visual: Tensor, used: Tensor, coarse: Tensor, text: Tensor, logic: Tensor
    ) -> Tensor:
        """`forward` with checked features; `used` [B, R] says which regions count."""

    def alignment_loss(
        self,
        visual: Tensor,
        counts: Tensor,
        coarse: Tensor,
        text: Tensor,
        logic: Tensor,
        same: Tensor | None = None,
    ) -> Tensor:
        """The contrastive term beside the answer's loss: a scalar, 0 where nothing is aligned.

        Args:
            visual: as in `forward`, and so are the next four.
            counts: see there.
            coarse: see there.
            text: see there.
            logic: see there.
            same: [B, B] bool, questions i that belong to picture j's too (the same picture);
                neither for nor against.
        """
        return text.new_zeros(())

    def _checked(
        self, visual: Tensor, counts: Tensor, coarse: Tensor, text: Tensor, logic: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        dims, batch = self.dims, len(text)
        shapes = {
            "coarse": (coarse, (batch, dims.visual)),
            "text": (text, (batch, dims.text)),
            "logic": (logic, (batch, dims.logic)),
            "counts": (counts, (batch,)),
            "visual": (visual, (batch, visual.shape[1] if visual.ndim == 3 else 0, dims.visual)),
        }
        for name, (given, shape) in shapes.items():
            if tuple(given.shape) != shape:
                raise DSAError(
                    f"{name} has shape {list(given.shape)}, expected {list(shape)}; use the "
                    "features that this fusion was made for."
                )
        used = torch.arange(visual.shape[1], device=visual.device) < counts[:, None]
        return visual, used, coarse, text, logic


class StaticFusion(Fusion):
    """Fixed concatenation and a fixed random projection: nothing is trained but what follows.

    h = W [V_fine; V_coarse; T; L], V_fine the mean of the regions; with a granularity their blend
    stands for both views. Each part is standardised to the same length, so that none drowns.
    """

    projection: Tensor

    def __init__(self, dims: FusionDims, seed: int = 0) -> None:
        super().__init__(dims)
        views = dims.visual * (1 if dims.granularity is not None else 2)
        width = views + dims.text + dims.logic
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            fixed = torch.empty(dims.hidden, width)
            nn.init.orthogonal_(fixed, gain=max(1.0, width / dims.hidden) ** 0.5)
        self.register_buffer("projection", fixed)

    def fuse(
        self, visual: Tensor, used: Tensor, coarse: Tensor, text: Tensor, logic: Tensor
    ) -> Tensor:
        """See `Fusion.forward`."""
        fine = _mean(normalize(visual, dim=-1), used, normalize(coarse, dim=-1))
        views = _views(fine, normalize(coarse, dim=-1), self.dims.granularity)
        parts = [*views, normalize(text, dim=-1)]
        if self.dims.logic:
            parts.append(normalize(logic, dim=-1))
        return torch.cat([_spread(part) for part in parts], dim=-1) @ self.projection.T


class AttentionFusion(Fusion):
    """Cross-attention: the question asks the picture's regions and its coarse view.

    softmax(Q K^T / sqrt(d)) V with several heads (Vaswani et al. 2017,
    https://arxiv.org/abs/1706.03762), the question's features joined to what it finds.
    """

    def __init__(self, dims: FusionDims, seed: int = 0, width: int | None = None) -> None:
        super().__init__(dims)
        width = width or _attention_width(dims)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.query = nn.Linear(dims.text + dims.logic, width)
            self.key = nn.Linear(dims.visual, width)
            self.value = nn.Linear(dims.visual, width)
            self.out = nn.Linear(2 * width, dims.hidden)

    def fuse(
        self, visual: Tensor, used: Tensor, coarse: Tensor, text: Tensor, logic: Tensor
    ) -> Tensor:
        """See `Fusion.forward`."""
        tokens = _spread(normalize(torch.cat([visual, coarse[:, None]], dim=1), dim=-1))
        there = torch.cat([used, used.new_ones(len(used), 1)], dim=1)
        asked = [_spread(normalize(text, dim=-1))]
        if self.dims.logic:
            asked.append(_spread(normalize(logic, dim=-1)))
        query = self.query(torch.cat(asked, dim=-1))
        found = nn.functional.scaled_dot_product_attention(
            _heads(query[:, None]),
            _heads(self.key(tokens)),
            _heads(self.value(tokens)),
            attn_mask=there[:, None, None, :],
        )
        found = found.transpose(1, 2).flatten(1)
        fused: Tensor = self.out(torch.cat([found, query], dim=-1))
        return fused


class DynamicFusion(Fusion):
    """The alignment matrix: V' = A V and L' = A L, blended by granularity, joined and multiplied.

    The question attends to the aligned regions (without parameters of its own, by cosine), and
    h = W [V'; L'; V' * L'] with V' = g V'_fine + (1 - g) V'_coarse. L' is the sum of the aligned
    text and program features.

    Args:
        dims: the widths.
        seed: of the start.
        direction: of the contrastive term: ``"both"`` or one alone.
        frozen: keep A at its start.
        config: another form of the matrix than the paper's, for "visual", "text" and "logic".
    """

    def __init__(
        self,
        dims: FusionDims,
        seed: int = 0,
        direction: str = "both",
        frozen: bool = False,
        config: AlignmentConfig | None = None,
    ) -> None:
        super().__init__(dims)
        self.direction = direction
        logical = {"text": dims.text} | ({"logic": dims.logic} if dims.logic else {})
        self.alignment = AlignmentMatrix(
            config or AlignmentConfig({"visual": dims.visual}, logical), seed
        )
        views = 1 if dims.granularity is not None else 2
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed + 1)
            self.out = nn.Linear((2 * views + 1) * self.alignment.config.dim, dims.hidden)
        self.log_scale = nn.Parameter(torch.tensor(1 / TEMPERATURE).log())
        if frozen:
            self.alignment.freeze()

    def aligned(
        self, visual: Tensor, used: Tensor, coarse: Tensor, text: Tensor, logic: Tensor
    ) -> tuple[list[Tensor], Tensor]:
        """The aligned views (one blended, or fine and coarse) and L', unit rows [B, dim]."""
        said = self.alignment(text, "text")
        if self.dims.logic:
            said = said + self.alignment(logic, "logic")
        said = normalize(said, dim=-1)
        scene = self.alignment.unit(coarse, "visual")
        regions = self.alignment.unit(visual, "visual")
        similarity = (regions @ said[:, :, None]).squeeze(-1) / ATTENTION_TEMPERATURE
        bare = ~used.any(dim=1, keepdim=True)
        weight = similarity.masked_fill(~(used | bare), -torch.inf).softmax(dim=1)
        fine = normalize((weight[..., None] * regions).sum(dim=1), dim=-1)
        fine = torch.where(bare, scene, fine)
        return _views(fine, scene, self.dims.granularity), said

    def fuse(
        self, visual: Tensor, used: Tensor, coarse: Tensor, text: Tensor, logic: Tensor
    ) -> Tensor:
        """See `Fusion.forward`."""
        views, said = self.aligned(visual, used, coarse, text, logic)
        together = [*views, said, *(view * said * math.sqrt(said.shape[-1]) for view in views)]
        fused: Tensor = self.out(torch.cat([_spread(part) for part in together], dim=-1))
        return fused

    def alignment_loss(
        self,
        visual: Tensor,
        counts: Tensor,
        coarse: Tensor,
        text: Tensor,
        logic: Tensor,
        same: Tensor | None = None,
    ) -> Tensor:
        """The bi-directional contrastive loss of V' and L' over the batch; see `Fusion`."""
        views, said = self.aligned(*self._checked(visual, counts, coarse, text, logic))
        scale = self.log_scale.exp().clamp(max=100.0)
        losses = [
            contrastive_loss(
                said @ normalize(view, dim=-1).T * scale,
                direction=self.direction,
                also_positive=same,
            )
            for view in views
        ]
        return torch.stack(losses).mean()


class FusionMaker(Protocol):
    """Makes a fusion of some widths from a seed."""

    def __call__(self, dims: FusionDims, seed: int) -> Fusion:
        """A new fusion."""


FUSIONS: dict[str, FusionMaker] = {
    "static": lambda dims, seed: StaticFusion(dims, seed),
    "attention": lambda dims, seed: AttentionFusion(dims, seed),
    "dynamic": lambda dims, seed: DynamicFusion(dims, seed),
    "dynamic-frozen": lambda dims, seed: DynamicFusion(dims, seed, frozen=True),
    "dynamic-one-way": lambda dims, seed: DynamicFusion(dims, seed, direction="image_to_text"),
}
"""The baselines, the method and its ablations, by name."""


def make_fusion(name: str, dims: FusionDims, seed: int = 0) -> Fusion:
    """A fusion by name: static, attention, dynamic, dynamic-frozen or dynamic-one-way.

    Raises:
        DSAError: no such name.
    """
    if name not in FUSIONS:
        raise unknown("fusion", name, FUSIONS)
    return FUSIONS[name](dims, seed)


def parameter_count(module: nn.Module, learning: bool = False) -> int:
    """How many parameters a module has, or how many of them learn."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad or not learning)


def _views(fine: Tensor, coarse: Tensor, granularity: float | None) -> list[Tensor]:
    """Both views, or their blend."""
    if granularity is None:
        return [fine, coarse]
    return [granularity * fine + (1 - granularity) * coarse]


def _mean(regions: Tensor, used: Tensor, coarse: Tensor) -> Tensor:
    """The unit mean of the regions that count [B, D]; the coarse view where none does."""
    total = (regions * used[..., None]).sum(dim=1)
    return torch.where(used.any(dim=1, keepdim=True), normalize(total, dim=-1), coarse)


def _spread(features: Tensor) -> Tensor:
    """Unit rows scaled so that an entry has size 1 or so, whatever the width."""
    return features * math.sqrt(features.shape[-1])


def _heads(rows: Tensor) -> Tensor:
    """[B, n, width] to [B, heads, n, width / heads]."""
    split: Tensor = rows.unflatten(-1, (HEADS, -1))
    return split.transpose(1, 2)


def _attention_width(dims: FusionDims) -> int:
    """The width whose number of parameters comes nearest to the dynamic fusion's."""
    goal = parameter_count(DynamicFusion(dims)) - dims.hidden
    per_width = dims.text + dims.logic + 1 + 2 * (dims.visual + 1) + 2 * dims.hidden
    return max(1, round(goal / per_width / HEADS)) * HEADS
