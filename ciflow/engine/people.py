"""What people say to a run from other terminals: commands and approvals, read from the store."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol

from ciflow.model import Event, Reply
from ciflow.store.folds import ENDED

POLL = 0.2  # seconds between looks at the store


class Inbox(Protocol):
    """The store, as far as this file needs it."""

    def events(self, run: str = ..., kinds: Iterable[str] = ..., after: int = ...) -> Iterator[Event]: ...

    @property
    def last(self) -> int: ...


class People:
    """Commands to one run. Those that came before this process began are history, but for an `abort` that no process
    lived to obey: who gave it was told that it was said."""

    def __init__(self, inbox: Inbox, run: str, *, resumed: bool) -> None:
        self._inbox = inbox
        self._run = run
        self._began = max((e.seq for e in inbox.events(run, ("run_started", "run_resumed"))), default=0)
        self._was_resumed = resumed

    def to(self, service: str) -> Commands:
        """What is said to the rollout of one service."""
        after = self._heard(service) if self._was_resumed else self._began
        return Commands(self._inbox, self._run, service, after, resumed=self._was_resumed)

    def _heard(self, service: str) -> int:
        """Up to which event all has been heard that was said to the rollout of a service."""
        unheard = 0
        for event in self._inbox.events(self._run, ("command", "canary_state")):
            if event.seq > self._began or event.data.get("service", service) != service:
                continue
            if event.kind == "canary_state" and event.data["state"] in ENDED:  # it has obeyed, or can't any more
                unheard = 0
            elif event.kind == "command" and event.data["verb"] == "abort":
                unheard = unheard or event.seq
        return unheard - 1 if unheard else self._began

    def approvals(self, play: str) -> Iterator[Event]:
        """The answers to a play's question, whenever they were given, the first of them first."""
        given = self._inbox.events(kinds=("approval_given",))  # few in all, where one run may have a million events
        return (e for e in given if e.run == self._run and e.play == play)


class Commands:
    """What is said to one rollout, each word once, in its order."""

    def __init__(self, inbox: Inbox, run: str, service: str, after: int, *, resumed: bool) -> None:
        self._inbox = inbox
        self._run = run
        self._service = service
        self._after = after
        self._resumed = resumed

    def take_resumed(self) -> bool:
        """True once, for the first hold that a resumed rollout comes to."""
        resumed, self._resumed = self._resumed, False
        return resumed

    async def hold(self, seconds: float, news: Callable[[], dict[str, Any]] = dict) -> Reply:
        """Let time pass, and come back early when somebody says something, or there is `news` of other rollouts."""
        began = time.monotonic()
        if self.take_resumed():
            return Reply(data={"resumed": True}, started=time.time())
        data = news()
        while (left := seconds - (time.monotonic() - began)) > 0 and not data:
            await asyncio.sleep(min(POLL, left))
            data = self.take() or news()
        return Reply(data=data, duration=time.monotonic() - began, started=time.time())

    async def aborted(self) -> str:
        """Returns once somebody wants the rollout stopped, with who it is. Other words wait for the next hold."""
        while True:
            for event in self._news():
                if event.data["verb"] == "abort":
                    return str(event.data.get("by", "somebody"))
            await asyncio.sleep(POLL)

    def take(self) -> dict[str, Any]:
        """The next word, or nothing."""
        for event in self._news():
            self._after = event.seq
            by = str(event.data.get("by", "somebody"))
            return {"command": str(event.data["verb"]), "by": by, "full": bool(event.data.get("full"))}
        return {}

    def _news(self) -> Iterator[Event]:
        if self._inbox.last <= self._after:
            return
        for event in self._inbox.events(self._run, ("command",), self._after):
            if event.data.get("service", self._service) == self._service:
                yield event
