"""Seeded splits by image are disjoint, whole and stable."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsa_env.datasets.splitting import complete, split_name
from dsa_env.errors import DSAError


@given(st.lists(st.integers(0, 99), min_size=12, unique=True), st.integers(0, 5))
def test_splits_by_image_are_disjoint_whole_and_independent_of_order(
    numbers: list[int], seed: int
) -> None:
    items = [(number, copy) for number in numbers for copy in "ab"]  # two rows an image
    splits, said = complete({"train": items}, lambda item: str(item[0]), 0.1, seed)
    assert list(splits) == ["train", "validation", "test"]
    assert sorted(item for part in splits.values() for item in part) == sorted(items)
    images = [{number for number, _ in part} for part in splits.values()]
    assert sum(map(len, images)) == len(numbers)
    assert len(images[1]) == len(images[2]) == max(1, round(0.1 * len(numbers)))
    assert f"seed {seed}" in said
    again, _ = complete({"train": items[::-1]}, lambda item: str(item[0]), 0.1, seed)
    assert {name: set(part) for name, part in again.items()} == {
        name: set(part) for name, part in splits.items()
    }


def test_what_the_files_give_stays() -> None:
    found = {"train": ["a", "b", "c"], "validation": ["d"], "test": ["e"]}
    assert complete(found, str, 0.1, 0)[0] == found
    assert complete({"test": ["e"]}, str, 0.1, 0)[0] == {"test": ["e"]}
    moved, said = complete({"train": ["a", "b"], "validation": ["d"]}, str, 0.1, 0)
    assert moved["test"] == ["d"]
    assert "validation pictures are the test split" in said
    held, _ = complete({"train": ["a", "b", "c"], "test": ["e"]}, str, 0.3, 0)
    assert [len(held[name]) for name in ("train", "validation", "test")] == [2, 1, 1]


def test_only_pictures_that_are_there_are_held_out() -> None:
    splits, _ = complete({"train": list("abcdef")}, str, 0.4, 0, lambda item: item > "c")
    assert set("abc") <= set(splits["train"])
    assert complete({"train": ["a", "b"]}, str, 0.1, 0, lambda _: False)[0] == {"train": ["a", "b"]}
    with pytest.raises(DSAError, match="1 have a file, too few to hold out test and validation"):
        complete({"train": ["a", "b"]}, str, 0.1, 0, lambda item: item == "a")


def test_splits_have_many_names() -> None:
    assert [split_name(word, "x") for word in ("Train", " val", "restval", "dev")] == [
        "train", "validation", "train", "validation",
    ]  # fmt: skip
    with pytest.raises(DSAError, match=r"Unknown split in a\.csv 'tset'. Did you mean 'test'"):
        split_name("tset", "a.csv")
