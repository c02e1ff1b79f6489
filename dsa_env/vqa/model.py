"""The answering network: a program encoder, a fusion, and a head that chooses among answers."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from dsa_env.alignment.fusion import FUSIONS, Fusion, FusionDims, make_fusion
from dsa_env.errors import unknown

QUESTION_ONLY = "question-only"
FUSION_NAMES = (*FUSIONS, QUESTION_ONLY)
EMBEDDING, LOGIC, HIDDEN, DROPOUT = 32, 64, 128, 0.1


class ProgramEncoder(nn.Module):
    """Programs as vectors: a step's embedding each, read in order by a small GRU.

    Args:
        steps: how many different steps there are, padding (0) and unknown (1) included.
        width: Dl, of the result.
    """

    def __init__(self, steps: int, width: int = LOGIC) -> None:
        super().__init__()
        self.width = width
        self.embedding = nn.Embedding(steps, EMBEDDING, padding_idx=0)
        self.reader = nn.GRU(EMBEDDING, width, batch_first=True)

    def forward(self, program: Tensor) -> Tensor:
        """Tokens [B, L], 0 behind the last one -> [B, width]; zeros for an empty program."""
        lengths = (program != 0).sum(dim=1)
        longest = int(lengths.max()) if len(program) else 0
        if longest == 0:
            return torch.zeros(len(program), self.width, device=program.device)
        states, _ = self.reader(self.embedding(program[:, :longest]))
        last = (lengths - 1).clamp(min=0)[:, None, None].expand(-1, 1, self.width)
        read: Tensor = states.gather(1, last).squeeze(1)
        return read * (lengths > 0)[:, None]


class QuestionOnlyFusion(Fusion):
    """Blind: the question alone, h = W [T; L]; what it reaches needs no picture."""

    def __init__(self, dims: FusionDims, seed: int = 0) -> None:
        super().__init__(dims)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.out = nn.Linear(dims.text + dims.logic, dims.hidden)

    def fuse(
        self, visual: Tensor, used: Tensor, coarse: Tensor, text: Tensor, logic: Tensor
    ) -> Tensor:
        """See `Fusion.forward`; the picture is not looked at."""
        parts = [normalize(part, dim=-1) * part.shape[-1] ** 0.5 for part in (text, logic)]
        fused: Tensor = self.out(torch.cat(parts, dim=-1))
        return fused


@dataclass(frozen=True)
class Batch:
    """Pictures and questions of one step: `Fusion.forward`'s features, and program tokens."""

    visual: Tensor
    counts: Tensor
    coarse: Tensor
    text: Tensor
    program: Tensor


class VQAModel(nn.Module):
    """Chooses an answer: program encoder, fusion, head. All but the fusion is the same for all.

    Args:
        fusion: one of `FUSION_NAMES`.
        visual: Dv.
        text: Dt.
        steps: how many different program steps there are (`ProgramEncoder`).
        answers: A, how many answers there are.
        granularity: g of the blend, or None for both views side by side.
        seed: of the initial weights.

    Raises:
        DSAError: for an unknown fusion, naming the nearest.
    """

    def __init__(
        self,
        fusion: str,
        *,
        visual: int,
        text: int,
        steps: int,
        answers: int,
        granularity: float | None = 0.5,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if fusion not in FUSION_NAMES:
            raise unknown("fusion", fusion, FUSION_NAMES)
        dims = FusionDims(visual, text, LOGIC, HIDDEN, granularity)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.program = ProgramEncoder(steps)
            self.head = nn.Sequential(
                nn.LayerNorm(HIDDEN),
                nn.Linear(HIDDEN, 2 * HIDDEN),
                nn.GELU(),
                nn.Dropout(DROPOUT),
                nn.Linear(2 * HIDDEN, answers),
            )
        self.fusion = (
            QuestionOnlyFusion(dims, seed)
            if fusion == QUESTION_ONLY
            else make_fusion(fusion, dims, seed)
        )

    def forward(self, batch: Batch) -> Tensor:
        """Logits [B, A] over the answers."""
        logits: Tensor = self.head(self.fusion(*self._parts(batch)))
        return logits

    def losses(self, batch: Batch, same: Tensor | None) -> tuple[Tensor, Tensor]:
        """Logits [B, A], and the alignment's own loss (0 where nothing is aligned)."""
        parts = self._parts(batch)
        logits: Tensor = self.head(self.fusion(*parts))
        return logits, self.fusion.alignment_loss(*parts, same=same)

    def _parts(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        logic = self.program(batch.program)
        return batch.visual, batch.counts, batch.coarse, batch.text, logic
