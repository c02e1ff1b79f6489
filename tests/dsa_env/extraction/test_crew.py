"""Workers are talked to a few at a time, and a dead one costs only its own conversations."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from dsa_env.errors import DSAError
from dsa_env.extraction.crew import DEPTH, Crew, Talk

HERE = Path(__file__).parent


@pytest.fixture(autouse=True)
def answerers(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.syspath_prepend(str(HERE))
    yield
    sys.modules.pop("answerers", None)


def _twice(n: int) -> Talk[tuple[set[int], int]]:
    """Asks two questions, the second about the first's answer."""
    first, one = yield n
    second, other = yield one
    return {first, second}, other


def _once(n: int) -> Talk[int]:
    answer: int = yield n
    return answer


def test_conversations_are_answered_in_order_each_by_one_worker() -> None:
    from answerers import make_adder  # type: ignore[import-not-found]

    with Crew[tuple[set[int], int]](2, make_adder, 5) as crew:
        processes = crew.processes
        results = list(crew.results(partial(_twice, n) for n in range(12)))
    assert [value for _, value in results] == [n + 10 for n in range(12)]
    assert all(len(who) == 1 for who, _ in results)
    assert {next(iter(who)) for who, _ in results} == set(processes)


def test_only_a_few_conversations_are_open() -> None:
    from answerers import make_adder

    begun = 0

    def beginnings() -> Iterator[partial[Talk[tuple[set[int], int]]]]:
        nonlocal begun
        for n in range(100):
            begun += 1
            yield partial(_twice, n)

    with Crew[tuple[set[int], int]](1, make_adder, 0) as crew:
        for given, _ in enumerate(crew.results(beginnings())):
            assert begun <= given + 1 + DEPTH + 1
            if given == 20:
                break


def test_a_killed_worker_is_replaced_and_nothing_is_lost(tmp_path: Path) -> None:
    from answerers import make_mortal

    with Crew[int](2, make_mortal, tmp_path, 1) as crew:
        assert list(crew.results(partial(_once, n) for n in range(8))) == [10 * n for n in range(8)]
        assert crew.replaced == 1
    assert len(list(tmp_path.iterdir())) == 1


def test_work_that_kills_every_worker_is_given_up(tmp_path: Path) -> None:
    from answerers import make_mortal

    with Crew[int](1, make_mortal, tmp_path, 99) as crew:
        results = crew.results(partial(_once, n) for n in range(8))
        with pytest.raises(DSAError, match="died 3 times at the same work"):
            list(results)


def test_what_goes_wrong_in_a_worker_is_raised_here() -> None:
    from answerers import make_failing, make_unable

    with (
        Crew[int](1, make_failing) as crew,
        pytest.raises(RuntimeError, match="ZeroDivisionError"),
    ):
        list(crew.results([partial(_once, 0)]))
    with Crew[int](1, make_unable) as crew, pytest.raises(RuntimeError, match="no such model"):
        list(crew.results([partial(_once, 0)]))


def test_workers_end_with_their_parent_even_a_killed_one() -> None:
    script = """
        import os, signal
        from answerers import make_adder
        from dsa_env.extraction.crew import Crew

        if __name__ == "__main__":
            crew = Crew(2, make_adder, 0)
            print(*crew.processes, flush=True)
            os.kill(os.getpid(), signal.SIGKILL)
    """
    places = os.pathsep.join([str(HERE), *sys.path])
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        env=os.environ | {"PYTHONPATH": places},
        capture_output=True,
        text=True,
        check=False,
    )
    processes = [int(word) for word in done.stdout.split()]
    assert len(processes) == 2, done.stderr
    deadline = time.monotonic() + 20
    while any(_lives(process) for process in processes):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _lives(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"
