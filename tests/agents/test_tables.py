"""The terminal shows what was found, in a width that terminals have."""

from __future__ import annotations

import io

from rich.console import Console

from dsa_agents.evaluate import Evaluation
from dsa_agents.tables import difference_name, print_results


def test_the_terminal_shows_policies_kinds_and_the_verdict(evaluation: Evaluation) -> None:
    console = Console(width=80, file=io.StringIO(), color_system=None)
    print_results(evaluation.results, console)
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert "text to image, test split" in shown
    for word in ("R@10", "Recall@1", "full information", "PPO", "null oracle", "scene", "object"):
        assert word in shown
    mean = evaluation.results["policies"]["ppo"]["recall@1"]["mean"]
    assert f"{mean:.3f}" in shown
    assert "•" in shown
    assert max(map(len, shown.splitlines())) <= 80


def test_differences_are_named_in_words() -> None:
    assert difference_name("full_information-fixed") == "full information − best fixed g"
