"""Answers Api operations beside the controller, in the words of a session: submitted, recorded and asked about alike.

There is no journal at the far end of an API. What an earlier process of the run may have asked is `unknown`, and
whoever asked said whether it may be asked again (`Api.repeat`).
"""

from __future__ import annotations

import functools
import queue
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import replace

from ciflow.diagnostics import CiflowError, Lost
from ciflow.model import Api, Operation, Reply
from ciflow.targets import APIS
from ciflow.targets.connection import Connection
from ciflow.targets.session import Answer, Asked, Output, Ready, Session, SessionEvent

WORKERS = 16  # requests under way at once


class ApiSession:
    """All methods may be called from any thread and return at once; events come from its workers' threads."""

    def __init__(self, connection: Connection, inbox: Callable[[SessionEvent], None]) -> None:
        self.connection = connection
        self._host = replace(connection, kind=connection.api) if connection.api else None
        self._inbox = inbox
        self._lock = threading.Lock()
        self._stops: dict[str, threading.Event] = {}  # of what is submitted and not answered
        self._gathered: list[tuple[str, Operation]] = []
        self._queue: queue.SimpleQueue[tuple[str, Operation]] = queue.SimpleQueue()
        self._workers = 0
        inbox(Ready(self, {"journal": "api", "token": 0, "warning": ""}))

    def submit(self, lane: str, key: str, operation: Operation, guard: str = "", check: bool = False) -> None:  # noqa: ARG002
        """Lanes and guards are not needed: nothing is sent ahead to an API. It leaves at `flush`, once recorded."""
        with self._lock:
            self._stops[key] = threading.Event()
            self._gathered.append((key, operation))

    def flush(self) -> None:
        with self._lock:
            gathered, self._gathered = self._gathered, []
            more = min(WORKERS, len(self._stops)) - self._workers
            self._workers += max(0, more)
        for item in gathered:
            self._queue.put(item)
        for _ in range(more):
            threading.Thread(target=self._work, name="api", daemon=True).start()

    def ask(self, keys: Iterable[str], journal: str = "") -> None:  # noqa: ARG002
        for key in keys:
            self._inbox(Asked(self, key, "unknown"))

    def abort(self, key: str) -> None:
        with self._lock:
            stop = self._stops.get(key)
        if stop is not None:
            stop.set()

    def close(self) -> None:
        """What waits for something in the world ends soon; its answer is nobody's any more."""
        with self._lock:
            stops = list(self._stops.values())
        for stop in stops:
            stop.set()

    def acknowledge(self, keys: Iterable[str]) -> None:
        """Nothing is kept."""

    def end(self, run: str) -> None:
        """Nothing is kept."""

    def _told(self, key: str, data: bytes) -> None:
        self._inbox(Output(self, key, "stdout", data))

    def _work(self) -> None:
        while True:
            key, operation = self._queue.get()
            with self._lock:
                stop = self._stops[key]
            reply = performed(operation, stop, self._host, functools.partial(self._told, key))
            with self._lock:
                self._stops.pop(key, None)
            self._inbox(Answer(self, key, reply))


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
