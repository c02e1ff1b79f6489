"""The samplers and objectives that can be asked for by name; `dsa info` lists them."""

from __future__ import annotations

SAMPLERS: dict[str, str] = {
    "gp": "Gaussian-process Bayesian optimisation (expected improvement)",
    "tpe": "tree-structured Parzen estimators",
    "random": "uniformly at random",
    "grid": "an even grid",
}

PARETO, RECALL = "pareto", "recall"
OBJECTIVES: dict[str, str] = {
    PARETO: "as much Recall@k and as little hallucination as possible, both at once",
    RECALL: "Recall@k, under a bound on hallucination if there is one",
}
