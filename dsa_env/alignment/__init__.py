"""The learnable alignment matrix: visual and logical features in one shared space."""

from dsa_env.alignment.losses import contrastive_loss, fit_least_squares
from dsa_env.alignment.matrix import AlignmentConfig, AlignmentMatrix

__all__ = ["AlignmentConfig", "AlignmentMatrix", "contrastive_loss", "fit_least_squares"]
