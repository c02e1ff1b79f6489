"""`dsa prove` and `dsa audit` as a person runs them."""

from __future__ import annotations

import json
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from dsa_env import cli
from dsa_env.datasets.scenes import generate_scene
from dsa_env.files import write_json

ENTRIES = [
    EntryPoint(name, f"dsa_env.commands_logic:{name}", cli.GROUP) for name in ("prove", "audit")
]


@pytest.fixture
def scenes(tmp_path: Path) -> Path:
    file = tmp_path / "scenes" / "CLEVR_test_scenes.json"
    write_json(file, {"scenes": [generate_scene(index, "test") for index in range(3)]})
    return file


def dsa(*words: object) -> int:
    return cli.main(list(map(str, words)), ENTRIES)


def test_prove_lists_readings_objects_and_verdicts(
    scenes: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = "the red cube left of the ball and the cone"
    assert dsa("prove", text, "--scene", scenes, "--index", 1, "--no-lean") == 0
    told = capsys.readouterr().out
    assert "has 2 readings; on CLEVR_test_000001.png" in told
    assert "the red cube left of the sphere and left of the cone" in told
    assert "Failing: no reading survives" in told
    assert "Lean: not checked by Lean" in told
    assert "proved" not in told


def test_prove_prints_one_json_document(scenes: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert dsa("prove", "there are two cubes", "--scene", scenes, "--no-lean", "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert len(document["readings"]) == 1


def test_prove_reads_a_file_of_one_scene(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "one.json"
    write_json(file, generate_scene(0, "mine"))
    assert dsa("prove", "an object", "--scene", file, "--no-lean") == 0
    assert "Resolved" in capsys.readouterr().out


def test_without_lean_nothing_is_proved(
    scenes: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DSA_LEAN", "/nowhere/lean")
    assert dsa("prove", "an object", "--scene", scenes) == 0
    told = capsys.readouterr().out
    assert "Not checked by Lean: /nowhere/lean cannot be run" in told
    assert "proved" not in told


def test_audit_counts_what_each_engine_confirms(
    scenes: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert dsa("audit", scenes.parents[1], "--sample", 4, "--no-lean") == 0
    told = capsys.readouterr().out
    assert "labels of 4 captions" in told
    assert " confirm all " in told or "Executor confirms all " in told
    assert "Not checked by Lean: it was not asked to." in told


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("the rde cube", "--index", 0), "Unknown word 'rde'. Did you mean 'red'?"),
        (("the cube the", "--index", 0), "cannot be read"),
        (("the cube", "--index", 9), "has 3 scenes and no number 9"),
        (("the cube", "--timeout", 0), "--timeout must be above 0"),
    ],
)
def test_wrong_input_is_one_line(
    words: tuple[object, ...], said: str, scenes: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert dsa("prove", *words, "--scene", scenes) == 2
    told = capsys.readouterr().err
    assert said in told
    assert told.count("\n") == 1


def test_a_file_without_scenes_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "empty.json"
    write_json(file, {})
    assert dsa("prove", "the cube", "--scene", file) == 2
    assert "holds no scene" in capsys.readouterr().err


def test_without_z3_the_commands_say_what_to_install(
    scenes: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "z3", None)
    assert dsa("prove", "an object", "--scene", scenes, "--no-lean") == 0
    assert "Not checked by z3: it is not installed" in capsys.readouterr().out
    assert dsa("audit", scenes.parents[1], "--sample", 2, "--no-lean") == 0
    assert "Executor confirms all" in capsys.readouterr().out


def test_a_scene_without_the_relation_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scene = generate_scene(0, "mine")
    del scene["relationships"]["left"]
    write_json(tmp_path / "one.json", scene)
    words = ("prove", "a cube left of a ball", "--scene", tmp_path / "one.json", "--no-lean")
    assert dsa(*words) == 2
    assert "states no relation 'left', which the formula needs" in capsys.readouterr().err
