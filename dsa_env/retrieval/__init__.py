"""From a bank's split to what an environment needs of each query."""
