"""`dsa info`: what is installed, what a list such as the datasets holds, or what a bank holds."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dsa_env.cache import cache_folder
from dsa_env.errors import DSAError
from dsa_env.extras import DISTRIBUTION, installed_version, requirements

if TYPE_CHECKING:
    from dsa_env.bank import FeatureBank


def info(
    bank: Annotated[
        str | None,
        typer.Argument(
            help="Folder of a feature bank, 'embedded', or a list: datasets, rewards, algorithms; "
            "nothing for the install."
        ),
    ] = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="Read the whole bank and recompute every hash.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Show what is installed and registered, what a list holds, or what a feature bank holds."""
    lists = {entry.name: entry for entry in entry_points(group="dsa_env.info")}
    if bank is None or bank in lists:
        if verify:
            raise DSAError("--verify reads a bank: name its folder, as in dsa info BANK --verify.")
        facts = install_facts() if bank is None else list_facts(lists[bank].load())
    else:
        from dsa_env.bank import resolve_bank

        facts = bank_facts(resolve_bank(bank), verify=verify)
    if as_json:
        typer.echo(json.dumps(facts, indent=2, allow_nan=False, default=str))
    else:
        show(facts, as_typed=bank in lists)


def install_facts() -> dict[str, Any]:
    """Versions, extras, environments, built-in names and folders of this installation."""
    import gymnasium

    extras = requirements()
    versions = {name: installed_version(name) for group in extras.values() for name in group}
    used = {
        name for extra, group in extras.items() if extra not in ("all", "dev") for name in group
    }
    missing = {
        extra: [name for name in group if versions[name] is None]
        for extra, group in extras.items()
        if extra
    }
    return {
        "version": installed_version(DISTRIBUTION),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "environments": sorted(name for name in gymnasium.registry if name.startswith("DSA/")),
        **{entry.name: list(entry.load()) for entry in sorted(entry_points(group="dsa_env.info"))},
        "embedded_model": embedded_model(),
        "cache_folder": str(cache_folder()),
        "extras": {
            extra: f"missing {', '.join(left)}" if left else "installed"
            for extra, left in missing.items()
        },
        "dependencies": {name: versions[name] for name in sorted(used)},
    }


def list_facts(names: Mapping[str, Any]) -> dict[str, str]:
    """What each name of a list stands for, in its own words or its docstring's first line."""
    return {name: _own_words(meant) for name, meant in names.items()}


def _own_words(meant: Any) -> str:
    if "__str__" in vars(type(meant)):
        return str(meant)
    lines = ((meant.__doc__ if callable(meant) else None) or "").strip().splitlines()
    return lines[0] if lines else ""


def embedded_model() -> dict[str, Any]:
    """Where the shipped frozen model lies, which weights it has, and their size in bytes."""
    folder = Path(__file__).parent / "weights"
    files = sorted(folder.rglob("*.safetensors"))
    return {
        "present": bool(files),
        "folder": str(folder),
        "files": {file.relative_to(folder).as_posix(): file.stat().st_size for file in files},
    }


def bank_facts(bank: FeatureBank, verify: bool = False) -> dict[str, Any]:
    """A bank's shapes, splits, provenance and data hash.

    Args:
        bank: the bank to describe.
        verify: read all of it first and recompute its hashes.

    Raises:
        BankError: when `verify` finds the bank damaged.
    """
    if verify:
        bank.verify()
    images = {split: len(bank.split_images(split)) for split in bank.splits}
    return {
        "path": None if bank.path is None else str(bank.path),
        "sha256": bank.sha256,
        "verified": True if verify else None,
        "texts": bank.n_texts,
        "images": bank.n_images,
        "features": bank.dim,
        "facts": 0 if bank.fact_features is None else len(bank.fact_features),
        "splits": {
            split: {
                "images": count,
                "texts": len(bank.split_texts(split)),
                "galleries": len(bank.galleries(split)) if count else 0,
            }
            for split, count in images.items()
        },
        "kinds": list(bank.kinds),
        "fine": bank.fine,
        "temperature": bank.temperature,
        "gallery_size": bank.gallery_size,
        "arrays": {
            name: {"dtype": entry["dtype"], "shape": entry["shape"]}
            for name, entry in bank.manifest["arrays"].items()
        },
        "provenance": bank.manifest.get("provenance"),
    }


def show(facts: Mapping[str, Any], *, as_typed: bool = False) -> None:
    """Print facts as one aligned table, nested names as rows of their own.

    Args:
        facts: what to print, by name.
        as_typed: leave the names as people type them, instead of spacing their words.
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold cyan", no_wrap=True)
    table.add_column(overflow="fold")
    rows = [(name, _words(value)) for name, value in facts.items()] if as_typed else _rows(facts)
    for name, value in rows:
        table.add_row(Text(name), Text(value))
    Console().print(table)


def _rows(facts: Mapping[str, Any], depth: int = 0) -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    for name, value in facts.items():
        label = "  " * depth + str(name).replace("_", " ")
        if isinstance(value, Mapping) and value and depth < 1:
            rows += [(label, ""), *_rows(value, depth + 1)]
        else:
            rows.append((label, _words(value)))
    return rows


def _words(value: Any) -> str:
    if value is None:
        return "not given"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_words(part)}" for name, part in value.items()) or "none"
    if isinstance(value, list | tuple):
        return ", ".join(map(_words, value)) or "none"
    return str(value)
