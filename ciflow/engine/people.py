"""What people say to a run from other terminals: commands and approvals, read from the store."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Iterator
from typing import Protocol

from ciflow.model import Event, Reply

POLL = 0.2  # seconds between looks at the store


class Inbox(Protocol):
    """The store, as far as this file needs it."""

    def events(self, run: str = ..., kinds: Iterable[str] = ..., after: int = ...) -> Iterator[Event]: ...

    @property
    def last(self) -> int: ...


class People:
    """Commands to one run. Those that came before this process began are history, unless nobody obeyed them."""

    def __init__(self, inbox: Inbox, run: str, *, resumed: bool, stay: bool = True) -> None:
        self._inbox = inbox
        self._run = run
        self._after = inbox.last
        self._resumed = resumed
        self.stay = stay

    def take_resumed(self) -> bool:
        """True once, for the first hold that a resumed run comes to."""
        resumed, self._resumed = self._resumed, False
        return resumed

    async def hold(self, seconds: float) -> Reply:
        """Let time pass, and come back early when somebody says something."""
        began = time.monotonic()
        if self.take_resumed():
            return Reply(data={"resumed": True}, started=time.time())
        data: dict[str, str] = {}
        while (left := seconds - (time.monotonic() - began)) > 0 and not data:
            await asyncio.sleep(min(POLL, left))
            data = self._command()
        return Reply(data=data, duration=time.monotonic() - began, started=time.time())

    def _command(self) -> dict[str, str]:
        if self._inbox.last <= self._after:
            return {}
        for event in self._inbox.events(self._run, ("command",), self._after):
            self._after = event.seq
            return {"command": str(event.data["verb"]), "by": str(event.data.get("by", "somebody"))}
        self._after = self._inbox.last
        return {}

    def approval(self, play: str) -> Event | None:
        """The answer to a play's question, whenever it was given."""
        return next((e for e in self._inbox.events(self._run, ("approval_given",)) if e.play == play), None)
