"""Errors name the cause and the cure in one line."""

from __future__ import annotations

import pytest

from dsa_env.errors import BankError, DSAError, unknown


def test_errors_are_value_errors() -> None:
    assert issubclass(DSAError, ValueError)
    assert issubclass(BankError, DSAError)


def test_unknown_suggests_the_nearest_name_and_lists_all() -> None:
    error = unknown("split", "tran", ["train", "test"])
    assert str(error) == "Unknown split 'tran'. Did you mean 'train'? Available: train, test."


@pytest.mark.parametrize(
    ("options", "ending"), [(["train"], "Available: train."), ([], "Available: none.")]
)
def test_unknown_suggests_nothing_when_nothing_is_near(options: list[str], ending: str) -> None:
    message = str(unknown("split", "zzz", options))
    assert "Did you mean" not in message
    assert message.endswith(ending)
