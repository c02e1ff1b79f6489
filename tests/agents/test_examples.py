"""Examples are drawn from the queries on which the agent and the best fixed g differ."""

from __future__ import annotations

import io

from PIL import Image

from dsa_agents.evaluate import Evaluation
from dsa_agents.examples import find_examples


def test_examples_are_queries_on_which_the_two_differ(evaluation: Evaluation) -> None:
    examples = find_examples(evaluation)
    assert 1 <= len(examples) <= 3
    for example in examples:
        assert "alone answers" in example.title
        with Image.open(io.BytesIO(example.before)) as image:
            assert image.width >= 400
        assert f"g {evaluation.fixed:.2f}" in example.before_text
        won = "PPO" in example.title
        assert ("rank 1 " in example.after_text) == won
        assert ("rank 1 " in example.before_text) == (not won)
