"""The executor and z3 say the same of random formulas on random scenes, and of programs."""

from __future__ import annotations

import functools
import random
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dsa_env.datasets.scenes import COLORS, FLOORS, generate_scene
from dsa_env.errors import DSAError
from dsa_env.logic.evaluate import denotation, holds, quantify
from dsa_env.logic.formulas import (
    COMPARISONS,
    COUNTED,
    QUANTIFIERS,
    THE,
    THING,
    Alike,
    And,
    Compare,
    Crowded,
    Has,
    Mostly,
    Not,
    Or,
    Quantified,
    Quantifier,
    Related,
    SceneIs,
    conjoin,
    descriptions,
    is_property,
)
from dsa_env.logic.scene_graph import ATTRIBUTES, RELATIONS, VOCABULARY, SceneGraph
from dsa_env.logic.to_lean import Claim, certificates
from dsa_env.logic.to_z3 import Prover

pytest.importorskip("z3", reason="the extra `logic` is not installed")


@functools.cache
def graph_of(index: int) -> SceneGraph:
    scene = generate_scene(index, "train")
    # random relations too: a real scene's are orders, which hide a converse taken for the other
    rng, n = random.Random(index), len(scene["objects"])
    if index % 2:
        for relation in RELATIONS:
            scene["relationships"][relation] = [
                [j for j in range(n) if rng.random() < 0.4] for _ in range(n)
            ]
    return SceneGraph.of(scene)


@functools.cache
def prover_of(index: int) -> Prover:
    return Prover(graph_of(index))


quantifiers = st.one_of(
    st.sampled_from([kind for kind in QUANTIFIERS if kind not in COUNTED]).map(Quantifier),
    st.builds(Quantifier, st.sampled_from(COUNTED), st.integers(0, 4)),
)
values = [Has(name, word) for name in ("shape", "size", "material") for word in VOCABULARY[name]]
leaves = st.sampled_from([*values, Has("color", "red"), Has("shape", "cone"), THING])


def grow(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    pairs = st.tuples(inner, inner)
    return st.one_of(
        pairs.map(And),
        pairs.map(Or),
        inner.map(Not),
        st.builds(Related, st.sampled_from(RELATIONS), quantifiers, inner, st.booleans()),
        st.builds(Alike, st.sampled_from(ATTRIBUTES), quantifiers, inner),
    )


properties = st.recursive(leaves, grow, max_leaves=4)
atoms = st.one_of(
    st.builds(Quantified, quantifiers, properties, properties),
    st.builds(Compare, properties, st.sampled_from(COMPARISONS), properties),
    st.sampled_from(COLORS).map(Mostly),
    st.sampled_from(["sparse", "busy", "crowded"]).map(Crowded),
    st.sampled_from(FLOORS).map(lambda floor: SceneIs("floor", floor)),
)
sentences = st.recursive(
    atoms,
    lambda inner: st.one_of(
        st.tuples(inner, inner).map(And), st.tuples(inner, inner).map(Or), inner.map(Not)
    ),
    max_leaves=2,
)


@settings(max_examples=500)
@given(st.integers(0, 15), sentences)
def test_z3_proves_what_the_executor_says(index: int, sentence: Any) -> None:
    assert prover_of(index).decide(sentence) == holds(sentence, graph_of(index))


@given(st.integers(0, 15), properties)
def test_a_description_denotes_one_object_exactly_when_its_count_is_one(
    index: int, formula: Any
) -> None:
    graph = graph_of(index)
    size = len(denotation(formula, graph))
    assert holds(Quantified(THE, formula), graph) == (size == 1)
    assert holds(Quantified(Quantifier("exactly", size), formula), graph)


@given(st.integers(0, 15), sentences)
def test_every_formula_has_a_certificate_in_one_line_without_shortcuts(
    index: int, sentence: Any
) -> None:
    graph = graph_of(index)
    file = certificates([Claim("claim", graph, sentence, holds(sentence, graph))])
    line = file.text.splitlines()[file.lines["claim"] - 1]
    assert line.startswith("theorem claim : Eq ")
    assert line.endswith(" := rfl")
    code = [one for one in file.text.splitlines() if not one.startswith("--")]
    assert not any(word in "\n".join(code) for word in ("sorry", "native_decide", "axiom"))
    assert line.count("(") == line.count(")")


sets = st.frozensets(st.integers(0, 5))


@given(sets, sets)
def test_quantifiers_obey_their_identities(a: frozenset[int], b: frozenset[int]) -> None:
    def q(kind: str, first: frozenset[int], second: frozenset[int], n: int = 0) -> bool:
        return quantify(Quantifier(kind, n), first, second)

    outside = frozenset(range(6)) - b
    assert q("every", a, b) == q("no", a, outside) == (not q("some", a, outside))
    assert q("the", a, b) == (q("exactly", a, a, 1) and q("every", a, b))
    assert q("exactly", a, b, 2) == (q("at least", a, b, 2) and q("at most", a, b, 2))
    assert q("some", a, b) == q("some", b, a) == q("at least", a, b, 1)


def test_mostly_is_the_worlds_own_dominant_colour() -> None:
    for index in range(150):
        scene = generate_scene(index, "train")
        graph = SceneGraph.of(scene)
        told = scene["properties"]["dominant_color"]
        assert [c for c in COLORS if holds(Mostly(c), graph)] == ([told] if told else [])
        crowd = scene["properties"]["crowdedness"]
        assert holds(Crowded(crowd), graph)


ENGINES: dict[str, Callable[[Any, SceneGraph], Any]] = {
    "executor": holds,
    "z3": lambda formula, graph: Prover(graph).decide(formula),
    "lean": lambda formula, graph: certificates([Claim("claim", graph, formula, True)]),
}


@pytest.mark.parametrize("engine", list(ENGINES))
@pytest.mark.parametrize(
    ("formula", "said"),
    [
        (Quantified(THE, Related("behind", THE, THING)), "no relation 'behind'"),
        (SceneIs("floor", "wooden"), "no property 'floor'"),
        (Quantified(THE, Has("weight", "heavy")), "no attribute 'weight'"),
    ],
)
def test_what_a_scene_does_not_tell_is_named(formula: Any, said: str, engine: str) -> None:
    scene = generate_scene(1, "train")
    del scene["relationships"]["behind"], scene["properties"]["floor"]
    graph = SceneGraph.of(scene)
    with pytest.raises(DSAError, match=said):
        ENGINES[engine](formula, graph)


def test_conjunctions_are_flat_and_know_their_type() -> None:
    red, cube = Has("color", "red"), Has("shape", "cube")
    assert conjoin(red, conjoin(cube, red)) == And((red, cube))
    assert conjoin(red) == red
    assert is_property(conjoin(red, cube))
    assert not is_property(Quantified(THE, red))
    nested = Quantified(THE, And((cube, Related("left", THE, red))))
    assert descriptions(nested) == (nested.property, red)
    with pytest.raises(DSAError, match="joins a property and a sentence"):
        is_property(And((red, Quantified(THE, red))))


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [("two words", True, "cannot name"), ("claim", 3, "denotes a number")],
)
def test_certificates_refuse_claims_that_make_no_theorem(
    name: str, value: bool | int, said: str
) -> None:
    claim = Claim(name, graph_of(0), Quantified(THE, THING), value)
    with pytest.raises(DSAError, match=said):
        certificates([claim])
