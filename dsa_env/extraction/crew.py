"""A crew of worker processes that is talked to, and in which the dead are replaced."""

from __future__ import annotations

import multiprocessing
import os
import queue
import signal
import threading
import traceback
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from typing import Any, Generic, TypeVar

from dsa_env.errors import DSAError

R = TypeVar("R")
Talk = Generator[Any, Any, R]
"""A conversation with one worker: yields requests, is sent the replies, returns the result."""

DEPTH = 2  # conversations a worker has at a time: it works on one while the other is answered
DEATHS = 3  # workers that one conversation may cost before the work is given up


@dataclass
class _Conversation(Generic[R]):
    """One conversation: where it stands, and how often it began again."""

    number: int
    begin: Callable[[], Talk[R]]
    talk: Talk[R] | None = None
    deaths: int = 0


@dataclass(eq=False)
class _Worker(Generic[R]):
    """A process and the conversations it has."""

    process: Any
    connection: Connection
    talks: dict[int, _Conversation[R]] = field(default_factory=dict)


class Crew(Generic[R]):
    """Worker processes that hold many conversations, a few at a time.

    Each worker makes its answerer once, `make(*arguments)`, and then answers requests in the
    order in which they come: `answer(number, request) -> reply`, `number` being the
    conversation's. When a worker dies, another takes its place and its conversations begin again;
    nothing else is lost. Workers end when their parent does, even a killed one.

    Args:
        workers: how many processes.
        make: importable function that makes a worker's answerer.
        *arguments: what it is called with; must be picklable.
    """

    def __init__(self, workers: int, make: Callable[..., Any], *arguments: Any) -> None:
        self._context = multiprocessing.get_context("spawn")  # the parent may hold threads
        self._make, self._arguments = make, arguments
        self._workers: list[_Worker[R]] = []
        self.replaced = 0
        try:
            self._workers = [self._hire() for _ in range(workers)]
        except BaseException:
            self.close()
            raise

    @property
    def processes(self) -> list[int]:
        """The ids of the workers' processes."""
        return [worker.process.pid for worker in self._workers]

    def results(self, begin: Iterable[Callable[[], Talk[R]]]) -> Iterator[R]:
        """Holds a conversation for each function that begins one; results in that order.

        Few conversations are open at a time, so memory stays flat however many there are.

        Raises:
            DSAError: a conversation has cost several workers their life.
            Exception: whatever a worker's answer or the conversation itself raises.
        """
        waiting = (_Conversation(n, one) for n, one in enumerate(begin))
        room = (DEPTH + 1) * len(self._workers)
        ready: dict[int, R] = {}
        again: deque[_Conversation[R]] = deque()
        opened = given = 0
        exhausted = False
        while True:
            while again or (not exhausted and opened - given < room):
                worker = min(self._workers, key=lambda w: len(w.talks))
                if len(worker.talks) >= DEPTH:
                    break
                one = again.popleft() if again else next(waiting, None)
                if one is None:
                    exhausted = True
                    break
                opened += one.deaths == 0
                one.talk = one.begin()
                self._go_on(worker, one, None, ready, again)
            while given in ready:
                yield ready.pop(given)
                given += 1
            if exhausted and given == opened:
                return
            self._hear(ready, again)

    def _hear(self, ready: dict[int, R], again: deque[_Conversation[R]]) -> None:
        """Waits for the next replies and goes on with their conversations."""
        by_connection = {worker.connection: worker for worker in self._workers}
        for connection in wait(list(by_connection)):
            worker = by_connection[connection]  # type: ignore[index]
            if worker not in self._workers:
                continue  # replaced a moment ago
            try:
                number, reply = worker.connection.recv()
            except (EOFError, OSError):
                self._replace(worker, again)
                continue
            if number is None:
                raise reply
            if isinstance(reply, _Raised):
                raise reply.error
            self._go_on(worker, worker.talks.pop(number), reply, ready, again)

    def _go_on(
        self,
        worker: _Worker[R],
        one: _Conversation[R],
        reply: Any,
        ready: dict[int, R],
        again: deque[_Conversation[R]],
    ) -> None:
        """Takes a conversation one request further, or to its end."""
        assert one.talk is not None
        try:
            request = one.talk.send(reply)
        except StopIteration as end:
            ready[one.number] = end.value
            return
        worker.talks[one.number] = one
        try:
            worker.connection.send((one.number, request))
        except OSError:
            self._replace(worker, again)

    def _replace(self, worker: _Worker[R], again: deque[_Conversation[R]]) -> None:
        """Puts a new worker in a dead one's place; its conversations begin again."""
        worker.connection.close()
        worker.process.join(5)
        worker.process.kill()
        worker.process.join()
        self.replaced += 1
        for one in worker.talks.values():
            one.deaths += 1
            if one.deaths >= DEATHS:
                raise DSAError(
                    f"A worker process died {DEATHS} times at the same work (exit code "
                    f"{worker.process.exitcode}); take fewer --workers or a smaller --batch if "
                    "memory ran out."
                )
        again.extend(worker.talks.values())
        self._workers[self._workers.index(worker)] = self._hire()

    def _hire(self) -> _Worker[R]:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(
            target=_work, args=(theirs, self._make, self._arguments), daemon=True
        )
        process.start()
        theirs.close()  # so that a dead worker's end is closed
        return _Worker(process, ours)

    def close(self) -> None:
        """Ends the workers."""
        for worker in self._workers:
            worker.connection.close()
        for worker in self._workers:
            worker.process.join(0.5)
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()
        self._workers = []

    def __enter__(self) -> Crew[R]:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@dataclass(frozen=True)
class _Raised:
    """An exception on its way from a worker to its parent."""

    error: BaseException


def _work(connection: Connection, make: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    """A worker's life: answers until the parent hangs up."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends its workers itself
    requests: queue.SimpleQueue[Any] = queue.SimpleQueue()
    # Read at once, whatever the worker is doing: the parent never waits to be heard.
    threading.Thread(target=_listen, args=(connection, requests), daemon=True).start()
    try:
        answer = make(*arguments)
    except Exception as error:
        connection.send((None, _portable(error)))
        return
    while True:
        number, request = requests.get()
        try:
            reply = answer(number, request)
        except Exception as error:
            reply = _Raised(_portable(error))
        try:
            connection.send((number, reply))
        except OSError:
            return


def _listen(connection: Connection, requests: queue.SimpleQueue[Any]) -> None:
    while True:
        try:
            requests.put(connection.recv())
        except (EOFError, OSError):
            os._exit(1)  # the parent is gone


def _portable(error: Exception) -> Exception:
    """The error itself where it is for people, else one that says where it came from."""
    if isinstance(error, DSAError):
        return error
    return RuntimeError("in a worker process:\n" + "".join(traceback.format_exception(error)))
