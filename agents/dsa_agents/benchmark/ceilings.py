"""What could be learnt at most: full information and the oracle, on a grid of written captions."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import numpy as np

from dsa_agents.benchmark.data import Queries
from dsa_agents.benchmark.metrics import (
    FACTS,
    FULL,
    GRANULARITY,
    HALLUCINATION,
    ORACLE,
    REWARD,
    SEVERITY,
)
from dsa_agents.benchmark.scores import Columns, text_columns
from dsa_agents.full_information import Fit, fit_full_information
from dsa_agents.policies import OraclePolicy, Policy
from dsa_env.retrieval.severity import detector_folder

if TYPE_CHECKING:
    from dsa_agents.run_folder import TrainConfig
    from dsa_env.bank import FeatureBank
    from dsa_env.captioning.retrieval import CaptionRetrieval
    from dsa_env.core import RetrievalCore


def ceilings(
    bank: FeatureBank,
    config: TrainConfig,
    queries: Queries,
    split: str,
    k: int,
    *,
    fit: Fit | None = None,
    progress: bool = True,
) -> dict[str, Columns]:
    """The rows of the full-information policy and of the oracle, of the same queries.

    Both choose among the captions that the environment keeps for a grid of g; those of the split
    are written now where they are missing.

    Args:
        bank: what the run was trained on.
        config: of the run.
        queries: what is judged.
        split: their split.
        k: the k of Recall@k.
        fit: how full information is fitted.
        progress: show progress bars.

    Returns:
        Row -> metric -> [Q], with the metrics of all rows; nothing for a vector reward.
    """
    core, train, validation = (config.core(bank, name) for name in (split, "train", "validation"))
    if core.reward_space is not None:
        return {}
    own = _places(core, queries)
    policies: dict[str, Policy] = {
        FULL: fit_full_information(train, validation, fit, progress=progress),
        ORACLE: OraclePolicy(),
    }
    return {name: _columns(core, policy, own, queries, k) for name, policy in policies.items()}


def _places(core: RetrievalCore, queries: Queries) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Which of the core's queries each query is [Q]."""
    retrieval = cast("CaptionRetrieval", core.retrieval)
    place = {(int(image), retrieval.prompt(at)): at for at, image in enumerate(retrieval.query_ids)}
    asked = zip(queries.images.tolist(), queries.prompts, strict=True)
    return np.array([place[image, prompt] for image, prompt in asked], dtype=np.int64)


def _columns(
    core: RetrievalCore,
    policy: Policy,
    own: np.ndarray[tuple[int], np.dtype[np.int64]],
    queries: Queries,
    k: int,
) -> Columns:
    """Every metric of what a policy's g wrote for some of a core's queries."""
    retrieval = cast("CaptionRetrieval", core.retrieval)
    g = policy(core, own)
    segment = retrieval.curves.segment(own, g)
    captions = [retrieval.caption(int(at), float(value)) for at, value in zip(own, g, strict=True)]
    columns = text_columns(captions, queries.references) | {
        f"recall@{k}": (retrieval.curves.rank[segment] <= k).astype(np.float64),
        HALLUCINATION: retrieval.curves.unsupported[segment].astype(np.float64),
        REWARD: core.evaluate(own, g)[0].astype(np.float64),
        FACTS: retrieval.facts[own, retrieval.nearest(g)].astype(np.float64),
        GRANULARITY: g.astype(np.float64),
    }
    if detector_folder(core.bank) is not None:
        columns[SEVERITY] = retrieval.curves.severity[segment].astype(np.float64)
    return columns
