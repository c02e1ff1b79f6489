"""A PostgreSQL server of one's own on loopback, for a test or to try things out.

python tests/tuning/postgresql.py        # starts one, prints its URL, stops it on Ctrl-C
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SERVER_USER = "postgres"
"""Whom the server runs as where we are root, which it refuses."""


def programs() -> Path | None:
    """The folder of initdb and pg_ctl: Debian's newest, or the one on PATH; None without any."""
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=_version)
    found = str(versions[-1]) if versions else shutil.which("initdb")
    return Path(found).parent if found else None


@contextmanager
def server() -> Iterator[str]:
    """Run a fresh server while the body runs; yields the URL of an empty database."""
    folder = programs()
    if folder is None:
        raise FileNotFoundError("initdb; install it with: apt-get install postgresql")
    home = Path(tempfile.mkdtemp(prefix="dsa-postgresql-"))
    user = SERVER_USER if os.geteuid() == 0 else None
    if user:
        shutil.chown(home, user)
    port = _free_port()

    def run(program: str, *arguments: str) -> None:
        command = [str(folder / program), "-D", str(home / "data"), *arguments]
        done = subprocess.run(
            command,
            user=user,
            cwd=home,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)}: {done.stdout}")

    options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c fsync=off"
    try:
        run("initdb", "-A", "trust", "-U", "dsa", "-E", "UTF8", "--no-sync")
        run("pg_ctl", "-w", "-l", str(home / "log"), "-o", options, "start")
        try:
            yield f"postgresql+psycopg://dsa@127.0.0.1:{port}/postgres"
        finally:
            run("pg_ctl", "-w", "-m", "immediate", "stop")
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _version(path: Path) -> float:
    return float(path.parts[-3])


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


if __name__ == "__main__":
    with server() as url:
        print(url, flush=True)
        signal.sigwait({signal.SIGINT, signal.SIGTERM})
