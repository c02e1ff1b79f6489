"""Captions are read for the things they name."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsa_env.datasets.coco_vocabulary import CATEGORIES, OTHER_WORDS, coco_mentions
from dsa_env.datasets.mentions import Mentions, merge_plurals, singulars, words


@pytest.mark.parametrize(
    ("caption", "mentioned"),
    [
        ("A man rides two bicycles.", ("person", "bicycle")),
        ("Women and children wait at a bus stop", ("person",)),
        ("Two hot dogs and a dog", ("hot dog", "dog")),
        ("Some wine glasses beside the knives", ("wine glass", "knife")),
        ("A stop sign by the traffic lights", ("stop sign", "traffic light")),
        ("a BABY ELEPHANT with a teddy bear", ("elephant", "teddy bear")),
        ("geese, mice; oxen & sheep!", ("bird", "mouse", "cow", "sheep")),
        ("The catcher's mitt on the woman's sofa", ("person", "baseball glove", "couch")),
        ("an orange and an apple", ("orange", "apple")),
        ("a bowl of oranges", ("bowl", "orange")),
        ("an orange cat under an orange sky", ("cat",)),
        ("the bus is orange", ("bus",)),
        ("an orange and white cat", ("cat",)),
        ("a sign that is white and orange", ()),
        ("orange", ("orange",)),
        ("an orange", ("orange",)),
        ("a mother and baby giraffe; a calf with its mother", ("giraffe", "cow")),
        ("train tracks under cloudy skies", ()),
        ("a train on the train tracks", ("train",)),
        ("a couple of bananas", ("banana",)),
        ("a toilet seat, toilet paper and a seat", ("toilet", "chair")),
        ("skiing down a ski slope on skis", ("skis",)),
        ("a flat-screen T.V.", ("tv",)),
        ("", ()),
    ],
)
def test_coco_captions_mention_categories(caption: str, mentioned: tuple[str, ...]) -> None:
    assert coco_mentions()(caption) == mentioned


def test_there_are_eighty_categories_and_each_finds_itself_and_its_plural() -> None:
    assert len(CATEGORIES) == 80
    for category in CATEGORIES:
        assert coco_mentions()(f"there is a {category}") == (category,)
    for plural in ("buses", "benches", "cherries", "zebras", "scissors", "couches", "sandwiches"):
        assert len(coco_mentions()(plural)) == (plural != "cherries")


def test_no_word_stands_for_two_categories() -> None:
    told = [word for others in OTHER_WORDS.values() for word in others.split(", ") if word]
    assert len(told) == len(set(told) - set(CATEGORIES))


@given(
    st.lists(st.sampled_from(["cat", "red cat", "cats", "of", "dog", "red", "dogs"]), max_size=9)
)
def test_the_longest_name_wins_and_the_rest_is_left_alone(parts: list[str]) -> None:
    find = Mentions({"cat": "cat", "red cat": "red cat", "dog": "dog"})
    told = words(" ".join(parts))
    found = find.find_in(told)
    for mention in found:
        used = mention.name.split()
        assert told[mention.start : mention.start + len(used)] == used
    ends = [mention.start + len(mention.name.split()) for mention in found]
    assert all(end <= later.start for end, later in zip(ends, found[1:], strict=False))
    nouns = [n for n, word in enumerate(told) if word in ("cat", "cats", "dog", "dogs")]
    assert len(found) == len(nouns)
    for mention, noun in zip(found, nouns, strict=True):
        is_red = told[noun].startswith("cat") and noun > 0 and told[noun - 1] == "red"
        assert mention.meaning == ("red " if is_red else "") + told[noun].rstrip("s")


@given(st.text())
def test_any_text_is_read(text: str) -> None:
    assert set(coco_mentions()(text)) <= set(CATEGORIES)


def test_plurals_merge_only_with_singulars_that_exist() -> None:
    merged = merge_plurals(["tree", "trees", "glass", "glasses", "pants", "red cars", "bus"])
    assert merged == {
        "tree": "tree", "trees": "tree", "glass": "glass", "glasses": "glasses",
        "pants": "pants", "red cars": "red cars", "bus": "bus",
    }  # fmt: skip
    assert "woman" in singulars("women")
    assert "policeman" in singulars("policemen")
    assert "leaf" in singulars("leaves")
