"""Query by query, the metrics are what they are called."""

from __future__ import annotations

import numpy as np
import pytest

from dsa_agents.measures import (
    ambiguity_groups,
    mean,
    measure,
    measure_policies,
    query_groups,
    sweep,
)
from dsa_agents.policies import FixedPolicy, OraclePolicy, RandomPolicy
from dsa_env.bank import FeatureBank
from dsa_env.core import RetrievalCore
from dsa_env.testing import synthetic_bank as make_bank


@pytest.fixture(params=["text_to_image", "image_to_text"])
def core(request: pytest.FixtureRequest, synthetic_bank: FeatureBank) -> RetrievalCore:
    return RetrievalCore(synthetic_bank, request.param, "test", k=3)


def test_metrics_follow_the_outcome(core: RetrievalCore) -> None:
    g = RandomPolicy(0)(core, np.arange(core.n_queries))
    found = measure(core, g)
    reward, _, outcome = core.evaluate(np.arange(core.n_queries), g)
    assert list(found)[:4] == ["recall@1", "recall@3", "recall@5", "recall@10"]
    for k in (1, 3, 5, 10):
        assert np.array_equal(found[f"recall@{k}"], outcome.rank <= k)
    np.testing.assert_allclose(found["reward"], reward, atol=1e-6)
    np.testing.assert_allclose(found["granularity"], g)
    assert (found["regret"] >= -1e-6).all()


def test_the_hallucination_rate_is_the_ground_truth(core: RetrievalCore) -> None:
    """Counted here one by one: asserted facts that do not hold of what was retrieved."""
    g = np.full(core.n_queries, 0.4, dtype=np.float32)
    found = measure(core, g)["hallucination_rate"]
    outcome = core.evaluate(np.arange(core.n_queries), g)[2]
    bank = core.bank
    assert bank.text_facts is not None
    assert bank.image_facts is not None
    for query, item in enumerate(outcome.retrieved):
        asked = core.retrieval.query_ids[query]
        text, image = (asked, item) if core.direction == "text_to_image" else (item, asked)
        asserted = bank.text_facts.row(text)
        holds = np.isin(asserted, bank.image_facts.row(image))
        assert found[query] == pytest.approx(1 - holds.mean(), abs=1e-6)


def test_the_oracle_has_no_regret(core: RetrievalCore) -> None:
    found = measure_policies(core, [OraclePolicy()])
    assert found["regret"].shape == (1, core.n_queries)
    np.testing.assert_allclose(found["regret"], 0, atol=1e-6)


def test_a_sweep_holds_the_means_of_fixed_policies(core: RetrievalCore) -> None:
    found = sweep(core, points=5)
    assert found.grid.tolist() == [0.0, 0.25, 0.5, 0.75, 1.0]
    at = measure(core, FixedPolicy(0.75)(core, np.arange(core.n_queries)))
    for name, means in found.means.items():
        assert means[3] == pytest.approx(mean(at[name]))


def test_the_mean_leaves_out_what_is_unknown() -> None:
    assert mean(np.array([1.0, np.nan, 3.0])) == 2.0
    assert np.isnan(mean(np.array([np.nan])))


def test_queries_are_grouped_by_kind_where_they_have_one(synthetic_bank: FeatureBank) -> None:
    core = RetrievalCore(synthetic_bank, "text_to_image", "test")
    names, code = query_groups(core)
    assert sorted(names) == ["object", "scene"]
    kinds = [names[each] for each in code]
    texts = np.asarray(core.retrieval.query_ids)
    assert synthetic_bank.text_kind is not None
    assert kinds == [synthetic_bank.kinds[kind] for kind in synthetic_bank.text_kind[texts]]


def test_pictures_are_grouped_by_their_regions() -> None:
    rng = np.random.default_rng(0)
    counts = rng.integers(1, 10, 80)
    regions = [rng.normal(size=(count, 8)) for count in counts]
    bank = FeatureBank.from_arrays(
        rng.normal(size=(80, 8)), rng.normal(size=(80, 8)), regions=regions, splits=["test"] * 80
    )
    names, code = query_groups(RetrievalCore(bank, "image_to_text", "test"))
    assert len(names) == 3
    for index, name in enumerate(names):
        members = counts[code == index]
        assert name == f"{members.min()} to {members.max()} regions"
    assert np.bincount(code).min() > 10


def test_queries_without_kinds_or_regions_are_not_grouped() -> None:
    rng = np.random.default_rng(0)
    features = [rng.normal(size=(40, 8)) for _ in range(3)]
    bank = FeatureBank.from_arrays(*features, splits=["test"] * 40)
    for direction in ("text_to_image", "image_to_text"):
        names, code = query_groups(RetrievalCore(bank, direction, "test"))
        assert names == ()
        assert (code == -1).all()


def test_without_facts_the_hallucination_rate_is_unknown() -> None:
    core = RetrievalCore(make_bank(60, facts=False), split="test")
    rate = measure(core, np.zeros(core.n_queries, np.float32))["hallucination_rate"]
    assert np.isnan(rate).all()


def test_queries_are_grouped_by_how_many_readings_they_have() -> None:
    rng = np.random.default_rng(0)
    text, coarse, fine = rng.normal(size=(3, 12, 4))
    ambiguous = "the red cube left of the sphere and the cylinder"
    told = [ambiguous if n < 4 else "a red cube" if n < 9 else "gibberish" for n in range(12)]
    bank = FeatureBank.from_arrays(text, coarse, fine, splits=["test"] * 12, texts=told)
    core = RetrievalCore(bank, split="test", k=1)
    groups = ambiguity_groups(core)
    assert {name: int(mask.sum()) for name, mask in groups.items()} == {
        "not read": 3,
        "one reading": 5,
        "several readings": 4,
    }
    assert ambiguity_groups(RetrievalCore(bank, "image_to_text", "test", 1)) == {}
    same = FeatureBank.from_arrays(
        text, coarse, fine, splits=["test"] * 12, texts=["a red cube"] * 12
    )
    assert ambiguity_groups(RetrievalCore(same, split="test", k=1)) == {}
