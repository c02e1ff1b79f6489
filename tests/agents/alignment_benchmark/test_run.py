"""The benchmark from questions to report, on a small world."""

from __future__ import annotations

import json
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dsa_agents.alignment_benchmark.data import prepare, scenes_root
from dsa_agents.alignment_benchmark.plan import ABLATIONS, MAIN, MAJORITY, VARIANTS, Plan
from dsa_agents.alignment_benchmark.report import write_report
from dsa_agents.alignment_benchmark.results import PAIRS, sentences
from dsa_agents.alignment_benchmark.run import majority, run_benchmark
from dsa_agents.alignment_benchmark.tables import caption, tables
from dsa_agents.alignment_benchmark.timing import response_times
from dsa_env import cli
from dsa_env.bank import FeatureBank
from dsa_env.errors import DSAError
from dsa_env.vqa.folder import VQAData
from dsa_env.vqa.model import VQAModel
from tests.dsa_env.vqa.small_world import small_bank, write_scenes

PLAN = Plan(
    seeds=(0, 1), images=30, per_image=5, batch=64, epochs=2, rate=3.0, resamples=100, rounds=3
)
FAMILIES = ["compare", "count", "exist", "query", "relate"]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_scenes(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def bank(world: Path) -> FeatureBank:
    return small_bank(world)


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("benchmark")


@pytest.fixture(scope="module")
def results(bank: FeatureBank, out: Path) -> dict[str, Any]:
    return run_benchmark(bank, out, PLAN, encoder="embedded", progress=False)


@pytest.fixture(scope="module")
def data(bank: FeatureBank, results: dict[str, Any], out: Path) -> VQAData:
    return prepare(bank, out, "embedded", PLAN, out)[0]


def test_every_variant_is_judged_in_every_family(results: dict[str, Any]) -> None:
    assert set(results["variants"]) == {MAJORITY, *VARIANTS}
    for name, found in results["variants"].items():
        assert list(found["accuracy"]) == ["overall", *FAMILIES]
        for summary in found["accuracy"].values():
            assert 0 <= summary["low"] <= summary["mean"] <= summary["high"] <= 1
        if name != MAJORITY:
            assert set(found["histories"]) == {"0", "1"}
            assert found["response_ms"]["batch 1"] > 0
            assert found["learning"] <= found["parameters"]
    shape = {name: results["variants"][name]["parameters"] for name in VARIANTS}
    assert shape["dynamic"] == shape["frozen"] == shape["one-way"]
    assert shape["attention"] == pytest.approx(shape["dynamic"], rel=0.1)


def test_differences_are_those_of_the_accuracies(results: dict[str, Any]) -> None:
    means = {n: v["accuracy"]["overall"]["mean"] for n, v in results["variants"].items()}
    assert len(results["differences"]) == len(PAIRS)
    for first, second in PAIRS:
        found = results["differences"][f"{first}-{second}"]
        assert found["overall"]["mean"] == pytest.approx(means[first] - means[second])


def test_without_the_two_techniques_nothing_is_clipped(results: dict[str, Any]) -> None:
    steady, wild = (results["variants"][n]["stability"] for n in ("dynamic", "no-stability"))
    assert steady["clipped_share"] > wild["clipped_share"] == 0
    assert steady["update_cosine"] is not None
    assert results["variants"]["static"]["stability"]["update_cosine"] is None


def test_the_results_are_json_and_finished_trainings_are_kept(
    results: dict[str, Any], bank: FeatureBank, out: Path
) -> None:
    assert json.loads((out / "results.json").read_text()) == results
    before = {file.name: file.stat().st_mtime_ns for file in (out / "runs").iterdir()}
    assert len(before) == 2 * 2 * len(VARIANTS)
    again = run_benchmark(bank, out, PLAN, encoder="embedded", progress=False)
    assert {file.name: file.stat().st_mtime_ns for file in (out / "runs").iterdir()} == before
    assert again["variants"]["dynamic"]["accuracy"] == results["variants"]["dynamic"]["accuracy"]


def test_the_majority_answers_by_family(data: VQAData) -> None:
    scores = majority(data)
    for family, name in enumerate(data.test.families):
        own = scores[data.test.family == family]
        if name in ("exist", "compare"):
            assert own.mean() == pytest.approx(0.5)


def test_the_tables_hold_every_variant(results: dict[str, Any]) -> None:
    found = {title: rows for title, _, rows in tables(results)}
    short = tables(results, short=True)
    assert len(found) == 4
    for title, headings, rows in short:
        assert all(len(row) == len(headings) for row in rows), title
    labels = {row[0] for rows in found.values() for row in rows}
    assert {VARIANTS[name].label for name in (*MAIN, *ABLATIONS)} <= labels
    assert "2 seeds" in caption(results)


def test_the_page_stands_alone(results: dict[str, Any], out: Path) -> None:
    page = write_report(results, out)
    text = page.read_text()
    assert all(sentence.split("(")[0][:20] in text for sentence in results["sentences"])
    assert "http" not in text.replace("https://www.w3.org", "")
    assert len(list((out / "plots").glob("*.png"))) == 4 == text.count("data:image/png")


@pytest.mark.parametrize(
    ("gain", "word"), [(0.1, "beats static"), (0.0, "not shown"), (-0.1, "is beaten by static")]
)
def test_the_sentence_says_which_way_it_came_out(
    results: dict[str, Any], gain: float, word: str
) -> None:
    changed = json.loads(json.dumps(results))
    summary = {"mean": gain, "low": gain - 0.05, "high": gain + 0.05}
    changed["differences"]["dynamic-static"]["overall"] = summary
    assert word in sentences(changed)[0]


def test_response_times_are_of_the_same_questions(data: VQAData) -> None:
    sizes = {
        "visual": data.pictures.width,
        "text": data.train.texts.shape[1],
        "steps": len(data.vocabulary.steps) + 2,
        "answers": len(data.vocabulary.answers),
    }
    models = {name: VQAModel(name, **sizes).eval() for name in ("static", "dynamic")}
    found = response_times(models, data, rounds=3, batches=(1, 16))
    assert all(time > 0 for times in found.values() for time in times.values())
    assert list(found["static"]) == ["batch 1", "batch 16"]


def test_scenes_are_found_beside_the_pictures(bank: FeatureBank, world: Path) -> None:
    assert scenes_root(bank) == world.resolve()
    with pytest.raises(DSAError, match=r"no CLEVR scenes.*--questions"):
        scenes_root(FeatureBank.from_arrays(*[np.eye(3)] * 3))


def test_a_bank_of_unknown_encoder_wants_a_name(bank: FeatureBank, out: Path) -> None:
    with pytest.raises(DSAError, match="--encoder"):
        prepare(bank, out, None, PLAN, out)


@pytest.mark.parametrize(
    ("change", "message"),
    [({"seeds": ()}, "seeds"), ({"seeds": (1, 1)}, "seeds"), ({"images": 0}, "images"),
     ({"epochs": 0}, "epochs"), ({"rate": 0.0}, "rate")],
)  # fmt: skip
def test_a_plan_out_of_range_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(DSAError, match=message):
        Plan(**change)


def test_a_plan_trains_all_alike_but_for_what_a_variant_changes() -> None:
    plan = Plan.quick()
    common = plan.settings("dynamic")
    assert plan.settings("attention") == plan.settings("static") == common
    wild = plan.settings("no-stability")
    assert (wild.clip, wild.matrix_lr) == (None, common.rest_lr)
    assert plan.settings("no-blend").granularity is None
    assert common.rest_lr == pytest.approx(10 * common.matrix_lr)


def test_the_command_prints_json_and_errors_in_one_line(
    bank: FeatureBank,
    world: Path,
    results: dict[str, Any],
    tmp_path: Path,
    out: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    entries = [
        EntryPoint(
            "benchmark-alignment",
            "dsa_agents.commands_benchmark:benchmark_alignment",
            cli.GROUP,
        )
    ]
    monkeypatch.setattr(
        "dsa_agents.alignment_benchmark.run.run_benchmark", lambda *args, **kwargs: results
    )
    words = ["benchmark-alignment", "--quick", "--json", "--out", str(tmp_path)]
    assert cli.main(words, entries) == 0
    assert json.loads(capsys.readouterr().out)["variants"].keys() == results["variants"].keys()
    assert (tmp_path / "report.html").is_file()
    assert cli.main([*words[:-3], "--out", str(tmp_path)], entries) == 0
    shown = capsys.readouterr().out
    assert "Baselines" in shown
    assert "Ablations" in shown
    for wrong in (["--seeds", "0"], ["--images", "-3"], ["--epochs", "0"]):
        assert cli.main([*words, *wrong], entries) == 2
        assert capsys.readouterr().err.strip().count("\n") == 0
