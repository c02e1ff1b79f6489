"""Templates ask about what a scene can answer, and never what the question gives away."""

from __future__ import annotations

import numpy as np
import pytest

from dsa_env.datasets.clevr_questions import Step
from dsa_env.datasets.scenes import generate_scene
from dsa_env.logic.programs import as_answer, check_program, trace
from dsa_env.logic.scene_graph import ATTRIBUTES, VOCABULARY, SceneGraph
from dsa_env.vqa.templates import FAMILIES, TEMPLATES, Draft, describe_one, extent, family_of, noun

GRAPHS = [SceneGraph.of(generate_scene(index, "train")) for index in range(60)]


def drafts(number: int) -> list[tuple[SceneGraph, Draft]]:
    rng = np.random.default_rng(number)
    found = [(graph, TEMPLATES[number].write(graph, rng)) for graph in GRAPHS * 2]
    return [(graph, draft) for graph, draft in found if draft is not None]


@pytest.mark.parametrize("number", range(len(TEMPLATES)))
def test_each_template_asks_what_can_be_answered(number: int) -> None:
    found = drafts(number)
    assert len(found) >= 5
    for graph, draft in found:
        check_program(draft.program)
        assert trace(draft.program, graph)
        assert family_of(draft.program) == TEMPLATES[number].family
        assert draft.text.endswith("?")
        words = draft.text.rstrip("?").replace("things", "thing").split()
        told = [value for step in draft.program for value in step.values]
        for value in told:
            assert any(word.rstrip("s") == value or word == value for word in words), draft


@pytest.mark.parametrize("attribute", ATTRIBUTES)
def test_a_question_does_not_tell_the_value_it_asks_for(attribute: str) -> None:
    for number, template in enumerate(TEMPLATES):
        if template.family in ("query", "relate"):
            for _, draft in drafts(number):
                if draft.program[-1].function == f"query_{attribute}":
                    asked = draft.program[-2].inputs[0]
                    while draft.program[asked].function.startswith("filter_"):
                        assert draft.program[asked].function != f"filter_{attribute}"
                        asked = draft.program[asked].inputs[0]


def test_a_place_that_is_named_is_needed() -> None:
    """Without its relate step a question about one place has another answer, or none."""
    checked = 0
    for number, template in enumerate(TEMPLATES):
        for graph, draft in drafts(number) if template.family == "relate" else ():
            values = trace(draft.program, graph)
            places = [n for n, step in enumerate(draft.program) if step.function == "relate"]
            if len(places) > 1 or draft.program[-1].function == "exist":
                continue
            first = places[0]
            wanted = {
                s.function.removeprefix("filter_"): s.values[0] for s in draft.program[first + 1 :]
                if s.function.startswith("filter_")
            }  # fmt: skip
            everywhere = extent(graph, wanted)
            last = as_answer(values[-1])
            if draft.program[-1].function == "count":
                reference = draft.program[first].inputs[0]
                assert str(len(everywhere - {values[reference]})) != last  # type: ignore[operator]
            else:
                assert len(everywhere) > 1
            checked += 1
    assert checked > 50


def test_a_description_fits_its_object_alone_and_wastes_no_word() -> None:
    rng = np.random.default_rng(0)
    for graph in GRAPHS:
        for index in range(len(graph)):
            found = describe_one(graph, index, rng)
            if found is not None:
                assert extent(graph, found) == {index}


def test_nouns_read_like_clevrs() -> None:
    assert noun({"shape": "cube", "color": "red", "size": "small"}) == "small red cube"
    assert noun({"material": "metal"}, plural=True) == "metal things"
    assert noun({}) == "thing"


@pytest.mark.parametrize(
    ("last", "family"),
    [("exist", "exist"), ("count", "count"), ("query_size", "query"), ("equal_shape", "compare"),
     ("less_than", "compare"), ("greater_than", "compare"), ("equal_integer", "compare")],
)  # fmt: skip
def test_the_family_is_told_by_the_program(last: str, family: str) -> None:
    assert family in FAMILIES
    program = (Step("scene", (), ()), Step(last, (0,), ()))
    assert family_of(program) == family
    assert family_of((Step("relate", (0,), ("left",)), *program)) == "relate"
    assert family_of(()) is None


def test_words_are_clevrs() -> None:
    known = {word for words in VOCABULARY.values() for word in words}
    for number in range(len(TEMPLATES)):
        for _, draft in drafts(number)[:5]:
            told = {v for s in draft.program if s.function != "relate" for v in s.values}
            assert told <= known
