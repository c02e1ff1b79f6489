"""Tests of recall before and after alignment, and of the command `dsa align`."""

import json
from importlib.metadata import EntryPoint

import numpy as np
import pytest

from dsa_agents.alignment_report import VIEWS, compare_recall
from dsa_env import testing
from dsa_env.bank import FeatureBank
from dsa_env.cli import main
from dsa_env.core import RetrievalCore
from dsa_env.errors import DSAError

ENTRIES = [EntryPoint("align", "dsa_agents.commands_align:align", "dsa_env.commands")]
QUICK = ("--epochs", "2", "--bootstrap", "200")


def run(*words):
    return main([str(word) for word in ("align", *words)], ENTRIES)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A bank without facts, so that no hallucination network is trained."""
    folder = tmp_path_factory.mktemp("banks") / "plain"
    return testing.synthetic_bank(120, facts=False, path=folder)


def test_a_bank_compared_with_itself_differs_by_nothing(source):
    found = compare_recall(source, source, resamples=50)
    for direction in ("text_to_image", "image_to_text"):
        for view in VIEWS:
            for values in found[direction][view].values():
                assert values["difference"] == {"mean": 0, "low": 0, "high": 0}
                assert values["before"] == values["after"]


def test_the_numbers_are_the_means_over_the_queries(source):
    found = compare_recall(source, source, resamples=0)["text_to_image"]
    for k in (1, 5, 10):
        core = RetrievalCore(source, "text_to_image", "test", k)
        query = np.arange(core.n_queries)
        for view, g in (("coarse", 0.0), ("fine", 1.0)):
            recall = core.outcome(query, np.full(len(query), g, np.float32)).recall
            summary = found[view][f"recall@{k}"]["before"]
            assert summary["mean"] == pytest.approx(recall.mean())
            assert summary["low"] is None
        assert found["queries"] == core.n_queries


def test_the_best_fixed_granularity_is_at_least_as_good_as_either_view_where_it_is_chosen(source):
    found = compare_recall(source, source, split="validation", resamples=0)["image_to_text"]
    total = {view: sum(one["before"]["mean"] for one in found[view].values()) for view in VIEWS}
    assert total["best_fixed"] >= max(total["coarse"], total["fine"])


def test_banks_of_other_pictures_are_not_compared(source):
    with pytest.raises(DSAError, match="compare a bank with its own aligned twin"):
        compare_recall(source, testing.synthetic_bank(20))


def test_the_command_writes_a_bank_and_prints_one_document(source, tmp_path, capsys):
    out = tmp_path / "aligned"
    assert run(source.path, "--out", out, "--json", *QUICK) == 0
    printed = json.loads(capsys.readouterr().out)
    bank = FeatureBank.open(out)
    assert printed["sha256"] == bank.sha256
    assert printed["source"] == source.sha256
    assert printed["recall"]["text_to_image"]["coarse"].keys() == {
        "recall@1",
        "recall@5",
        "recall@10",
    }
    assert len(printed["training"]["epochs"]) == 3
    bank.verify()


def test_the_tables_say_before_after_and_the_difference(source, tmp_path, capsys):
    options = ("--init", "orthogonal", "--rank", 4, "--separate", "--project", "where_needed")
    assert run(source.path, "--out", tmp_path / "aligned", *options, *QUICK) == 0
    printed = capsys.readouterr().out
    for word in ("before", "after", "difference", "best fixed g", "image to text", "clipped"):
        assert word in printed
    matrix = FeatureBank.open(tmp_path / "aligned").manifest["provenance"]["alignment"]["config"]
    assert (matrix["rank"], matrix["separate"], matrix["init"]) == (4, True, "orthogonal")


def test_wrong_input_is_one_line_and_leaves_nothing(source, tmp_path, capsys):
    lonely = tmp_path / "lonely"
    rows = np.eye(4)
    FeatureBank.from_arrays(rows, rows, rows, splits=["train"] * 4, path=lonely)
    out = tmp_path / "out"
    for words, message in (
        ((tmp_path / "nowhere",), "is no feature bank"),
        ((lonely,), "split 'validation' has no texts"),
        ((source.path, "--init", "zero"), "Unknown start of A 'zero'"),
        ((source.path, "--rank", 99), "rank 99 is above"),
        ((source.path, "--seed", -1), "Invalid value for '--seed'"),
        ((source.path, "--epochs", 0), "epochs must be a whole number from 1"),
    ):
        assert run(*words, "--out", out) == 2
        error = capsys.readouterr().err.strip()
        assert message in error
        assert "\n" not in error
    assert run(source.path, "--out", lonely) == 2
    assert "exists; choose another --out" in capsys.readouterr().err
    assert not out.exists()


def test_a_bank_without_test_pictures_is_aligned_without_a_word_on_recall(tmp_path, capsys):
    rng = np.random.default_rng(0)
    text, coarse, fine = (rng.standard_normal((12, 4)) for _ in range(3))
    splits = ["train"] * 6 + ["validation"] * 6
    bank = FeatureBank.from_arrays(text, coarse, fine, splits=splits, path=tmp_path / "bank")
    assert run(bank.path, "--out", tmp_path / "out", "--json", *QUICK) == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out)["recall"] is None
    assert "no texts in split 'test'" in printed.err


def test_facts_that_teach_nothing_leave_a_warning_and_a_bank(tmp_path, capsys):
    rng = np.random.default_rng(0)
    text, coarse, fine = (rng.standard_normal((12, 4)) for _ in range(3))
    facts = {"features": np.ones((1, 4)), "text": [[0]] * 12, "image": [[0]] * 12}
    splits = ["train"] * 6 + ["validation"] * 3 + ["test"] * 3
    where = tmp_path / "bank"
    FeatureBank.from_arrays(text, coarse, fine, splits=splits, facts=facts, path=where)
    assert run(where, "--out", tmp_path / "out", *QUICK) == 0
    assert "warning: no hallucination network:" in capsys.readouterr().err
    FeatureBank.open(tmp_path / "out").verify()
