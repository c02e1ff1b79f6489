"""Lean as the judge of certificates: really run, and replaced by programs that misbehave."""

from __future__ import annotations

import stat
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from dsa_env.datasets.scenes import generate_scene
from dsa_env.logic import lean
from dsa_env.logic.evaluate import denotation, holds
from dsa_env.logic.formulas import THE, Alike, Has, Quantified
from dsa_env.logic.parser import parse
from dsa_env.logic.scene_graph import SceneGraph
from dsa_env.logic.to_lean import CONTROL, Claim, certificates
from tests.dsa_env.logic.lean_setup import SetUpError, set_up_lean

GRAPH = SceneGraph.of(generate_scene(3, "test"))
CUBES = Has("shape", "cube")
TEXTS = (
    "the small cube left of the sphere and the cone",
    "a metal sphere that is not left of every cube",
    "every cube is left of a sphere",
    "at least two red cubes or exactly one small object",
    "there are more spheres than cubes",
    "a crowded scene in warm light with objects in a row and mostly red objects",
)


def claims() -> list[Claim]:
    """The truth of some sentences, and how many objects a description fits."""
    made = []
    for text in TEXTS:
        for reading in parse(text):
            truth = holds(reading.sentence, GRAPH)
            made.append(Claim(f"claim{len(made)}", GRAPH, reading.sentence, truth))
            for part in reading.descriptions:
                size = len(denotation(part, GRAPH))
                made.append(Claim(f"claim{len(made)}", GRAPH, part, size))
    alike = Quantified(THE, CUBES, Alike("color", THE, CUBES))
    made.append(Claim("alike", GRAPH, alike, holds(alike, GRAPH)))
    return made


def other(value: bool | int) -> bool | int:
    """What a claim with this value must not claim."""
    return not value if isinstance(value, bool) else value + 1


def fake_lean(folder: Path, script: str) -> str:
    """A `lean` that runs a shell script."""
    file = folder / "lean"
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(file.stat().st_mode | stat.S_IXUSR)
    return str(file)


def alive(status: Path) -> bool:
    """Whether a process runs, by its file in /proc."""
    try:
        return "State:\tZ" not in status.read_text()
    except OSError:
        return False


@pytest.fixture
def real_lean(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Lean itself: what is installed, or what npm brings for the time of a test."""
    if lean.find_lean() is not None:
        yield
        return
    if not Path("/tmp").is_dir():
        pytest.skip("no Lean here: there is no /tmp to set it up in")
    with tempfile.TemporaryDirectory(prefix="dsa-lean-", dir="/tmp") as folder:
        try:
            monkeypatch.setenv(lean.VARIABLE, str(set_up_lean(Path(folder))))
        except SetUpError as error:
            pytest.skip(f"no Lean here: {error}")
        yield


@pytest.mark.slow
@pytest.mark.usefixtures("real_lean")
def test_lean_accepts_true_certificates_and_rejects_false_ones() -> None:
    true = claims()
    false = [replace(c, name=f"wrong_{c.name}", value=other(c.value)) for c in true[:4]]
    report = lean.check([*true, *false])
    assert report.reason is None
    assert {report.verdicts[c.name] for c in true} == {lean.ACCEPTED}
    assert {report.verdicts[c.name] for c in false} == {lean.REJECTED}


def test_without_lean_nothing_is_called_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(lean.VARIABLE, raising=False)
    monkeypatch.setenv("PATH", "")
    report = lean.check(claims())
    assert set(report.verdicts.values()) == {lean.NOT_CHECKED}
    assert report.reason == "there is no `lean` on PATH, and DSA_LEAN names none"


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("echo boom >&2; exit 3", "exit code 3; it said: boom"),
        ("exit 0", "did not check the file to its end"),
        ("echo 'all theorems are accepted'", "it said: all theorems are accepted"),
        ("head -c 3000 /dev/urandom; exit 1", "did not check the file to its end"),
        ("echo 'certificates.lean:9:0: error: unknown module prefix Init'; exit 1", "line 9"),
        ("kill -9 $$", "exit code -9"),
    ],
)
def test_a_lean_that_fails_or_prints_rubbish_checks_nothing(
    script: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(lean.VARIABLE, fake_lean(tmp_path, script))
    report = lean.check(claims())
    assert set(report.verdicts.values()) == {lean.NOT_CHECKED}
    assert report.reason is not None
    assert said in report.reason
    assert "\n" not in report.reason


def test_a_lean_that_hangs_is_ended_with_all_that_it_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = f"sleep 60 & echo $! > {tmp_path}/child; wait"
    monkeypatch.setenv(lean.VARIABLE, fake_lean(tmp_path, script))
    report = lean.check(claims(), timeout=0.7)
    assert set(report.verdicts.values()) == {lean.NOT_CHECKED}
    assert report.reason == "Lean took more than 1 s and was ended"
    status = Path("/proc") / (tmp_path / "child").read_text().strip() / "status"
    until = time.monotonic() + 10
    while alive(status) and time.monotonic() < until:
        time.sleep(0.05)
    assert not alive(status)


def test_a_lean_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(lean.VARIABLE, "/nowhere/lean")
    report = lean.check(claims())
    assert report.reason == "/nowhere/lean cannot be run (No such file or directory)"


def test_verdicts_are_read_by_line_and_debug_lines_do_not_count() -> None:
    file = certificates(claims())
    at, control = file.lines["claim1"], file.lines[CONTROL]
    output = (
        "[DEBUG:A] lean_main entered\n"
        f"certificates.lean:{at}:0: error: Not a definitional equality: the left-hand side\n"
        f"certificates.lean:{file.lines['claim2']}:0: error: maximum recursion depth\n"
        f"certificates.lean:{file.lines['claim3']}:0: warning: declaration uses 'sorry'\n"
        f"certificates.lean:{control}:60: error: Type mismatch\n"
    )
    report = lean.read_output(file, output, 1)
    assert report.verdicts["claim0"] == lean.ACCEPTED
    assert report.verdicts["claim1"] == lean.REJECTED
    assert report.verdicts["claim2"] == lean.NOT_CHECKED
    assert report.verdicts["claim3"] == lean.NOT_CHECKED
    assert report.reason is not None
    assert "maximum recursion depth" in report.reason
