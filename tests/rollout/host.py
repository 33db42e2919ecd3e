"""This machine as a router's host: answers a generator's steps through a real session and its agent."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from ciflow.model import At, Change, Detached, Operation, Probe, Reply
from ciflow.rollout.routers.dial import Asked
from ciflow.targets import Connection
from ciflow.targets.session import Answer, Ended, Ready, Session, SessionEvent

T = TypeVar("T")
PATIENCE = 30.0  # seconds for one operation


@dataclass
class AgentHost:
    """Blocking calls for tests, from any thread. `seen` is called before each step of `drive`."""

    seen: Callable[[Operation], None] = lambda _: None
    kept: set[str] = field(default_factory=set)  # keys of detached work that was started

    def __post_init__(self) -> None:
        self._news = threading.Condition()
        self._replies: dict[str, Reply] = {}
        self._ready = False
        self._ended: Ended | None = None
        self._numbers = itertools.count()
        self._session = Session.open(
            Connection(connect_timeout=30.0), project="routers", run="test", token=1, inbox=self._hear
        )

    def __enter__(self) -> AgentHost:
        with self._news:
            assert self._news.wait_for(lambda: self._ready or self._ended, PATIENCE) and not self._ended, self._ended
        return self

    def __exit__(self, *_: object) -> None:
        for key in self.kept:
            self.answer(Detached(key=key, verb="cancel", grace=2.0))
        self._session.end("test")
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

    def drive(self, steps: Asked[T]) -> T:
        reply: Any = None
        while True:
            try:
                step = steps.send(reply)
            except StopIteration as end:
                return end.value  # type: ignore[no-any-return]
            assert isinstance(step, At), f"a router yields At, not {step}"
            assert isinstance(step.step, Probe | Change)
            self.seen(step.step.operation)
            reply = self.answer(step.step.operation)

    def answer(self, operation: Operation) -> Reply:
        """The agent's reply. Each operation has a lane of its own: two writers of a test don't wait for each other."""
        if isinstance(operation, Detached) and operation.verb == "start":
            self.kept.add(operation.key)
        key = f"step-{next(self._numbers)}"
        self._session.submit(key, key, operation)
        self._session.flush()
        with self._news:
            assert self._news.wait_for(lambda: key in self._replies or self._ended, PATIENCE), f"no answer: {operation}"
            assert key in self._replies, self._ended
            return self._replies.pop(key)

    def state(self, key: str) -> dict[str, Any]:
        """What the agent says of a detached work."""
        return dict(self.answer(Detached(key=key, verb="ask")).data)
