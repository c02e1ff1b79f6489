"""Reserved for the tuning of reward weights."""
