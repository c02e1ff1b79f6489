"""Worker processes on one study: they start, are replaced when killed, and stop on Ctrl-C."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess

from optuna.study import Study

from dsa_env.errors import DSAError
from dsa_env.workers import start_process
from dsa_tuning.trials import Job, is_full, put_back_dead, work

POLL_SECONDS = 0.5
RESTARTS = 2
"""How often a killed worker is replaced, for each worker."""


class Crew:
    """Worker processes on one study; a killed one is replaced, its trial tried again."""

    def __init__(self, job: Job, study: Study, workers: int) -> None:
        self._job, self._study = job, study
        self._restarts = RESTARTS * workers
        self._running = [self._start() for _ in range(workers)]

    def run(self, on_poll: Callable[[], None]) -> None:
        """Wait for all of them; on Ctrl-C they put their trials back first."""
        try:
            while self._running:
                time.sleep(POLL_SECONDS)
                on_poll()
                self._replace_killed()
        except KeyboardInterrupt:
            self._stop()
            raise
        if not is_full(self._study, self._job.config.trials):
            raise DSAError(
                "All workers ended before the trials were done; see the messages above, then go on "
                f"with: dsa tune --out {self._job.folder} --resume"
            )

    def _start(self) -> BaseProcess:
        return start_process(_work, self._job)

    def _replace_killed(self) -> None:
        ended = [process for process in self._running if process.exitcode is not None]
        self._running = [process for process in self._running if process not in ended]
        for process in ended:
            if process.exitcode != 0:
                put_back_dead(self._study)
                killed = (process.exitcode or 0) < 0
                if killed and self._restarts and not is_full(self._study, self._job.config.trials):
                    self._restarts -= 1
                    self._running.append(self._start())

    def _stop(self) -> None:
        for process in self._running:
            if process.pid is not None and process.is_alive():
                os.kill(process.pid, signal.SIGINT)
        for process in self._running:
            process.join()
        put_back_dead(self._study)


def _work(job: Job) -> None:
    """What a worker process does."""
    os.environ["TTY_COMPATIBLE"] = "0"
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        work(job)
    except KeyboardInterrupt:
        sys.exit(130)
    except DSAError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
