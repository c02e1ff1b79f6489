"""The learnable alignment matrix: visual and logical features in one shared space.

`train_alignment` learns one from `Pairs`; `dsa_env.alignment.aligned_bank.align_bank` turns a bank
into its aligned twin; `dsa_env.alignment.fusion` holds the baselines that it is compared with.
"""

from dsa_env.alignment.losses import contrastive_loss, fit_least_squares
from dsa_env.alignment.matrix import AlignmentConfig, AlignmentMatrix
from dsa_env.alignment.pairs import Pairs
from dsa_env.alignment.training import AlignmentSettings, train_alignment

__all__ = [
    "AlignmentConfig",
    "AlignmentMatrix",
    "AlignmentSettings",
    "Pairs",
    "contrastive_loss",
    "fit_least_squares",
    "train_alignment",
]
