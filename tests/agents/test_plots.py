"""Every plot is drawn from whatever an evaluation has, and is a picture."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from dsa_agents.evaluate import Evaluation
from dsa_agents.plots import write_plots
from dsa_agents.run_folder import RunFolder


def test_every_plot_is_a_picture_with_something_on_it(
    evaluation: Evaluation, made_run: RunFolder, tmp_path: Path
) -> None:
    plots = write_plots(evaluation, made_run, tmp_path)
    assert list(plots) == [
        "granularity_by_kind",
        "reward_against_granularity",
        "learning_curve",
        "recall_against_hallucination",
    ]
    for name, path in plots.items():
        assert path == tmp_path / f"{name}.png"
        with Image.open(path) as image:
            assert image.size == (884, 598)
            assert len(image.convert("RGB").getcolors(1 << 20) or []) > 20


def test_the_same_evaluation_gives_the_same_pictures(
    evaluation: Evaluation, made_run: RunFolder, tmp_path: Path
) -> None:
    first, second = (write_plots(evaluation, made_run, tmp_path / name) for name in "ab")
    for name in first:
        assert first[name].read_bytes() == second[name].read_bytes()


def test_policies_that_always_choose_the_same_can_be_drawn(
    evaluation: Evaluation, made_run: RunFolder, tmp_path: Path
) -> None:
    agent = {**evaluation.measures["ppo"]}
    agent["granularity"] = np.ones_like(agent["granularity"])
    constant = replace(evaluation, measures={**evaluation.measures, "ppo": agent})
    plots = write_plots(constant, made_run, tmp_path)
    usual = write_plots(evaluation, made_run, tmp_path / "usual")
    name = "granularity_by_kind"
    assert plots[name].read_bytes() != usual[name].read_bytes()


def test_without_facts_there_is_no_plot_of_hallucinations(
    evaluation: Evaluation, made_run: RunFolder, tmp_path: Path
) -> None:
    means = evaluation.sweep.means
    unknown = {**means, "hallucination_rate": np.full_like(means["reward"], np.nan)}
    bare = replace(evaluation, sweep=replace(evaluation.sweep, means=unknown))
    assert "recall_against_hallucination" not in write_plots(bare, made_run, tmp_path)
