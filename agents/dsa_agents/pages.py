"""Pages that need no other file and no network: one HTML file from a template."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dsa_env.files import write_text


def write_page(path: Path, package: str, template: str, context: Mapping[str, Any]) -> Path:
    """Fill in a template and write it, atomically; whatever comes from users is escaped.

    Args:
        path: the HTML file.
        package: whose ``templates`` folder holds the template; it may include this package's.
        template: its file name.
        context: what it shows.
    """
    from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=ChoiceLoader([PackageLoader(package), PackageLoader("dsa_agents")]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    write_text(path, environment.get_template(template).render(context))
    return path


def flat(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Nested values as rows of text."""
    rows: list[tuple[str, str]] = []
    for name, value in values.items():
        if isinstance(value, Mapping):
            rows += [(f"{name} {inner}", text) for inner, text in flat(value)]
        else:
            rows.append((name, value if isinstance(value, str) else json.dumps(value)))
    return rows


def png_data(png: bytes) -> str:
    """A PNG as a data URI."""
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")
