"""Lean 4 as the judge of certificates: runs the `lean` command and reads what it accepted.

Lean is the command in the environment variable DSA_LEAN, else `lean` on PATH. Where there is none,
or it fails, hangs or prints what cannot be read, every verdict is "not checked by Lean": nothing is
called proved that Lean did not accept.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from dsa_env.logic.to_lean import CONTROL, Claim, LeanFile, certificates

ACCEPTED, REJECTED, NOT_CHECKED = "accepted", "rejected", "not checked by Lean"
VARIABLE = "DSA_LEAN"
START_SECONDS, CLAIM_SECONDS = 240.0, 2.0
"""How long Lean may take, where no time-out is given: to start, and for every claim."""

_MESSAGE = re.compile(r"certificates\.lean:(\d+):\d+: (error|warning)(?:\([^)]*\))?: ?(.*)")
_UNEQUAL = re.compile(r"not a definitional equality|type mismatch|not definitionally equal", re.I)


@dataclass(frozen=True)
class LeanReport:
    """What Lean said of a file of certificates.

    Attributes:
        verdicts: "accepted", "rejected" or "not checked by Lean", by the claim's name.
        reason: why something was not checked, in one line; None where all was.
        seconds: what the process took.
    """

    verdicts: dict[str, str]
    reason: str | None
    seconds: float


def find_lean() -> list[str] | None:
    """The command that runs Lean, as words; None where there is none."""
    named = os.environ.get(VARIABLE, "").strip()
    if named:
        return [str(Path(named).absolute())] if Path(named).is_file() else shlex.split(named)
    found = shutil.which("lean")
    return [found] if found else None


def check(claims: Sequence[Claim], timeout: float | None = None) -> LeanReport:
    """Let Lean check claims, all in one file and one process.

    Args:
        claims: what to check; see `dsa_env.logic.to_lean.certificates` for what it raises.
        timeout: seconds the process may take; None for `START_SECONDS` and `CLAIM_SECONDS` a claim.
    """
    if not claims:
        return LeanReport({}, None, 0.0)
    file = certificates(claims)
    command = find_lean()
    if command is None:
        return _unchecked(file, f"there is no `lean` on PATH, and {VARIABLE} names none", 0.0)
    limit = START_SECONDS + CLAIM_SECONDS * len(claims) if timeout is None else timeout
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="dsa-lean-") as folder:
        (Path(folder) / "certificates.lean").write_text(file.text, encoding="utf-8")
        try:
            output, code = _run([*command, "certificates.lean"], Path(folder), limit)
        except OSError as error:
            reason = f"{' '.join(command)} cannot be run ({error.strerror})"
            return _unchecked(file, reason, time.monotonic() - started)
    seconds = time.monotonic() - started
    if code is None:
        return _unchecked(file, f"Lean took more than {limit:.0f} s and was ended", seconds)
    return read_output(file, output, code, seconds)


def read_output(file: LeanFile, output: str, code: int, seconds: float = 0.0) -> LeanReport:
    """Lean's verdicts from what it printed.

    A theorem is accepted when Lean read the file to its end, rejected the control there, and had
    nothing to say about the theorem; other lines of the output, such as debugging, do not count.

    Args:
        file: what it checked.
        output: what it printed on both streams.
        code: its exit code.
        seconds: what it took.
    """
    messages: dict[int, list[tuple[str, str]]] = {}
    theorems = set(file.lines.values())
    for found in filter(None, map(_MESSAGE.search, output.splitlines())):
        place, severity, told = int(found[1]), found[2], found[3]
        if severity == "error" and place not in theorems:
            return _unchecked(file, f"Lean does not understand line {place}: {told}", seconds)
        messages.setdefault(place, []).append((severity, told))
    if _verdict(messages.get(file.lines[CONTROL], [])) != REJECTED or code != 1:
        last = _last_line(output)
        reason = f"Lean did not check the file to its end (exit code {code}{last})"
        return _unchecked(file, reason, seconds)
    verdicts = {
        name: _verdict(messages.get(line, []))
        for name, line in file.lines.items()
        if name != CONTROL
    }
    undecided = [name for name, verdict in verdicts.items() if verdict == NOT_CHECKED]
    problem: str | None = None
    if undecided:
        said = messages[file.lines[undecided[0]]][0][1]
        problem = f"Lean left {len(undecided)} of {len(verdicts)} claims undecided: {said}"
    return LeanReport(verdicts, problem, seconds)


def _verdict(messages: list[tuple[str, str]]) -> str:
    if all(kind == "warning" and "sorry" not in told for kind, told in messages):
        return ACCEPTED
    unequal = any(kind == "error" and _UNEQUAL.search(told) for kind, told in messages)
    return REJECTED if unequal else NOT_CHECKED


def _unchecked(file: LeanFile, reason: str, seconds: float) -> LeanReport:
    verdicts = {name: NOT_CHECKED for name in file.lines if name != CONTROL}
    return LeanReport(verdicts, " ".join(reason.split()), seconds)


def _run(command: Sequence[str], folder: Path, limit: float) -> tuple[str, int | None]:
    """What a command prints and its exit code; None as the code where it took too long."""
    with (folder / "output").open("w+b") as told:
        process = subprocess.Popen(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=told,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        code: int | None = None
        try:
            code = process.wait(limit)
        except subprocess.TimeoutExpired:
            pass
        finally:
            if process.poll() is None:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        told.seek(0)
        return told.read().decode("utf-8", errors="replace"), code


def _last_line(output: str) -> str:
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    plain = [line for line in lines if not line.startswith("[DEBUG")]
    return f"; it said: {plain[-1][:200]}" if plain else ""
