"""Alignment held against its baselines and ablations on questions about pictures."""
