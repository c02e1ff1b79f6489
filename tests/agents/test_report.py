"""What an evaluation leaves behind: tables, plots, examples and one self-contained page."""

from __future__ import annotations

import base64
import io
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dsa_agents.evaluate import Evaluation, evaluate
from dsa_agents.report import Section, write_evaluation, write_report
from dsa_agents.run_folder import RunFolder
from dsa_env.bank import FeatureBank
from dsa_env.files import read_json
from tests.agents.made_runs import QUICK, make_run


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("report")


@pytest.fixture(scope="module")
def section(made_run: RunFolder, evaluation: Evaluation, folder: Path) -> Section:
    return write_evaluation(evaluation, made_run, folder)


class Page(HTMLParser):
    """Collects the tags, the picture sources and the text of a page; complains when unbalanced."""

    EMPTY = ("meta", "img", "br")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.sources: list[str] = []
        self.text = ""
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.sources += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag not in self.EMPTY:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_everything_is_written_into_the_folder(folder: Path, section: Section) -> None:
    assert read_json(folder / "results.json") == json.loads(json.dumps(section.results))
    assert (folder / "report.html").is_file()
    assert {path.name for path in (folder / "plots").iterdir()} == {
        "granularity_by_kind.png",
        "reward_against_granularity.png",
        "learning_curve.png",
        "recall_against_hallucination.png",
    }


def test_the_page_stands_alone(folder: Path, section: Section) -> None:
    text = (folder / "report.html").read_text()
    page = Page(text)
    assert len(page.sources) == len(section.plots) + 2 * len(section.examples)
    for source in page.sources:
        head, _, data = source.partition(",")
        assert head == "data:image/png;base64"
        with Image.open(io.BytesIO(base64.b64decode(data))) as image:
            image.verify()
    assert "script" not in page.tags
    assert not re.search(r"https?://", text)


def test_the_page_explains_every_row(folder: Path, section: Section) -> None:
    page = Page((folder / "report.html").read_text())
    for sentence in section.results["verdict"]:
        assert sentence in page.text
    for word in ("random g", "best fixed g", "full information", "PPO", "null oracle", "Regret:"):
        assert word in page.text
    assert section.provenance["bank_sha256"] in page.text


def test_what_comes_from_outside_is_escaped(folder: Path, section: Section) -> None:
    text = (folder / "report.html").read_text()
    assert "<b>&" not in text  # of the run's command line
    assert "&lt;b&gt;&amp;" in text
    path = write_report(folder / "other.html", "<i>title</i>", [section])
    assert "<i>" not in path.read_text()


def test_several_sections_share_a_page(section: Section, tmp_path: Path) -> None:
    other = replace(section, title="Second run", examples=())
    page = Page(write_report(tmp_path / "report.html", "Both", [section, other]).read_text())
    assert page.tags.count("section") == 2
    assert "Second run" in page.text


def test_a_bank_with_features_alone_gets_its_page(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    arrays = [rng.normal(size=(80, 8)) for _ in range(3)]
    FeatureBank.from_arrays(*arrays, path=tmp_path / "bank")
    run = make_run(tmp_path / "run", tmp_path / "bank", seeds=(0,), direction="image_to_text")
    evaluation = evaluate(run, resamples=0, fit=QUICK, progress=False)
    section = write_evaluation(evaluation, run, run.path)
    assert len(section.plots) == 3
    assert "it is unknown" in Page((run.path / "report.html").read_text()).text
