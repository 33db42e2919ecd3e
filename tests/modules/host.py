"""This machine as a host: a module's steps, answered by a real session and its agent."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from ciflow.model import At, Change, Context, Hold, Operation, Outcome, Probe, Reply, Step, Steps
from ciflow.modules import MODULES
from ciflow.targets import Connection
from ciflow.targets.session import Answer, Ended, Ready, Session, SessionEvent
from tests.golden.replay import schema

PATIENCE = 120.0  # seconds for one operation


@dataclass
class Host:
    """Blocking calls for tests. `asked` holds every operation of the last task."""

    session: Session | None = None
    asked: list[Operation] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._news = threading.Condition()
        self._replies: dict[str, Reply] = {}
        self._ready = False
        self._ended: Ended | None = None
        self._numbers = itertools.count()

    def hear(self, event: SessionEvent) -> None:
        with self._news:
            if isinstance(event, Answer):
                self._replies[event.key] = event.reply
            elif isinstance(event, Ready):
                self._ready = True
            elif isinstance(event, Ended):
                self._ended = event
            self._news.notify_all()

    def wait_until_ready(self) -> None:
        with self._news:
            assert self._news.wait_for(lambda: self._ready or self._ended, PATIENCE) and self._ready, self._ended

    def task(self, verb: str, args: Mapping[str, Any], **context: Any) -> Outcome:
        """Run one task to its end, with the defaults of its schema."""
        defaults = {name: rule["default"] for name, rule in schema(verb)["arguments"].items() if "default" in rule}
        self.asked = []
        return self._drive(MODULES[verb].run(defaults | dict(args), Context(**context)))

    def _drive(self, steps: Steps) -> Outcome:
        reply: Reply | None = None
        while True:
            try:
                step = steps.send(reply)  # type: ignore[arg-type]
            except StopIteration as end:
                outcome = end.value
                assert isinstance(outcome, Outcome)
                return outcome
            reply = self._answer(step)

    def _answer(self, step: Step) -> Reply:
        match step:
            case At():
                return self._answer(step.step)
            case Probe() | Change():
                self.asked.append(step.operation)
                return self._perform(step.operation)
            case Hold():
                time.sleep(step.seconds)
                return Reply(duration=step.seconds)
        raise AssertionError(f"no module yields {step} here")

    def _perform(self, operation: Operation) -> Reply:
        assert self.session is not None
        key = f"step-{next(self._numbers)}"
        self.session.submit("lane", key, operation)
        self.session.flush()
        with self._news:
            assert self._news.wait_for(lambda: key in self._replies or self._ended, PATIENCE), f"no answer: {operation}"
            assert key in self._replies, self._ended
            return self._replies.pop(key)


@contextmanager
def this_machine() -> Iterator[Host]:
    host = Host()
    host.session = Session.open(
        Connection(connect_timeout=30.0),
        project=f"modules {time.time()}",
        run=f"test {time.time()}",
        token=1,
        inbox=host.hear,
    )
    try:
        host.wait_until_ready()
        yield host
    finally:
        host.session.end("test")
        host.session.close()
