"""Tests of recall at fixed granularities: it is the environment's."""

import numpy as np
import pytest

from dsa_env.alignment.recall import CUTOFFS, GRID, best_granularity, hits
from dsa_env.core import RetrievalCore
from dsa_env.errors import DSAError

DIRECTIONS = ("text_to_image", "image_to_text")


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_hits_are_those_of_the_environment(synthetic_bank, direction):
    core = RetrievalCore(synthetic_bank, direction, "test")
    granularities = (0.0, 0.37, 1.0)
    found, cluster = hits(synthetic_bank, direction, "test", granularities)
    everyone = np.arange(core.n_queries)
    for row, g in enumerate(granularities):
        for column, k in enumerate(CUTOFFS):
            outcome = core.retrieval.outcomes(everyone, np.full(len(everyone), g), k)
            np.testing.assert_array_equal(found[row, column], outcome.recall)
    np.testing.assert_array_equal(cluster, core.retrieval.cluster)


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_the_best_granularity_has_the_largest_sum_of_recalls(synthetic_bank, direction):
    best = best_granularity(synthetic_bank, direction)
    sums = hits(synthetic_bank, direction, "validation", GRID)[0].mean(axis=2).sum(axis=1)
    assert sums[GRID.index(best)] == sums.max()


def test_an_unknown_direction_is_refused(synthetic_bank):
    with pytest.raises(DSAError, match="Did you mean 'text_to_image'"):
        hits(synthetic_bank, "text_to_images", "test", (0.5,))
