"""Words of the command line become models and controllers; wrong numbers are refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from dsa_agents.benchmark.plan import Plan, is_controller, sort_words
from dsa_env.controller import GranularityController
from dsa_env.errors import DSAError


@pytest.fixture
def controller(tmp_path: Path) -> str:
    GranularityController({"text": 3}, hidden=()).save_pretrained(tmp_path / "controller")
    return str(tmp_path / "controller")


def test_words_that_no_option_took_are_told_apart_by_what_lies_there(controller: str) -> None:
    models, controllers = sort_words(
        ["llava-1.5=hub/llava"],
        [f"llava-1.5={controller}"],
        ["blip-2=hub/blip", f"blip-2={controller}", "flamingo=hub/idefics"],
    )
    assert models == {
        "llava-1.5": "hub/llava",
        "blip-2": "hub/blip",
        "flamingo": "hub/idefics",
    }
    assert controllers == {"llava-1.5": controller, "blip-2": controller}


def test_a_controller_without_a_name_is_for_whatever_it_fits(controller: str) -> None:
    assert sort_words([], [controller], []) == ({}, {"": controller})
    assert sort_words(["a=m"], [], [controller]) == ({"a": "m"}, {"": controller})


def test_a_path_with_an_equals_sign_keeps_it() -> None:
    assert sort_words(["a=/data/lr=1/model"], [], [])[0] == {"a": "/data/lr=1/model"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((["llava"], [], []), "NAME=PATH"),
        ((["a=x", "a=y"], [], []), "twice"),
        (([], ["x", "y"], []), "without a model's name"),
        (([], [], ["stray"]), "NAME=PATH"),
    ],
)
def test_what_is_wrong_is_said(words: tuple[list[str], list[str], list[str]], message: str) -> None:
    with pytest.raises(DSAError, match=message):
        sort_words(*words)


def test_models_folders_are_no_controllers(tmp_path: Path, controller: str) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "llava"}')
    assert not is_controller(str(tmp_path))
    assert not is_controller(str(tmp_path / "nowhere"))
    assert is_controller(controller)
    (tmp_path / "config.json").write_text("{broken")
    assert not is_controller(str(tmp_path))


@pytest.mark.parametrize(
    "settings",
    [
        {"pictures": 0},
        {"batch": 0},
        {"grid": 1},
        {"rounds": -1},
        {"resamples": -1},
        {"prompts": ()},
        {"prompts": ("a", "a")},
    ],
)
def test_numbers_out_of_range_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(DSAError, match=next(iter(settings))):
        Plan(**settings)  # type: ignore[arg-type]
