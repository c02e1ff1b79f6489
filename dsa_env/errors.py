"""The errors people meet: one line that names the cause and the cure."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class DSAError(ValueError):
    """Wrong input; the message is one line naming the cause and the cure."""


class BankError(DSAError):
    """A feature bank, or what was given to make one, is unusable."""


def unknown(kind: str, name: str, options: Iterable[str]) -> DSAError:
    """The error for a name that does not exist; suggests the nearest one and lists the options.

    Args:
        kind: what the name stands for, such as ``"split"``.
        name: the name that was given.
        options: the names that exist.
    """
    known = [str(option) for option in options]
    nearest = difflib.get_close_matches(str(name), known, n=1)
    hint = f" Did you mean {nearest[0]!r}?" if nearest else ""
    listed = ", ".join(known) if known else "none"
    return DSAError(f"Unknown {kind} {name!r}.{hint} Available: {listed}.")
