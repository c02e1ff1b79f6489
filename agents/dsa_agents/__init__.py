"""Agents for the granularity environment: training, baselines, evaluation and export."""
