"""Captions of frozen models, native and with granularity: what is gained, and what it costs."""
