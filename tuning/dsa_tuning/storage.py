"""Where a study lives: a journal file by default, or any storage that several machines reach."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from dsa_agents.run_folder import without_passwords
from dsa_env.errors import DSAError

JOURNAL = "journal.log"
GRPC_PORT = 13000
HEARTBEAT, GRACE = 30, 120
"""Seconds between two signs of life in a database, and after which a worker counts as dead."""
CONNECT_SECONDS = 10.0
CREATIONS, CREATION_SECONDS = 5, 0.5
"""How often, and how far apart, the making of a new database's tables is tried."""
RETRIES = 2
"""How often a trial whose worker was killed is tried again before it counts as failed."""
RETRY_OF, ATTEMPT = "retry_of", "attempt"
SURPLUS = "surplus"
"""Attribute of a trial that was begun when the last place was just taken; it never ran."""
DRIVERS = {"postgresql": "psycopg[binary]", "mysql": "mysqlclient", "grpc": "grpcio"}


def open_storage(url: str | None, folder: Path) -> BaseStorage:
    """The storage behind a URL.

    Args:
        url: None for a journal file in `folder`; a path that ends in ``.log`` for another journal
            file (a shared folder will do for two machines); ``grpc://HOST:PORT`` for Optuna's
            proxy; else what SQLAlchemy takes, such as ``postgresql+psycopg://user@host/name``.
        folder: the study's folder.

    Raises:
        DSAError: a driver is missing, or the storage cannot be reached. Passwords are not shown.
    """
    if url is None or ("://" not in url and url.endswith(".log")):
        path = folder / JOURNAL if url is None else Path(url)
        path.parent.mkdir(parents=True, exist_ok=True)
        return JournalStorage(JournalFileBackend(str(path)))
    if "://" not in url:
        raise DSAError(
            f"--storage {url!r} is neither a URL nor a journal file (*.log); write for example "
            "postgresql+psycopg://user@host/name."
        )
    shown, kind = without_passwords(url), url.partition(":")[0].partition("+")[0]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            return _open_grpc(url) if kind == "grpc" else _open_database(url)
    except ImportError as error:
        package = DRIVERS.get(kind)
        cure = f'; install it with: pip install "{package}"' if package else ""
        raise DSAError(
            f"The storage {shown} needs a driver ({error.name or error}){cure}."
        ) from None
    except Exception as error:  # each driver has errors of its own
        reason = str(getattr(error, "orig", None) or error).split("(Background on")[0].strip()
        reason = without_passwords(reason).rstrip(".")
        raise DSAError(
            f"The storage {shown} cannot be reached: {' '.join(reason.split())}. Start it, or "
            "check the URL."
        ) from None


@contextmanager
def connected(url: str | None, folder: Path) -> Iterator[BaseStorage]:
    """`open_storage`, closed at the end."""
    storage = open_storage(url, folder)
    try:
        yield storage
    finally:
        storage.remove_session()
        if isinstance(storage, RDBStorage):
            storage.engine.dispose()
        elif isinstance(storage, optuna.storages.GrpcStorageProxy):
            storage.close()


def put_back(study: Study, trial: FrozenTrial, *, wanted: bool = False) -> None:
    """Queue the parameters of a trial that was cut off again, and no longer count that trial.

    One that was cut off `RETRIES` times too many stays as it is and counts as failed, unless it was
    `wanted` by the user.
    """
    attempt = trial.user_attrs.get(ATTEMPT, 1) + (not wanted)
    if attempt <= RETRIES + 1:
        study.enqueue_trial(trial.params, user_attrs={RETRY_OF: trial.number, ATTEMPT: attempt})


def places(trials: list[FrozenTrial]) -> list[FrozenTrial]:
    """The trials that count: all but those whose parameters were queued again."""
    retried = {trial.user_attrs.get(RETRY_OF) for trial in trials}
    return [trial for trial in trials if trial.number not in retried and not _surplus(trial)]


def unfinished(trials: list[FrozenTrial]) -> list[FrozenTrial]:
    """Those that run or wait."""
    return [trial for trial in trials if not trial.state.is_finished()]


def completed(trials: list[FrozenTrial]) -> list[FrozenTrial]:
    """Those that were carried through, in the order of their numbers."""
    return [trial for trial in trials if trial.state == TrialState.COMPLETE]


def _open_database(url: str) -> RDBStorage:
    from sqlalchemy.exc import IntegrityError, ProgrammingError

    options: dict[str, Any] = {"pool_pre_ping": True}
    if url.startswith(("postgresql", "mysql")):
        options["connect_args"] = {"connect_timeout": int(CONNECT_SECONDS)}
    for left in reversed(range(CREATIONS)):
        try:
            return RDBStorage(
                url,
                engine_kwargs=options,
                heartbeat_interval=HEARTBEAT,
                grace_period=GRACE,
                heartbeat_stale_trial_callback=put_back,
            )
        except (IntegrityError, ProgrammingError):  # another machine makes the tables just now
            if not left:
                raise
            time.sleep(CREATION_SECONDS)
    raise AssertionError


def _open_grpc(url: str) -> BaseStorage:
    parts = urlsplit(url)
    storage = optuna.storages.GrpcStorageProxy(
        host=parts.hostname or "localhost", port=parts.port or GRPC_PORT
    )
    storage.wait_server_ready(timeout=CONNECT_SECONDS)
    return storage


def _surplus(trial: FrozenTrial) -> bool:
    return bool(trial.user_attrs.get(SURPLUS))
