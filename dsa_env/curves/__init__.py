"""A query's outcome as a function of g: exact breakpoints, compiled."""
