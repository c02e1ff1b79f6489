"""What a batch of actions led to: the only thing a reward gets to see."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dsa_env.errors import DSAError


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """What B actions led to, one entry of every array each.

    Attributes:
        query: [B] integer, the position of each query among the split's queries.
        granularity: [B] float32 in [0, 1], the g that was used.
        rank: [B] float32 >= 1, the rank of the best positive; expected rank on ties, so halves
            occur.
        recall: [B] float32, 1 where ``rank <= k`` and 0 elsewhere (Recall@k of one query).
        severity: [B] float32 in [0, 1], how much of what the text asserts is unsupported by the
            picture, of the pair that query and retrieved item form; of a caption and its own
            picture in captioning.
        retrieved: [B] integer, the bank id of the item on top.
        k: the cut-off of the recall.
    """

    query: NDArray[np.integer[Any]]
    granularity: NDArray[np.float32]
    rank: NDArray[np.float32]
    recall: NDArray[np.float32]
    severity: NDArray[np.float32]
    retrieved: NDArray[np.integer[Any]]
    k: int

    @classmethod
    def from_rank(
        cls,
        query: ArrayLike,
        granularity: ArrayLike,
        rank: ArrayLike,
        severity: ArrayLike,
        retrieved: ArrayLike,
        k: int,
    ) -> Outcome:
        """Build an outcome from array-likes of one length; the recall follows from rank and k.

        Raises:
            DSAError: when the arrays are not one-dimensional and of one length.
        """
        ranks = np.asarray(rank, dtype=np.float32)
        outcome = cls(
            query=np.asarray(query),
            granularity=np.asarray(granularity, dtype=np.float32),
            rank=ranks,
            recall=(ranks <= k).astype(np.float32),
            severity=np.asarray(severity, dtype=np.float32),
            retrieved=np.asarray(retrieved),
            k=k,
        )
        shapes = {name: getattr(outcome, name).shape for name in _ARRAYS}
        if ranks.ndim != 1 or len(set(shapes.values())) != 1:
            listed = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
            raise DSAError(f"An outcome needs one-dimensional arrays of one length, got {listed}.")
        return outcome

    def __len__(self) -> int:
        """Number of actions B."""
        return len(self.rank)

    def take(self, index: ArrayLike) -> Outcome:
        """The outcome of some of the actions, in the order of `index` (integers or a mask)."""
        chosen = np.asarray(index)
        return replace(self, **{name: getattr(self, name)[chosen] for name in _ARRAYS})

    @property
    def reciprocal_rank(self) -> NDArray[np.float32]:
        """[B] float32 in (0, 1]: one over the rank of the best positive."""
        return np.reciprocal(self.rank)

    @property
    def penalty(self) -> NDArray[np.float32]:
        """[B] float32 in [-1, 0]: minus the severity."""
        return np.negative(self.severity)


_ARRAYS = tuple(field.name for field in fields(Outcome) if field.name != "k")
