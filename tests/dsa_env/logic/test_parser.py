"""Texts become all of their readings, and readings become texts that have them."""

from __future__ import annotations

import functools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsa_env.datasets.captions import KINDS, true_facts, write_caption, write_captions
from dsa_env.datasets.scenes import generate_scene
from dsa_env.errors import DSAError
from dsa_env.logic.evaluate import holds
from dsa_env.logic.formulas import EVERY, NO, SOME, THE, And, Has, Not, Quantified, Related
from dsa_env.logic.grammar import MOST, TooManyReadingsError
from dsa_env.logic.parser import count_readings, parse
from dsa_env.logic.scene_graph import SceneGraph
from dsa_env.logic.words import vocabulary

CUBE, BALL, CONE = (Has("shape", shape) for shape in ("cube", "sphere", "cone"))
RED, SMALL, METAL = Has("color", "red"), Has("size", "small"), Has("material", "metal")


def meanings(text: str) -> set[object]:
    return {reading.sentence for reading in parse(text)}


def test_a_conjunction_belongs_to_the_anchor_or_stands_beside_the_cube() -> None:
    left_of_ball, left_of_cone = Related("left", THE, BALL), Related("left", THE, CONE)
    assert meanings("the red cube left of the ball and the cone") == {
        Quantified(THE, And((RED, CUBE, left_of_ball, left_of_cone))),
        And((Quantified(THE, And((RED, CUBE, left_of_ball))), Quantified(THE, CONE))),
    }


def test_a_second_place_belongs_to_either_noun() -> None:
    behind = Related("behind", THE, Has("shape", "cylinder"))
    assert meanings("the cube left of the ball behind the cylinder") == {
        Quantified(THE, And((CUBE, Related("left", THE, And((BALL, behind)))))),
        Quantified(THE, And((CUBE, Related("left", THE, BALL), behind))),
    }


def test_attachments_grow_like_the_catalan_numbers() -> None:
    # each of n places can go to any noun that is still open; two of the same place count once
    text = "the cube left of the ball right of the cone behind the cylinder"
    assert [count_readings(" ".join(text.split()[:n])) for n in (2, 6, 10, 13)] == [1, 1, 2, 5]


def test_adjectives_may_reach_over_and() -> None:
    both = {
        And((Quantified(THE, And((SMALL, CUBE))), Quantified(THE, last)))
        for last in (BALL, And((SMALL, BALL)))
    }
    assert meanings("the small cube and ball") == both


def test_a_shared_colour_that_the_second_noun_contradicts_is_no_reading() -> None:
    assert count_readings("the red cube and blue ball") == 1
    assert count_readings("the small red cube and blue ball") == 2  # is the ball small?


def test_what_follows_joined_nouns_belongs_to_the_last_or_to_both() -> None:
    assert count_readings("the cube and the ball left of the cylinder") == 2


def test_not_reaches_one_adjective_or_both() -> None:
    assert meanings("a cube that is not red and metal") == {
        Quantified(SOME, And((CUBE, Not(And((RED, METAL)))))),
        Quantified(SOME, And((CUBE, Not(RED), METAL))),
    }


def test_quantifiers_have_two_scopes_where_the_order_matters() -> None:
    assert meanings("every cube is left of a ball") == {
        Quantified(EVERY, CUBE, Related("left", SOME, BALL)),
        Quantified(SOME, BALL, Related("left", EVERY, CUBE, inverse=True)),
    }
    assert count_readings("a cube is left of a ball") == 1
    assert count_readings("every cube is left of every ball") == 1
    assert count_readings("the cube is left of every ball") == 1
    assert count_readings("every cube is not red") == 2


def test_and_with_or_has_both_bracketings() -> None:
    assert count_readings("a cube and a ball or a cone") == 2
    assert count_readings("a cube, a ball and a cone") == 1


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("The big shiny block!", "the large metal cube"),
        ("cube to the left of ball", "a cube left of a sphere"),
        ("there is a red cube", "a red cube"),
        ("is there a red cube?", "red cube"),
        ("two tiny balls", "at least 2 small spheres"),
        ("a red, metal cube", "a red and metal cube"),
        ("a red cube that is left of a ball", "a red cube left of a ball"),
    ],
)
def test_other_words_mean_the_same(text: str, same: str) -> None:
    assert meanings(text) == meanings(same)


def test_no_and_numbers_are_quantifiers() -> None:
    assert meanings("no red cube") == {Quantified(NO, And((RED, CUBE)))}
    assert [r.text for r in parse("there are exactly three cubes")] == ["exactly 3 cubes"]


@pytest.mark.parametrize("kind", KINDS)
def test_every_caption_of_the_embedded_world_has_one_reading_and_it_is_true(kind: str) -> None:
    import numpy as np

    rng = np.random.default_rng(0)
    for index in range(40):
        scene = generate_scene(index, "train")
        readings = parse(write_caption(scene, kind, rng).text)
        assert len(readings) == 1
        assert holds(readings[0].sentence, SceneGraph.of(scene))


def test_every_canonical_fact_has_one_reading_and_the_labelled_truth() -> None:
    scenes = [generate_scene(index, "test") for index in range(8)]
    facts = [true_facts(scene) for scene in scenes]
    for scene, own in zip(scenes, facts, strict=True):
        graph = SceneGraph.of(scene)
        for fact in sorted(set().union(*facts))[::7]:
            (reading,) = parse(fact)
            assert holds(reading.sentence, graph) == (fact in own), (fact, scene["image_filename"])


@functools.cache
def written(index: int) -> list[str]:
    return [caption.text for caption in write_captions(generate_scene(index, "train"), 4)]


nouns = st.sampled_from(["cube", "red ball", "small metal cone", "object"])
determiners = st.sampled_from(["the", "a", "every", "no"])
joints = st.sampled_from(["left of", "behind", "and", "or", "in front of"])
texts = st.one_of(
    st.integers(0, 30).flatmap(lambda index: st.sampled_from(written(index))),
    st.tuples(determiners, nouns, joints, determiners, nouns, joints, determiners, nouns).map(
        " ".join
    ),
)


@given(texts)
def test_a_reading_in_words_has_that_reading(text: str) -> None:
    readings = parse(text)
    assert len(readings) == count_readings(text) >= 1
    for reading in readings:
        if " it" in f"{reading.text} ":  # "has every cube left of it" is for people alone
            continue
        words = reading.text.replace("(", "").replace(")", "")
        assert reading.sentence in meanings(words)


def test_a_word_of_the_scene_is_a_word() -> None:
    scene = generate_scene(0, "train")
    scene["objects"][0]["shape"] = "pyramid"
    graph = SceneGraph.of(scene)
    (reading,) = parse("the pyramid", vocabulary(graph))
    assert holds(reading.sentence, graph)
    with pytest.raises(DSAError, match="Unknown word 'pyramid'"):
        parse("the pyramid")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("the rde cube", "Unknown word 'rde'. Did you mean 'red'?"),
        ("the cube the", "after 'the cube' comes 'the'"),
        ("left of the cube", "it begins with 'left'"),
        ("the cube left of", "stops too early"),
        ("the red", "stops too early"),
        ("  . ", "The text is empty"),
    ],
)
def test_what_cannot_be_read_is_named(text: str, said: str) -> None:
    with pytest.raises(DSAError) as raised:
        parse(text)
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)
    assert count_readings(text) == 0


def test_too_many_readings_are_refused_and_counted_as_the_most() -> None:
    text = "the cube" + " left of the ball behind the cone" * 6
    with pytest.raises(TooManyReadingsError, match="more than 256 readings"):
        parse(text)
    assert count_readings(text) == MOST
