"""A session that is talked to one sentence at a time, for tests."""

import itertools
import queue
import secrets
import time
from dataclasses import dataclass, field
from typing import Any

from ciflow.model import Operation, Reply
from ciflow.targets import Connection
from ciflow.targets.session import Session
from ciflow.targets.told import Answer, Asked, Ended, Output, Ready, SessionEvent

PATIENCE = 60.0  # seconds; the machine may be busy
# Hosts of several test runs at once may be one machine, where the greater token would shut the others out.
PROJECT = f"shop-{secrets.token_hex(4)}"
_TOKENS = itertools.count(time.time_ns())


def new_token() -> int:
    """Greater than all that a test has used before: records of earlier runs are under the same roof."""
    return next(_TOKENS)


@dataclass
class Parley:
    """One session. Events that nobody has asked for yet are kept."""

    connection: Connection
    project: str = PROJECT
    run: str = ""
    token: int = 0
    inbox: "queue.Queue[SessionEvent]" = field(default_factory=queue.Queue)
    seen: list[SessionEvent] = field(default_factory=list)
    output: list[Output] = field(default_factory=list)
    numbers: Any = field(default_factory=itertools.count)
    hello: dict[str, Any] = field(default_factory=dict)
    ended: Ended | None = None

    def __post_init__(self) -> None:
        self.token = self.token or new_token()
        self.run = self.run or f"run-{self.token}"
        self.session = Session.open(
            self.connection, project=self.project, run=self.run, token=self.token, inbox=self.inbox.put
        )

    def ready(self) -> "Parley":
        event = self.next(Ready, Ended)
        if isinstance(event, Ended):
            raise AssertionError(f"not ready: {event.error}")
        self.hello = dict(event.hello)
        return self

    def next(self, *kinds: type[Any], key: str = "", patience: float = PATIENCE) -> Any:
        """The next event of one of these kinds (and key); others are kept."""
        until = time.monotonic() + patience
        while True:
            for event in self.seen:
                if isinstance(event, kinds) and (not key or getattr(event, "key", key) == key):
                    self.seen.remove(event)
                    return event
            event = self.inbox.get(timeout=max(0.01, until - time.monotonic()))
            if isinstance(event, Output):
                self.output.append(event)
            if isinstance(event, Ended):
                self.ended = event
            self.seen.append(event)
            if isinstance(event, Ended) and Ended not in kinds:
                raise AssertionError(f"the session ended: {event.error}")

    def __call__(self, operation: Operation, *, key: str = "", lane: str = "web1", check: bool = False) -> Reply:
        """Perform one operation and wait for its reply."""
        key = key or f"{self.run}/{next(self.numbers)}"
        self.session.submit(lane, key, operation, check=check)
        self.session.flush()
        return self.answer(key)

    def answer(self, key: str) -> Reply:
        event: Answer = self.next(Answer, key=key)
        return event.reply

    def ask(self, *keys: str, journal: str = "") -> list[Asked]:
        self.session.ask(keys, journal)
        return [self.next(Asked, key=key) for key in keys]

    def refuses(self, reply: Reply) -> bool:
        """Whether this is a host without Python, which says so instead of doing it nearly."""
        if self.hello["python"]:
            return False
        assert (reply.status, reply.ok, reply.errno) == ("refused", False, "ENOSYS"), reply
        assert "Python" in reply.error
        return True

    def close(self) -> None:
        self.session.close()
        if self.ended is None:
            self.next(Ended)
