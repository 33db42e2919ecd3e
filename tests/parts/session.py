"""A session that tests can wait on: what its agent says, by key."""

from __future__ import annotations

import itertools
import secrets
import threading

from ciflow.model import Operation, Reply
from ciflow.targets import Connection
from ciflow.targets.session import Session
from ciflow.targets.told import Answer, Ended, Ready, SessionEvent


class Waiting:
    """This machine's agent, asked and waited for; from any thread. `patience` in seconds for each operation."""

    def __init__(self, project: str, run: str, patience: float) -> None:
        self._patience = patience
        self._run = f"{run}-{secrets.token_hex(4)}"  # the host remembers what a run of this name did before
        self._news = threading.Condition()
        self._replies: dict[str, Reply] = {}
        self._ready = False
        self._ended: Ended | None = None
        self._numbers = itertools.count()
        self._session = Session.open(
            Connection(connect_timeout=30.0), project=f"{project}-{self._run}", run=self._run, token=1, inbox=self._hear
        )

    def wait_until_ready(self) -> None:
        with self._news:
            assert self._news.wait_for(lambda: self._ready or self._ended, self._patience) and self._ready, self._ended

    def perform(self, operation: Operation, lane: str = "") -> Reply:
        """The agent's reply. Without a `lane` each operation has one of its own, and waits for no other."""
        key = f"step-{next(self._numbers)}"
        self._session.submit(lane or key, key, operation)
        self._session.flush()
        with self._news:
            assert self._news.wait_for(lambda: key in self._replies or self._ended, self._patience), (
                f"no answer: {operation}"
            )
            assert key in self._replies, self._ended
            return self._replies.pop(key)

    def close(self) -> None:
        self._session.end(self._run)
        self._session.close()

    def _hear(self, event: SessionEvent) -> None:
        with self._news:
            if isinstance(event, Answer):
                self._replies[event.key] = event.reply
            elif isinstance(event, Ready):
                self._ready = True
            elif isinstance(event, Ended):
                self._ended = event
            self._news.notify_all()
