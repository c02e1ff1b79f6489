"""Rows become differences, regressions, sentences, tables, charts, a page and Markdown."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dsa_agents.benchmark.metrics import DSA, FIXED, NATIVE
from dsa_agents.benchmark.plan import Plan
from dsa_agents.benchmark.report import write_report
from dsa_agents.benchmark.results import Findings, document
from dsa_agents.benchmark.scores import text_columns
from dsa_agents.benchmark.tables import tables

QUERIES = 120
OVERHEAD = {"mean": 2.0, "low": 1.0, "high": 3.0}


def made_row(seed: int, recall: float) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    captions = ["a red cube and a blue ball" if rng.random() < recall else "a cube"] * QUERIES
    return {
        **text_columns(captions, [["a red cube and a blue ball on the floor"]] * QUERIES),
        "recall@10": (rng.random(QUERIES) < recall).astype(float),
        "hallucination_rate": rng.random(QUERIES) * (1 - recall),
        "severity": rng.random(QUERIES),
        "reward": rng.random(QUERIES) * recall,
        "granularity": np.full(QUERIES, recall),
        "facts": np.full(QUERIES, 2.0),
    }


@pytest.fixture(scope="module")
def results() -> dict[str, Any]:
    rng = np.random.default_rng(0)
    batch = {
        "batch": 4,
        "tokens": {"native": 20.0, "dsa": 15.0},
        "milliseconds": {"native": 10.0, "dsa": 10.2},
        "overhead_percent": {"equal_tokens": OVERHEAD, "as_is": OVERHEAD},
        "breakdown_percent": {"features": 0.5, "controller": 0.4, "blend": None},
    }
    cost = {"images_per_second": {"native": 9.0, "dsa": 8.0}, **batch, "batches": [batch]}
    small = Findings(
        {
            "path": "<here>", "class": "Llava", "parameters": 5, "notes": [],
            "controller": {"train_seconds": 12.0},
        },
        {NATIVE: made_row(0, 0.3), FIXED: made_row(1, 0.5), DSA: made_row(2, 0.9)},
        np.arange(QUERIES) // 2,
        {"regions": rng.normal(size=QUERIES), "prompt: b|c": np.tile([0.0, 1.0], QUERIES // 2)},
        cost,
    )  # fmt: skip
    none = Findings({"path": None, "notes": ["not trained."]})
    found = document({"llava <b>": small, "blip-2": none}, resamples=200)
    plan = Plan(resamples=200)
    return found | {
        "dataset": {"name": "embedded", "pictures": QUERIES // 2},
        "plan": plan.to_json(),
        "machine": {"device": "a processor"},
        "seconds": 1.0,
    }


def test_differences_are_paired_and_relative_ones_are_shares(results: dict[str, Any]) -> None:
    model = results["models"]["llava <b>"]
    assert list(model["differences"]) == ["dsa-native", "dsa-fixed", "fixed-native"]
    rows = {row: found["metrics"]["recall@10"]["mean"] for row, found in model["rows"].items()}
    gain = model["differences"]["dsa-native"]["recall@10"]
    assert gain["mean"] == pytest.approx(rows["dsa"] - rows["native"])
    assert gain["low"] > 0
    share = model["relative"]["dsa-native"]["recall@10"]["mean"]
    assert share == pytest.approx(rows["dsa"] / rows["native"] - 1)
    assert (model["queries"], model["pictures"]) == (QUERIES, QUERIES // 2)


def test_gains_over_native_and_over_the_best_fixed_g_are_explained(
    results: dict[str, Any],
) -> None:
    found = results["models"]["llava <b>"]["regression"]
    assert set(found) == {"dsa-native", "dsa-fixed"}
    assert set(found["dsa-native"]) == {"recall@10", "reward", "hallucination_rate", "cider"}
    assert set(found["dsa-native"]["recall@10"]["coefficients"]) == {"regions", "prompt: b|c"}


def test_sentences_say_what_rose_and_what_was_not_measured(results: dict[str, Any]) -> None:
    text = " ".join(results["sentences"])
    assert "llava <b> with DSA against native generation: better: Recall@10 +0." in text
    assert "of native generation, the controller alone takes 0.40%" in text
    assert "the blend" not in text
    assert "blip-2: not trained." in text


def test_results_are_json_and_a_model_without_rows_has_dashes(results: dict[str, Any]) -> None:
    json.dumps(results, allow_nan=False)
    title, headings, rows = tables(results)[0]
    assert title == "Native and with DSA"
    assert headings[-3:] == ["images/s", "training", "overhead"]
    assert rows[-1] == ["blip-2", *["-"] * (len(headings) - 1)]
    dsa = next(row for row in rows if row[0] == "llava <b>, DSA")
    assert dsa[-3:] == ["8.0", "12 s", "+2.0% [+1.0%, +3.0%]"]


def test_the_report_is_one_page_with_charts_and_a_markdown_twin(
    results: dict[str, Any], tmp_path: Path
) -> None:
    page = write_report(results, tmp_path).read_text()
    assert "llava &lt;b&gt;" in page
    assert "llava <b>" not in page
    assert page.count("data:image/png;base64,") == len(list((tmp_path / "plots").glob("*.png")))
    assert "http" not in page.replace("http://www.w3.org", "")
    told = (tmp_path / "report.md").read_text()
    assert "| llava <b>, DSA |" in told
    assert "prompt: b\\|c" in told
    for picture in ("recall", "hallucination", "bleu", "cider", "overhead", "predictors"):
        assert f"](plots/{picture}.png)" in told
        assert (tmp_path / "plots" / f"{picture}.png").stat().st_size > 0
