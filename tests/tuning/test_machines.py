"""Several machines on one study: a real PostgreSQL server, Optuna's proxy, the dashboard."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from dsa_env.files import read_json
from dsa_tuning.storage import connected, places
from dsa_tuning.study import Tuned, tune
from tests.agents.made_runs import QUICK
from tests.tuning.conftest import tiny
from tests.tuning.postgresql import programs, server
from tests.tuning.test_study import start


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_until_it_listens(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        assert process.poll() is None
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise AssertionError("nothing listens")


@pytest.mark.slow
@pytest.mark.skipif(programs() is None, reason="PostgreSQL is not installed (apt-get postgresql)")
def test_two_machines_share_a_postgresql_study_and_no_trial_is_lost_or_repeated(
    synthetic_bank_path: Path, tmp_path: Path
) -> None:
    config = tiny(synthetic_bank_path, trials=7)
    with server() as url:
        machines = [start(config, tmp_path / name, storage=url) for name in ("a", "b")]
        for machine in machines:
            _, errors = machine.communicate(timeout=300)
            assert machine.returncode == 0, errors
        with connected(url, tmp_path) as storage:
            trials = optuna.load_study(study_name="dsa-tune", storage=storage).trials
        counted = places(trials)
        assert [trial.state for trial in counted] == [TrialState.COMPLETE] * 7
        assert len({trial.params["share"] for trial in counted}) == 7
        ran = [
            {path.name for path in (tmp_path / name / "trials").iterdir()} for name in ("a", "b")
        ]
        assert not ran[0] & ran[1]
        assert ran[0] | ran[1] == {f"{trial.number:04d}" for trial in counted}
        assert all(ran)


@pytest.mark.slow
@pytest.mark.skipif(programs() is None, reason="PostgreSQL is not installed (apt-get postgresql)")
def test_two_workers_on_postgresql_leave_one_complete_report(
    synthetic_bank_path: Path, tmp_path: Path
) -> None:
    out = tmp_path / "study"
    with server() as url:
        secret = url.replace("dsa@", "dsa:secret@")
        process = start(tiny(synthetic_bank_path, trials=5), out, storage=secret, workers=2)
        _, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors
    results = read_json(out / "results.json")
    assert results["counts"]["complete"] == 5
    written = [path for path in out.rglob("*.json") if "secret" in path.read_text()]
    assert written == []


@pytest.mark.slow
def test_a_study_runs_through_optunas_proxy(synthetic_bank_path: Path, tmp_path: Path) -> None:
    port = free_port()
    program = (
        "import sys; from pathlib import Path; from optuna.storages import run_grpc_proxy_server; "
        "from dsa_tuning.storage import open_storage; "
        "run_grpc_proxy_server(open_storage(None, Path(sys.argv[1])), host='127.0.0.1', "
        "port=int(sys.argv[2]))"
    )
    proxy = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", program, str(tmp_path / "hub"), str(port)],
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_until_it_listens(port, proxy)
        found = tune(
            tiny(synthetic_bank_path, trials=2),
            tmp_path / "study",
            storage=f"grpc://127.0.0.1:{port}",
            workers=1,
            final=False,
            fit=QUICK,
            progress=False,
        )
    finally:
        proxy.terminate()
        proxy.wait()
    assert found.results["counts"]["complete"] == 2


@pytest.mark.slow
def test_optuna_dashboard_opens_a_study(tuned: Tuned) -> None:
    port = free_port()
    dashboard = Path(sys.executable).parent / "optuna-dashboard"
    command = str(dashboard) if dashboard.exists() else shutil.which("optuna-dashboard")
    assert command
    journal = str(tuned.folder / "journal.log")
    process = subprocess.Popen(
        [command, journal, "--host", "127.0.0.1", "--port", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_until_it_listens(port, process)
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/studies", timeout=30) as answer:
            assert b"dsa-tune" in answer.read()
    finally:
        process.terminate()
        process.wait()
