"""Identities of the set operations, on scenes of every kind."""

from __future__ import annotations

import functools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsa_env.datasets.scenes import generate_scene
from dsa_env.errors import DSAError
from dsa_env.logic import operations as op
from dsa_env.logic.scene_graph import ATTRIBUTES, VOCABULARY, SceneGraph

CONVERSES = {"left": "right", "right": "left", "behind": "front", "front": "behind"}


@functools.cache
def graph_of(index: int) -> SceneGraph:
    return SceneGraph.of(generate_scene(index, "train"))


graphs = st.integers(0, 40).map(graph_of)
values = st.sampled_from([(name, word) for name, words in VOCABULARY.items() for word in words])


@given(graphs, st.data())
def test_de_morgan(graph: SceneGraph, data: st.DataObject) -> None:
    sets = st.frozensets(st.integers(0, len(graph) - 1))
    a, b = data.draw(sets), data.draw(sets)
    outside = functools.partial(op.complement, graph)
    assert outside(op.union(a, b)) == op.intersect(outside(a), outside(b))
    assert outside(op.intersect(a, b)) == op.union(outside(a), outside(b))
    assert outside(outside(a)) == a
    assert op.union(a, a) == a == op.intersect(a, a)
    assert op.union(a, op.everything(graph)) == op.everything(graph)
    assert op.intersect(a, op.everything(graph)) == a
    assert op.union(a, b) == op.union(b, a)
    assert op.count(op.union(a, b)) == op.count(a) + op.count(b) - op.count(op.intersect(a, b))


@given(graphs, values, values)
def test_filters_commute_and_are_intersections(
    graph: SceneGraph, first: tuple[str, str], second: tuple[str, str]
) -> None:
    everything = op.everything(graph)
    a, b = (op.filter_by(graph, everything, *value) for value in (first, second))
    assert op.filter_by(graph, a, *second) == op.filter_by(graph, b, *first) == op.intersect(a, b)
    assert op.filter_by(graph, a, *first) == a
    assert op.count(a) == sum(value == first[1] for value in graph.column(first[0]))
    assert op.exist(a) == (op.count(a) > 0)


@given(graphs, st.sampled_from(ATTRIBUTES))
def test_the_values_of_an_attribute_part_the_scene(graph: SceneGraph, attribute: str) -> None:
    parts = [
        op.filter_by(graph, op.everything(graph), attribute, word) for word in VOCABULARY[attribute]
    ]
    assert sum(map(op.count, parts)) == len(graph)
    assert frozenset().union(*parts) == op.everything(graph)


@given(graphs, st.sampled_from(list(CONVERSES)))
def test_relations_have_converses(graph: SceneGraph, relation: str) -> None:
    for i in range(len(graph)):
        assert i not in op.relate(graph, i, relation)
        for j in range(len(graph)):
            found = j in op.relate(graph, i, relation)
            assert found == (i in op.relate(graph, j, CONVERSES[relation]))


@given(graphs, st.sampled_from(ATTRIBUTES))
def test_same_means_the_others_alike(graph: SceneGraph, attribute: str) -> None:
    for i in range(len(graph)):
        alike = op.same(graph, i, attribute)
        assert i not in alike
        assert all(i in op.same(graph, j, attribute) for j in alike)
        own = op.filter_by(graph, op.everything(graph), attribute, op.query(graph, i, attribute))
        assert own == alike | {i}


def test_unique_wants_exactly_one() -> None:
    assert op.unique(frozenset({3})) == 3
    for objects in (frozenset(), frozenset({1, 2})):
        with pytest.raises(op.NotUniqueError, match=f"there are {len(objects)}"):
            op.unique(objects)


def test_unknown_names_suggest_the_nearest() -> None:
    graph = graph_of(0)
    with pytest.raises(DSAError, match="Did you mean 'color'"):
        op.filter_by(graph, op.everything(graph), "colour", "red")
    with pytest.raises(DSAError, match="Did you mean 'cylinder'"):
        op.filter_by(graph, op.everything(graph), "shape", "cylinderr")
    with pytest.raises(DSAError, match="Did you mean 'left'"):
        op.relate(graph, 0, "leftt")
    with pytest.raises(DSAError, match="no number 99"):
        op.query(graph, 99, "color")
