"""An evaluation compares every policy on the same queries and writes what it promises."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dsa_agents.evaluate import Evaluation, _gap_closed, evaluate
from dsa_agents.run_folder import RunFolder
from dsa_agents.statistics import Estimate
from dsa_env import cli
from dsa_env.bank import FeatureBank
from dsa_env.errors import DSAError
from dsa_env.files import read_json
from dsa_env.outcome import Outcome
from tests.agents.made_runs import QUICK, make_run

METRICS = [
    "recall@1",
    "recall@5",
    "recall@10",
    "hallucination_rate",
    "reward",
    "regret",
    "granularity",
]
POLICIES = ["random", "fixed", "full_information", "ppo", "oracle", "null_oracle"]


def recall_alone(outcome: Outcome) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """A reward of one's own, without a clip."""
    return outcome.recall, {}


def quick(run: RunFolder, **settings: Any) -> Evaluation:
    return evaluate(run, **{"resamples": 60, "fit": QUICK, "progress": False, **settings})


def test_the_results_have_the_promised_form(evaluation: Evaluation) -> None:
    results = evaluation.results
    assert list(results["policies"]) == POLICIES
    for table in (results["policies"], *results["by_kind"].values()):
        for values in table.values():
            assert list(values) == METRICS
            assert all(list(summary) == ["mean", "low", "high"] for summary in values.values())
    assert set(results["by_kind"]) == {"scene", "object"}
    assert {"ppo-fixed", "full_information-fixed", "oracle-fixed", "oracle-null_oracle"} <= set(
        results["differences"]
    )
    assert results["seeds"] == [0, 1]
    assert results["train_seconds"] == 2.5
    assert results["direction"] == "text_to_image"
    assert results["bank"]["sha256"] == evaluation.core.bank.sha256
    assert json.loads(json.dumps(results, allow_nan=False)) == results


def test_means_lie_in_their_intervals(evaluation: Evaluation) -> None:
    for values in evaluation.results["policies"].values():
        for summary in values.values():
            assert summary["low"] - 1e-9 <= summary["mean"] <= summary["high"] + 1e-9


def test_the_agent_is_measured_seed_by_seed(evaluation: Evaluation) -> None:
    values = evaluation.measures["ppo"]["recall@1"]
    assert values.shape == (2, evaluation.core.n_queries)
    reported = evaluation.results["policies"]["ppo"]["recall@1"]["mean"]
    assert reported == pytest.approx(values.mean(axis=1).mean())


def test_differences_are_differences_of_the_means(evaluation: Evaluation) -> None:
    policies = evaluation.results["policies"]
    for pair, metrics in evaluation.results["differences"].items():
        first, _, second = pair.partition("-")
        if second == "null_fixed":
            continue
        for metric, summary in metrics.items():
            expected = policies[first][metric]["mean"] - policies[second][metric]["mean"]
            assert summary["mean"] == pytest.approx(expected)


def test_the_synthetic_world_is_seen_to_need_granularity(evaluation: Evaluation) -> None:
    results = evaluation.results
    assert results["differences"]["full_information-fixed"]["recall@1"]["low"] > 0
    assert results["policies"]["oracle"]["regret"]["mean"] == pytest.approx(0, abs=1e-6)
    assert results["verdict"][0].startswith("Granularity matters")
    expected = (
        results["differences"]["ppo-fixed"]["recall@1"]["mean"]
        / results["differences"]["full_information-fixed"]["recall@1"]["mean"]
    )
    assert results["gap_closed"]["mean"] == pytest.approx(expected)


def test_hindsight_is_at_least_as_good_as_the_choice_on_validation(
    evaluation: Evaluation,
) -> None:
    found = evaluation.results["fixed_in_hindsight"]
    curve = evaluation.sweep.means["reward"]
    assert found["reward"] == curve.max()
    assert found["granularity"] == evaluation.sweep.grid[np.argmax(curve)]
    chosen = np.argmin(np.abs(evaluation.sweep.grid - evaluation.fixed))
    assert found["reward"] >= curve[chosen]


def test_the_same_evaluation_twice_is_the_same(made_run: RunFolder) -> None:
    first, second = (quick(made_run).results for _ in range(2))
    for results in (first, second):
        del results["latency_ms"]
    assert first == second


def test_latency_stands_beside_the_encoders(evaluation: Evaluation) -> None:
    latency = evaluation.results["latency_ms"]
    assert 0 < latency["controller"]["batch_1024"] < latency["controller"]["batch_1"]
    assert latency["encoders"] is None


def planted(gap: float, share: float) -> tuple[Estimate, Estimate]:
    noise = np.random.default_rng(0).normal(0, 0.01, 400)
    full = Estimate(gap, gap + noise)
    return Estimate(share * gap, share * full.draws), full


def test_the_gap_closed_is_the_planted_share() -> None:
    assert _gap_closed(*planted(0.1, 0.9)) == pytest.approx({"mean": 0.9, "low": 0.9, "high": 0.9})


@pytest.mark.parametrize("gap", [0.005, -0.1])
def test_without_a_gap_there_is_no_share(gap: float) -> None:
    closed = _gap_closed(*planted(gap, 0.9))
    assert (closed["mean"], closed["low"], closed["high"]) == (None, None, None)
    assert "no gap" in closed["note"]


def test_no_resamples_no_intervals(made_run: RunFolder) -> None:
    results = quick(made_run, resamples=0).results
    assert results["policies"]["ppo"]["reward"]["mean"] is not None
    assert results["policies"]["ppo"]["reward"]["low"] is None
    assert results["gap_closed"]["mean"] is None


def test_a_bank_with_features_alone_is_enough(tmp_path: Path) -> None:
    """No kinds, facts, texts or pictures, and fine features given per image."""
    rng = np.random.default_rng(0)
    coarse = rng.normal(size=(120, 8))
    fine = rng.normal(size=(120, 8))
    text = np.where(rng.random((120, 1)) < 0.5, coarse, fine) + rng.normal(0, 0.5, (120, 8))
    FeatureBank.from_arrays(text, coarse, fine, path=tmp_path / "bank")
    for direction in ("text_to_image", "image_to_text"):
        run = make_run(tmp_path / direction, tmp_path / "bank", direction=direction, seeds=(4,))
        results = quick(run).results
        assert results["by_kind"] == {}
        assert results["policies"]["ppo"]["hallucination_rate"]["mean"] is None
        assert results["policies"]["ppo"]["recall@10"]["low"] is not None
        json.dumps(results, allow_nan=False)


def test_the_cut_off_of_the_run_is_reported_too(synthetic_bank_path: Path, tmp_path: Path) -> None:
    results = quick(make_run(tmp_path / "run", synthetic_bank_path, k=3, seeds=(0,))).results
    assert "recall@3" in results["policies"]["ppo"]


def test_a_refining_agent_is_judged_by_its_last_choice(
    synthetic_bank_path: Path, tmp_path: Path
) -> None:
    run = make_run(tmp_path / "run", synthetic_bank_path, k=1, horizon=2, seeds=(0,))
    found = quick(run)
    once = found.core.observe(np.arange(found.core.n_queries))
    first = run.controller(0).predict(once)
    chosen = found.measures["ppo"]["granularity"][0]
    assert not np.allclose(chosen, first, atol=1e-3)
    assert found.results["horizon"] == 2


def test_rewards_and_algorithms_go_by_their_names(
    synthetic_bank_path: Path, tmp_path: Path
) -> None:
    always = make_run(
        tmp_path / "clipped",
        synthetic_bank_path,
        seeds=(0,),
        algorithm="sac",
        reward_kwargs={"high": 0.5, "low": 0.4},
    )
    results = quick(always).results
    assert "sac" in results["policies"]
    assert "sac-fixed" in results["differences"]
    assert results["clip_fraction"] == 1.0
    free = make_run(
        tmp_path / "free", synthetic_bank_path, seeds=(0,), reward=f"{__name__}:recall_alone"
    )
    assert quick(free).results["clip_fraction"] is None


def test_validation_can_be_looked_at_while_the_test_split_waits(made_run: RunFolder) -> None:
    found = quick(made_run, split="validation")
    assert found.results["split"] == "validation"
    assert found.core.split == "validation"


def test_an_unknown_split_is_refused(made_run: RunFolder) -> None:
    with pytest.raises(DSAError, match="Did you mean 'test'"):
        quick(made_run, split="tests")


def test_the_command_writes_the_results_and_prints_them(
    made_run: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["evaluate", str(made_run.path), "--split", "validation", "--bootstrap", "20"]
    assert cli.main([*words, "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    folder = made_run.path / "validation"
    assert read_json(folder / "results.json") == printed
    assert (folder / "report.html").is_file()
    assert not (made_run.path / "results.json").exists()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["nowhere"], "nowhere"),
        (["{run}", "--split", "tset"], "Did you mean 'test'"),
        (["{run}", "--bank", "nowhere"], "nowhere"),
        (["{run}", "--bootstrap", "-1"], "--bootstrap"),
        ([], "'run'"),
    ],
)
def test_wrong_input_is_one_line(
    words: list[str], told: str, made_run: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [word.replace("{run}", str(made_run.path)) for word in words]
    assert cli.main(["evaluate", *given]) == 2
    error = capsys.readouterr().err
    assert told in error
    assert "Traceback" not in error
