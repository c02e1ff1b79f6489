"""Feature banks: frozen features as memory-mapped, checked arrays."""

from dsa_env.bank.feature_bank import FeatureBank, resolve_bank

__all__ = ["FeatureBank", "resolve_bank"]
