"""Answers Api operations beside the controller, in the words of a session: submitted, recorded and asked about alike.

There is no journal at the far end of an API. What an earlier process of the run may have asked is `unknown`, and
whoever asked said whether it may be asked again (`Api.repeat`). What is given up there may happen all the same: what
follows it in its lane, such as the removal of what it makes, waits until it has ended.
"""

from __future__ import annotations

import functools
import itertools
import queue
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import replace

from ciflow.dataclass import dataclass, field
from ciflow.diagnostics import CiflowError, Lost
from ciflow.model import Api, Operation, Reply
from ciflow.targets import APIS
from ciflow.targets.connection import Connection
from ciflow.targets.session import Session
from ciflow.targets.told import Answer, Asked, Output, Ready, SessionEvent

WORKERS = 16  # requests under way at once


@dataclass(frozen=True, slots=True)
class _Request:
    """One that is submitted and not answered."""

    lane: str
    key: str
    operation: Operation
    stop: threading.Event = field(default_factory=threading.Event)


class ApiSession:
    """All methods may be called from any thread and return at once; events come from its workers' threads."""

    def __init__(self, connection: Connection, inbox: Callable[[SessionEvent], None]) -> None:
        self.connection = connection
        self._host = replace(connection, kind=connection.api) if connection.api else None
        self._inbox = inbox
        self._changed = threading.Condition()  # of all below but _queue
        self._requests: dict[str, _Request] = {}  # in the order in which they were submitted
        self._gathered: list[_Request] = []
        self._queue: queue.SimpleQueue[_Request] = queue.SimpleQueue()
        self._workers = 0
        inbox(Ready(self, {"journal": "api", "token": 0, "warning": ""}))

    def submit(self, lane: str, key: str, operation: Operation, guard: str = "", check: bool = False) -> None:  # noqa: ARG002
        """Guards are not needed: nothing is sent ahead to an API. It leaves at `flush`, once recorded."""
        with self._changed:
            self._requests[key] = _Request(lane, key, operation)
            self._gathered.append(self._requests[key])

    def flush(self) -> None:
        with self._changed:
            gathered, self._gathered = self._gathered, []
            more = min(WORKERS, len(self._requests)) - self._workers
            self._workers += max(0, more)
        for request in gathered:
            self._queue.put(request)
        for _ in range(more):
            threading.Thread(target=self._work, name="api", daemon=True).start()

    def ask(self, keys: Iterable[str], journal: str = "") -> None:  # noqa: ARG002
        for key in keys:
            self._inbox(Asked(self, key, "unknown"))

    def abort(self, key: str) -> None:
        with self._changed:
            if key in self._requests:
                self._requests[key].stop.set()

    def close(self) -> None:
        """What waits for something in the world ends soon; its answer is nobody's any more."""
        with self._changed:
            for request in self._requests.values():
                request.stop.set()

    def acknowledge(self, keys: Iterable[str]) -> None:
        """Nothing is kept."""

    def end(self, run: str) -> None:
        """Nothing is kept."""

    def _told(self, key: str, data: bytes) -> None:
        self._inbox(Output(self, key, "stdout", data))

    def _work(self) -> None:
        while True:
            request = self._queue.get()
            with self._changed:
                self._changed.wait_for(functools.partial(self._may_go, request))
            tell = functools.partial(self._told, request.key)
            reply = performed(request.operation, request.stop, self._host, tell)
            with self._changed:
                self._requests.pop(request.key, None)
                self._changed.notify_all()
            self._inbox(Answer(self, request.key, reply))

    def _may_go(self, request: _Request) -> bool:
        """Whether nothing that was given up before it in its lane is still under way."""
        before = itertools.takewhile(lambda one: one is not request, self._requests.values())
        return not any(one.lane == request.lane and one.stop.is_set() for one in before)


def performed(
    operation: Operation, stop: threading.Event, host: Connection | None, tell: Callable[[bytes], None] | None = None
) -> Reply:
    """The reply, whatever happens: nobody could be told otherwise. `host` is given to who may need it to get there,
    `tell` to who has something to show before the end."""
    started, began = time.time(), time.monotonic()
    assert isinstance(operation, Api), f"{operation} is nothing to ask an API"
    try:
        more = {"host": host, "tell": tell}
        request = {**operation.request, **{name: value for name, value in more.items() if value is not None}}
        reply = APIS[operation.kind](request, stop)
    except Lost as error:
        reply = Reply(status="done" if operation.repeat else "unknown", ok=False, error=error.message)
    except CiflowError as error:
        text = f"{error.message} ({error.help})" if error.help else error.message
        reply = Reply(ok=False, error=text)
    except Exception as error:
        reply = Reply(status="unknown", ok=False, error=f"{type(error).__name__}: {error}")
    return replace(reply, started=started, duration=time.monotonic() - began)


def open_session(
    connection: Connection, *, project: str, run: str, token: int, inbox: Callable[[SessionEvent], None]
) -> Session | ApiSession:
    """The session of a connection: with the agent at its far end, or with the APIs beside the controller."""
    if connection.kind == "api":
        return ApiSession(connection, inbox)
    return Session.open(connection, project=project, run=run, token=token, inbox=inbox)
