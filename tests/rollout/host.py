"""This machine as a router's host: answers a generator's steps through a real session and its agent."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from ciflow.model import Api, At, Change, Detached, Hold, Note, Operation, Probe, Reply
from ciflow.rollout.routers.dial import Asked
from ciflow.targets.api import performed
from tests.parts.session import Waiting

T = TypeVar("T")
PATIENCE = 90.0  # seconds for one operation


@dataclass
class AgentHost:
    """Blocking calls for tests, from any thread. `seen` is called before each step of `drive`."""

    seen: Callable[[Operation], None] = lambda _: None
    kept: set[str] = field(default_factory=set)  # keys of detached work that was started

    def __post_init__(self) -> None:
        self._waiting = Waiting("routers", "test", PATIENCE)

    def __enter__(self) -> AgentHost:
        self._waiting.wait_until_ready()
        return self

    def __exit__(self, *_: object) -> None:
        for key in self.kept:
            self.answer(Detached(key=key, verb="cancel", grace=2.0))
        self._waiting.close()

    def drive(self, steps: Asked[T]) -> T:
        reply: Any = None
        while True:
            try:
                step = steps.send(reply)
            except StopIteration as end:
                return end.value  # type: ignore[no-any-return]
            if isinstance(step, Note | Hold):  # of a rollback, which looks again then; a router has neither
                reply = Reply()
                continue
            assert isinstance(step, At), f"a router yields At, not {step}"
            assert isinstance(step.step, Probe | Change)
            self.seen(step.step.operation)
            reply = self.answer(step.step.operation)

    def answer(self, operation: Operation) -> Reply:
        """The agent's reply. Each operation has a lane of its own: two writers of a test don't wait for each other."""
        if isinstance(operation, Api):
            return performed(operation, threading.Event(), None)
        if isinstance(operation, Detached) and operation.verb == "start":
            self.kept.add(operation.key)
        return self._waiting.perform(operation)

    def state(self, key: str) -> dict[str, Any]:
        """What the agent says of a detached work."""
        return dict(self.answer(Detached(key=key, verb="ask")).data)
