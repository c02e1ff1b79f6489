"""`dsa`: one program whose subcommands are entry points of the group `dsa_env.commands`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from importlib.metadata import EntryPoint, entry_points
from typing import Annotated, Any

import typer

from dsa_env.errors import DSAError
from dsa_env.extras import DISTRIBUTION, extra_bringing, installed_version

GROUP = "dsa_env.commands"
PANELS = {
    "Start here": ("demo", "info"),
    "Step by step, with your own data": ("build", "train", "evaluate", "tune", "export"),
    "Inside a generating model": ("benchmark",),
    "Features that do not meet yet": ("align", "benchmark-alignment"),
    "What a query means": ("prove", "audit"),
    "How the embedded model was made": ("pretrain",),
}
HELP = """
Learn how much detail a frozen vision-language model should use for each query.

A bank holds a model's coarse and fine features of your images and captions. A run trains an agent
that blends the two, query by query, and is compared with every baseline that matters.
"""
EPILOG = """
Where to begin:

dsa demo            train and compare, end to end, with a report to read

dsa info            what is installed, registered and cached

dsa train --help    the same with your own features and reward
"""
INTERRUPTED = 130


def commands() -> list[EntryPoint]:
    """The subcommands that the installed packages contribute, in the order of the help."""
    order = [name for names in PANELS.values() for name in names]
    found = {entry.name: entry for entry in entry_points(group=GROUP)}
    known = [found.pop(name) for name in order if name in found]
    return known + [found[name] for name in sorted(found)]


def build_app(entries: Iterable[EntryPoint]) -> typer.Typer:
    """The typer application with one command per entry point."""
    app = typer.Typer(
        name="dsa",
        help=HELP,
        epilog=EPILOG,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode="markdown",
        context_settings={"help_option_names": ["-h", "--help"]},
    )

    @app.callback()
    def options(
        version: Annotated[
            bool,
            typer.Option("--version", callback=_version, is_eager=True, help="Show the version."),
        ] = False,
    ) -> None:
        pass

    for entry in entries:
        panel = next((panel for panel, names in PANELS.items() if entry.name in names), "More")
        function, settings = _load(entry)
        app.command(entry.name, rich_help_panel=panel, context_settings=settings)(function)
    return app


def main(
    arguments: Sequence[str] | None = None, entries: Sequence[EntryPoint] | None = None
) -> int:
    """Run `dsa` and return its exit code; wrong input is one line on standard error and code 2.

    Args:
        arguments: the words after ``dsa``; those of the process when None.
        entries: the subcommands; those of the installed packages when None.
    """
    entries = commands() if entries is None else entries
    words = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
    try:
        result = typer.main.get_command(build_app(entries))(
            args=words, prog_name="dsa", standalone_mode=False
        )
    except typer.TyperException as error:
        message = error.format_message().rstrip(".") + "."
        context = getattr(error, "ctx", None)
        return _fail(message + (f" Try: {context.command_path} --help" if context else ""))
    except DSAError as error:
        return _fail(str(error))
    except ModuleNotFoundError as error:
        extra = extra_bringing(error.name or "", preferred=_extra_of_command(words, entries))
        if extra is None:
            raise
        return _fail(
            f"This needs {error.name}, which is not installed. "
            f'Install it with: pip install "{DISTRIBUTION}[{extra}]"'
        )
    except OSError as error:
        return _fail(f"{error.filename}: {error.strerror}" if error.filename else str(error))
    if result == INTERRUPTED:
        return _fail("Interrupted.", code=INTERRUPTED)
    return result if isinstance(result, int) else 0


def _load(entry: EntryPoint) -> tuple[Callable[..., Any], dict[str, Any]]:
    """A command's function and context settings; one that cannot be loaded says why when run."""
    try:
        return entry.load(), {}
    except (ImportError, AttributeError) as error:
        reason = f"The command {entry.name!r} cannot be loaded from {entry.value}: {error}."

    def unavailable() -> None:
        raise DSAError(reason)

    unavailable.__doc__ = f"(Not available: {entry.module} cannot be imported.)"
    return unavailable, {"allow_extra_args": True, "ignore_unknown_options": True}


def _extra_of_command(words: Sequence[str], entries: Sequence[EntryPoint]) -> str:
    """The extra that brings what the command's own package needs."""
    package = next((entry.module for entry in entries if entry.name in words), "").split(".")[0]
    return {"dsa_agents": "agents", "dsa_tuning": "tuning"}.get(package, "encoders")


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"{DISTRIBUTION} {installed_version(DISTRIBUTION)}")
        raise typer.Exit


def _fail(message: str, code: int = 2) -> int:
    """Print one red line on standard error."""
    from rich.console import Console
    from rich.text import Text

    line = Text(" ".join(message.split()), style="red")
    Console(stderr=True).print(line, soft_wrap=True)
    return code
