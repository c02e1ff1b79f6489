"""`dsa`: what a newcomer sees, and what wrong input looks like."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from dsa_env import cli

MODULE = '''
"""Commands that go well and commands that go wrong."""
from typing import Annotated
import typer
from dsa_env.errors import DSAError

def double(
    number: Annotated[int, typer.Argument(metavar="NUMBER")],
    as_json: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    """Double a number."""
    typer.echo(f'{{"doubled": {2 * number}}}' if as_json else str(2 * number))

def wrong() -> None:
    """Always refuses."""
    raise DSAError("The bank is gone;\\n  build it [again].")

def no_file() -> None:
    open("/no/such/folder/bank.json")

def needs_a_library() -> None:
    import optuna_that_is_missing.samplers

def needs_faiss() -> None:
    raise ModuleNotFoundError("No module named 'faiss'", name="faiss")

def needs_torch() -> None:
    raise ModuleNotFoundError("No module named 'torch'", name="torch.nn")

def interrupted() -> None:
    raise KeyboardInterrupt

def bug() -> None:
    {}["a bug"]

def stops_with_three() -> None:
    raise typer.Exit(3)
'''
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run `dsa` with commands of a test module; gives exit code, standard output and error."""
    (tmp_path / "toy_commands.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "toy_commands", raising=False)
    monkeypatch.setenv("COLUMNS", "100")
    names = re.findall(r"^def (\w+)", MODULE, flags=re.MULTILINE)
    entries = [EntryPoint(name, f"toy_commands:{name}", cli.GROUP) for name in names]
    entries += [
        EntryPoint("absent", "module_that_is_missing.commands:absent", cli.GROUP),
        EntryPoint("forgotten", "toy_commands:forgotten", cli.GROUP),
    ]

    def invoke(*words: str) -> tuple[int, str, str]:
        code = cli.main(words, entries)
        shown = capsys.readouterr()
        return code, shown.out, shown.err

    return invoke


def test_a_command_runs_and_prints_on_standard_output(run: Run) -> None:
    assert run("double", "21") == (0, "42\n", "")
    assert run("double", "21", "--json") == (0, '{"doubled": 42}\n', "")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("wrong",), "The bank is gone; build it [again]."),
        (("double",), "Missing argument 'NUMBER'. Try: dsa double --help"),
        (
            ("double", "two"),
            "valid integer, unable to parse string as an integer. Try: dsa double --help",
        ),
        (("double", "2", "--jsn"), "--jsn"),
        (("dubble", "2"), "double"),
        (("no_file",), "/no/such/folder/bank.json: No such file or directory"),
        (("needs_faiss",), 'pip install "dsa-env[faiss]"'),
        (("needs_torch",), 'pip install "dsa-env[encoders]"'),
        (("absent", "--epochs", "3"), "module_that_is_missing"),
        (("forgotten",), "forgotten"),
    ],
)
def test_wrong_input_is_one_line_on_standard_error_and_code_two(
    run: Run, words: tuple[str, ...], says: str
) -> None:
    code, out, err = run(*words)
    assert (code, out) == (2, "")
    assert says in err
    assert err.count("\n") == 1
    assert err.endswith("\n")


def test_an_interrupt_is_one_line_and_code_130(run: Run) -> None:
    assert run("interrupted") == (130, "", "Interrupted.\n")


def test_a_command_chooses_its_own_exit_code(run: Run) -> None:
    assert run("stops_with_three") == (3, "", "")


def test_a_bug_keeps_its_traceback(run: Run) -> None:
    with pytest.raises(KeyError):
        run("bug")
    with pytest.raises(ModuleNotFoundError):  # no extra brings it, so no advice is honest
        run("needs_a_library")


@pytest.mark.parametrize("words", [(), ("--help",), ("-h",)])
def test_help_lists_every_command_with_its_line(run: Run, words: tuple[str, ...]) -> None:
    code, out, err = run(*words)
    assert (code, err) == (0, "")
    assert "Double a number." in out
    assert "Always refuses." in out
    assert "Not available" in out
    assert "dsa demo" in out


def test_the_installed_program_lists_the_commands_in_a_newcomers_order() -> None:
    names = [entry.name for entry in cli.commands()]
    assert names == [
        *("demo", "info", "build", "train", "evaluate", "tune", "export"),
        *("benchmark", "align", "benchmark-alignment", "prove", "audit", "pretrain"),
    ]
    panels = [name for group in cli.PANELS.values() for name in group]
    assert panels == names


def test_every_installed_command_loads_and_has_help_of_one_sentence() -> None:
    for entry in cli.commands():
        first = (entry.load().__doc__ or "").strip().partition("\n")[0]
        assert first.endswith("."), entry.name


def test_version_and_help_load_no_heavy_library() -> None:
    program = (
        "import sys\nfrom dsa_env.cli import main\n"
        "code = main(sys.argv[1:])\n"
        "heavy = {'torch', 'stable_baselines3', 'transformers', 'optuna', 'pandas', 'scipy'}\n"
        "sys.exit(code or ' '.join(heavy & set(sys.modules)) or None)"
    )
    for word in ("--help", "--version"):
        result = subprocess.run(
            [sys.executable, "-c", program, word], capture_output=True, text=True, check=False
        )
        assert result.returncode == 0, result.stderr
        assert "dsa" in result.stdout
