"""Which extra brings a missing module."""

from __future__ import annotations

import pytest

from dsa_env.extras import extra_bringing, installed_version, normalise, requirements


def test_the_base_needs_no_learning_library() -> None:
    base = requirements()[""]
    assert {"numpy", "gymnasium"} <= set(base)
    assert not {"torch", "transformers", "stable-baselines3", "optuna"} & set(base)


def test_an_extra_that_names_others_holds_their_distributions() -> None:
    extras = requirements()
    assert set(extras["agents"]) < set(extras["tuning"])
    assert set(extras["all"]) == {  # of all but what is only measured beside
        name for extra, group in extras.items() if extra not in ("", "bench") for name in group
    }


@pytest.mark.parametrize(
    ("module", "preferred", "extra"),
    [
        ("transformers.models.clip", "", "encoders"),
        ("stable_baselines3", "", "agents"),
        ("sklearn.linear_model", "encoders", "agents"),
        ("torch", "agents", "agents"),
        ("torch.nn", "encoders", "encoders"),
        ("faiss", "", "faiss"),
        ("optuna", "", "tuning"),
        ("numpy", "", None),
        ("no_such_module", "", None),
    ],
)
def test_the_extra_to_install_is_the_smallest_or_the_preferred_one(
    module: str, preferred: str, extra: str | None
) -> None:
    assert extra_bringing(module, preferred) == extra


def test_versions_are_those_installed() -> None:
    import numpy

    assert installed_version("numpy") == numpy.__version__
    assert installed_version("no-such-distribution") is None


def test_names_are_compared_in_their_canonical_spelling() -> None:
    assert normalise("Sb3_Contrib") == normalise("sb3.contrib") == "sb3-contrib"
