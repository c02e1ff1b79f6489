"""Logic about scene graphs: set operations, functional programs, and what is built on them."""
