"""The optional dependencies: which extra brings which distribution, and what is installed."""

from __future__ import annotations

import re
from collections.abc import Iterable
from importlib import metadata

DISTRIBUTION = "dsa-env"

# Modules whose distribution has another name; elsewhere only "_" and "-" differ.
_DISTRIBUTION_OF = {
    "PIL": "pillow",
    "faiss": "faiss-cpu",
    "sklearn": "scikit-learn",
    "z3": "z3-solver",
}


def requirements() -> dict[str, tuple[str, ...]]:
    """Distribution names by extra, in the order of the project's metadata; "" is the base.

    An extra that names other extras of the project (``all``) holds their distributions.
    """
    direct: dict[str, list[str]] = {"": []}
    nested: dict[str, list[str]] = {}
    for requirement in metadata.requires(DISTRIBUTION) or ():
        extra = _match(r"extra == ['\"]([\w-]+)['\"]", requirement)
        names = direct.setdefault(extra, [])
        name = normalise(_match(r"([\w.-]+)", requirement))
        if name == DISTRIBUTION:
            inner = _match(r"\[([^\]]*)\]", requirement).split(",")
            nested.setdefault(extra, []).extend(part.strip() for part in inner)
        else:
            names.append(name)

    def collect(extra: str) -> Iterable[str]:
        yield from direct[extra]
        for inner in nested.get(extra, ()):
            yield from collect(inner)

    return {extra: tuple(dict.fromkeys(collect(extra))) for extra in direct}


def installed_version(distribution: str) -> str | None:
    """The version of an installed distribution, or None."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def extra_bringing(module: str, preferred: str = "") -> str | None:
    """The smallest extra that installs an importable module; None when no extra does.

    Args:
        module: a module's full name, such as ``"sklearn.linear_model"``.
        preferred: the extra to name when several bring the module.
    """
    top = module.partition(".")[0]
    distribution = normalise(_DISTRIBUTION_OF.get(top, top))
    brings = {e: names for e, names in requirements().items() if e and distribution in names}
    if preferred in brings:
        return preferred
    return min(brings, key=lambda extra: len(brings[extra]), default=None)


def normalise(name: str) -> str:
    """A distribution's name in its canonical spelling (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _match(pattern: str, text: str) -> str:
    found = re.search(pattern, text)
    return found[1] if found else ""
