"""All links of a run: operations asked for in one turn of the loop are recorded once and leave together.

The loop thread owns all of this. Threads of the sessions only post events, which are taken in on the loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import islice
from typing import Any

from ciflow.diagnostics import CiflowError, Superseded
from ciflow.engine.keys import Key
from ciflow.engine.link import Call, Connection, HostLink, Opener, Session, went_well
from ciflow.engine.record import Recorder
from ciflow.model import Operation, Reply
from ciflow.targets.connection import share_arenas
from ciflow.targets.told import Answer, Asked, Ended, Output, Ready, SessionEvent

FEW = 4  # links: what their threads' memory comes to does not matter yet
LATER = 0.03  # seconds that events may wait to be written together


class Wire:
    """All links of a run. Operations asked for in one turn of the loop are recorded once and leave together."""

    def __init__(self, recorder: Recorder, opener: Opener, *, cap: int) -> None:
        self.recorder = recorder
        self._opener = opener
        self._cap = cap
        self._links: dict[Connection, HostLink] = {}
        self._dirty: dict[HostLink, None] = {}
        self.replayed: dict[Connection, list[str]] = {}  # answered from the record: hosts may still hold these replies
        self._shared: dict[str, Call] = {}
        self._scheduled = False
        self._later: asyncio.TimerHandle | None = None
        self.failure: CiflowError | None = None
        self.take_over: Callable[[Superseded], bool] = lambda _error: False
        self.on_output: Callable[[Call, str, bytes], None] = lambda _call, _stream, _data: None

    def call(
        self,
        connection: Connection,
        lane: str,
        key: str,
        operation: Operation,
        *,
        probe: bool = False,
        before: Call | None = None,
        secret: bool = False,
        shared: bool = False,
        teller: Key | None = None,
    ) -> Call:
        """Send `operation`, or answer from the record. `before`: only if that call goes well. `shared`: whoever asks
        under the same key gets the same call."""
        if shared and key in self._shared:
            return self._shared[key]
        loop = asyncio.get_running_loop()
        answer = loop.create_future()
        call = Call(lane, key, operation, probe, answer, before, secret=secret, connection=connection, teller=teller)
        if shared:
            self._shared[key] = call
        if self.failure is not None:
            call.answer.set_exception(self.failure)
            return call
        call.ask = self.recorder.was_sent(key)
        self.recorder.sent(key, operation)
        if (recorded := self.recorder.reply(key)) is not None:
            self.replayed.setdefault(connection, []).append(key)
            call.answer.set_result(recorded)
            return call
        if before is not None and before.answer.done():
            if not went_well(before.answer):
                call.answer.set_result(Reply(status="skipped", ok=False))
                return call
            call.before = None
        self._link(connection).send(call)
        return call

    def abort_call(self, call: Call) -> None:
        """End one operation where it runs, deliberately."""
        self._link(call.connection).abort((call.key,))

    def abort_stage(self, stage: str) -> None:
        """End what a stage has under way on its hosts, in whichever attempt."""
        for link in self._links.values():
            keys = [call.key for call in link.calls.values() if call.lane.startswith((f"{stage}|", f"{stage}~"))]
            if keys:
                link.abort(keys)

    def open(self, link: HostLink) -> Session:
        loop = asyncio.get_running_loop()

        def inbox(event: Any) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(self._take, link, event)

        return self._opener(link.connection, inbox)

    def schedule(self, link: HostLink | None = None) -> None:
        """Commit and send at the end of this turn of the loop; what is only to be written down waits a little.

        A result that is not written yet is no loss: its host's journal has it.
        """
        loop = asyncio.get_running_loop()
        if link is not None:
            self._dirty[link] = None
            if not self._scheduled:
                self._scheduled = True
                loop.call_soon(self._turn)
        elif self._later is None and not self._scheduled:
            self._later = loop.call_later(LATER, self._turn)

    def warn(self, message: str) -> None:
        self.recorder.emit("warning", {"message": message})
        self.schedule()

    def abort(self) -> None:
        for link in self._links.values():
            link.abort()

    def stop(self, error: CiflowError) -> None:
        """What happens can't be written down any more: nothing is sent after this, and all that waits is told."""
        self.failure = error
        for link in self._links.values():
            link.fail(error)

    def close(self, *, ended: bool) -> None:
        """`ended`: the run is over and recorded, so hosts may forget it."""
        for link in self._links.values():
            link.close(ended=ended)

    def first_journal(self, connection: Connection, now: str) -> str:
        """The identity of the host's journal when the run first met it: only there does absent mean never started."""
        who = connection.become.user if connection.become else ""
        key = f"journal|{connection.kind}|{connection.name}|{connection.address}|{connection.user}|{who}"
        return str(self.recorder.rendered(key, lambda: now))

    # --- private -----------------------------------------------------------------------------------------

    def _link(self, connection: Connection) -> HostLink:
        link = self._links.pop(connection, None)
        if link is None:
            self._make_room()
            if len(self._links) == FEW:
                share_arenas()
            link = HostLink(connection, self)
        self._links[connection] = link  # most recently used last
        return link

    def reset(self, host: str) -> None:
        """End the connections to a host on which nothing is under way; its next operation connects anew."""
        for connection in [one for one, link in self._links.items() if one.name == host and link.idle]:
            self._links.pop(connection).close(ended=False)

    def _make_room(self) -> None:
        """Only as many links are looked at as have to go: with more hosts than connections, each opening comes here."""
        idle = (connection for connection, link in self._links.items() if link.idle)
        for connection in list(islice(idle, max(0, len(self._links) + 1 - self._cap))):
            self._links.pop(connection).close(ended=False)

    def _turn(self) -> None:
        self._scheduled = False
        if self._later is not None:
            self._later.cancel()
            self._later = None
        try:
            self.recorder.commit()
        except CiflowError as error:
            self.stop(error)
            return
        dirty, self._dirty = list(self._dirty), {}
        for link in dirty:
            link.flush()

    def _take(self, link: HostLink, event: SessionEvent) -> None:
        match event:
            case Answer():
                link.answered(event.key, event.reply)
            case Output():
                call = link.calls.get(event.key)
                if call is not None and call.teller is not None and not call.secret:
                    self.on_output(call, event.stream, event.data)
            case Asked():
                link.asked(event.key, event.state, event.reply)
            case Ready():
                link.ready(event.hello)
            case Ended():
                link.ended(event.error)
