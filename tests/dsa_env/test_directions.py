"""Every direction is made in one place and told only what it reads."""

from __future__ import annotations

import pytest

from dsa_env.bank import FeatureBank
from dsa_env.core import RetrievalCore
from dsa_env.directions import DIRECTIONS, Options, load_queries
from dsa_env.errors import DSAError
from dsa_env.retrieval.shortlist import load_retrieval


@pytest.mark.parametrize("direction", ["text_to_image", "image_to_text"])
def test_retrieval_directions_are_shortlists(synthetic_bank: FeatureBank, direction: str) -> None:
    found = load_queries(synthetic_bank, direction, "test", Options(shortlist=32))
    assert found is load_retrieval(synthetic_bank, direction, "test", shortlist=32)
    assert found.asks_pictures is (direction == "image_to_text")
    assert found.finds_pictures is (direction == "text_to_image")


@pytest.mark.parametrize(
    ("direction", "options", "message"),
    [
        ("text_to_image", {"model": "x"}, "model is for captioning; leave it out with direction"),
        ("image_to_text", {"live": True}, "live is for captioning"),
        ("text_to_image", {"grid": 5}, "grid is for captioning"),
        ("captioning", {"shortlist": 40}, "shortlist is for text_to_image, image_to_text; leave"),
        ("captioning", {"faiss": True}, "faiss is for text_to_image, image_to_text"),
        ("captionin", {}, "Unknown direction 'captionin'. Did you mean 'captioning'"),
    ],
)
def test_options_of_other_directions_are_refused(
    synthetic_bank: FeatureBank, direction: str, options: dict[str, object], message: str
) -> None:
    with pytest.raises(DSAError, match=message):
        RetrievalCore(synthetic_bank, direction, "test", **options)  # type: ignore[arg-type]


def test_every_option_belongs_to_a_direction() -> None:
    read = {name for direction in DIRECTIONS.values() for name in direction.options}
    assert read == set(vars(Options()))
