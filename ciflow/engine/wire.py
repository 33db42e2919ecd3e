"""Sessions as the engine sees them: one link for each host and identity, that reconnects and asks.

The loop thread owns all of this. Threads of the sessions only post events, which `Wire` takes in on the loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import islice
from typing import Any, Protocol

from ciflow.dataclass import dataclass
from ciflow.diagnostics import Broken, CiflowError, Gone, Lost, Superseded, TargetError, Unreachable
from ciflow.engine.keys import Key
from ciflow.engine.record import Recorder
from ciflow.model import Api, Attrs, Copy, Edit, Exec, Link, Mkdir, Operation, Remove, Reply, Write
from ciflow.targets.session import Answer, Asked, Ended, Output, Ready, SessionEvent

Connection = Any  # targets.Connection: opaque here, hashable
_CONVERGING = (Write, Edit, Attrs, Copy, Remove, Mkdir, Link)
LATER = 0.03  # seconds that events may wait to be written together
RECONNECTS = (0.2, 1.0, 3.0, 8.0)  # seconds before each try
STEADY = 30.0  # seconds that a connection holds to count as one
LOSSES = 6  # connections in a row that neither hold nor bring an answer, until the host counts as gone


class Session(Protocol):
    """What the engine needs of targets.Session."""

    def submit(self, lane: str, key: str, operation: Operation, guard: str = ..., check: bool = ...) -> None: ...
    def ask(self, keys: list[str], journal: str = ...) -> None: ...
    def acknowledge(self, keys: list[str]) -> None: ...
    def flush(self) -> None: ...
    def abort(self, key: str) -> None: ...
    def end(self, run: str) -> None: ...
    def close(self) -> None: ...


Opener = Callable[[Connection, Callable[[Any], None]], Session]


@dataclass(eq=False, slots=True)
class Call:
    """One operation under way. `before` is the call whose success its guard asks for."""

    lane: str
    key: str
    operation: Operation
    probe: bool
    answer: asyncio.Future[Reply]
    before: Call | None = None
    ask: bool = False
    secret: bool = False
    teller: Key | None = None  # the task whose output it is
    connection: Connection = None


class HostLink:
    """One host under one identity: its session, the calls under way, and the way back after a loss."""

    def __init__(self, connection: Connection, wire: Wire) -> None:
        self.connection = connection
        self.calls: dict[str, Call] = {}
        self._wire = wire
        self._session: Session | None = None
        self._ready = False
        self._was_ready = False
        self._tries = 0  # to connect, since the last connection
        self._losses = 0
        self._since = 0.0  # when the connection stood
        self._answered: list[str] = []
        self._last: dict[str, str] = {}  # by lane: the key of the operation that left last, which a guard asks about
        self._journal = ""

    @property
    def idle(self) -> bool:
        return self._ready and not self.calls

    def send(self, call: Call) -> None:
        """Put a call on its way, connecting first where there is no connection."""
        self.calls[call.key] = call
        if self._ready:
            self._put(call)
        elif self._session is None:
            self._connect()

    def flush(self) -> None:
        if self._session is not None and self._ready:
            self._session.flush()

    def close(self, *, ended: bool) -> None:
        """End politely: at the run's end the host forgets the records of this run."""
        if self._session is None:
            return
        if ended and self._ready:
            self._session.acknowledge([*self._answered, *self._wire.replayed.get(self.connection, ())])
            self._session.end(self._wire.recorder.run)
        self._session.close()
        self._session = None
        self._ready = False

    def abort(self, keys: Iterable[str] = ()) -> None:
        """A deliberate interrupt: end what runs on the host (all of it, or `keys`), drop what was sent ahead."""
        if self._session is not None and self._ready:
            for key in keys or self.calls:
                self._session.abort(key)
            self._session.flush()

    # --- what the session says ---------------------------------------------------------------------------

    def ready(self, hello: Any) -> None:
        if hello.get("python") == "" and not self._was_ready and self.connection.python == "auto":
            words = "no Python of 3.7 or newer was found there; its shell does what it can"
            self._wire.warn(f"{self.connection.name}: {words} (docs/hosts-without-python.md)")
        self._ready, self._was_ready, self._tries = True, True, 0
        self._since = asyncio.get_running_loop().time()
        if not self._journal or not any(call.ask for call in self.calls.values()):
            # What is to be asked about was sent to the journal before: in another one, absent says nothing of it.
            self._journal = self._wire.first_journal(self.connection, str(hello["journal"]))
        if hello["warning"]:
            self._wire.warn(f"{self.connection.name}: {hello['warning']}")
        for call in list(self.calls.values()):
            self._put(call)
        self._wire.schedule(self)

    def answered(self, key: str, reply: Reply) -> None:
        call = self.calls.pop(key, None)
        if call is None:
            return
        if _overtaken(call, reply):
            call.answer.set_exception(Superseded(f"{self.connection.name}: {reply.error}", 0))
            return
        self._losses = 0
        self._answered.append(key)
        self._wire.recorder.replied(key, reply, secret=call.secret)
        if not call.answer.done():
            call.answer.set_result(reply)
        self._wire.schedule()

    def asked(self, key: str, state: str, reply: Reply | None) -> None:
        """The host's journal has spoken about an operation that an earlier connection may have brought."""
        call = self.calls.get(key)
        if call is None or state == "running":
            return
        if state == "done" and reply is not None:
            self.answered(key, reply)
        elif state == "absent" or self._may_repeat(call):
            call.ask = False
            self._resubmit(call)
        else:
            self.answered(key, Reply(status="unknown", ok=False, error="nobody can say whether it ran"))

    def ended(self, error: CiflowError | None) -> None:
        """Reconnect while something is under way and the host was there before; else say that it is not."""
        loop, stood = asyncio.get_running_loop(), self._ready
        self._session, self._ready = None, False
        self._last.clear()
        if not self.calls or error is None:
            return None
        if isinstance(error, Superseded) and not self._was_ready and self._wire.take_over(error):
            return self._connect()
        if isinstance(error, Gone):
            return self._gone(error)
        if stood:
            self._losses = 0 if loop.time() - self._since >= STEADY else self._losses + 1
        if self._was_ready and self._worth_a_try(error):
            for call in self.calls.values():
                call.ask = True
            delay = RECONNECTS[min(max(self._tries, self._losses - 1), len(RECONNECTS) - 1)]
            self._tries += 1
            self._wire.warn(f"{self.connection.name}: {error.message}; connecting again")
            loop.call_later(delay, self._connect)
            return None
        return self.fail(Unreachable(error.message, help=error.help) if isinstance(error, Lost) else error)

    def _worth_a_try(self, error: CiflowError) -> bool:
        """Whether to connect again: a line may break at any time, but not at once, again and again."""
        if not isinstance(error, TargetError) or isinstance(error, Broken):
            return False
        return self._tries < len(RECONNECTS) and self._losses < LOSSES

    def _gone(self, error: Gone) -> None:
        """What the host had in hand is unknown for good; what never reached it, it can't be given any more."""
        for call in [call for call in self.calls.values() if call.ask]:
            self.answered(call.key, Reply(status="unknown", ok=False, error=f"{error.message}: it may have run before"))
        self.fail(error)

    def fail(self, error: CiflowError) -> None:
        calls, self.calls = list(self.calls.values()), {}
        for call in calls:
            if not call.answer.done():
                call.answer.set_exception(error)

    # --- private -----------------------------------------------------------------------------------------

    def _connect(self) -> None:
        if self._session is None and self.calls:
            self._session = self._wire.open(self)

    def _put(self, call: Call) -> None:
        assert self._session is not None
        if call.ask:
            self._session.ask([call.key], self._journal)
        elif call.before is not None and call.before.key != self._last.get(call.lane):
            call.before.answer.add_done_callback(lambda _: self._judged(call))  # the host would judge by another one
        else:
            guard = "after-ok" if call.before is not None else ""
            self._last[call.lane] = call.key
            self._session.submit(call.lane, call.key, call.operation, guard)
        self._wire.schedule(self)

    def _resubmit(self, call: Call) -> None:
        """Never started: send it now, unless the one before it is still to be judged or went wrong."""
        before = call.before.answer if call.before is not None else None
        if before is not None and not before.done():
            before.add_done_callback(lambda _: self._judged(call))
        elif before is not None and not went_well(before):
            self.answered(call.key, Reply(status="skipped", ok=False))
        elif self._ready:
            call.before = None
            self._put(call)

    def _judged(self, call: Call) -> None:
        """The one before has ended: send what waits for it, once."""
        if call.before is not None and call.key in self.calls:
            self._resubmit(call)

    def _may_repeat(self, call: Call) -> bool:
        operation = call.operation
        if isinstance(operation, Exec):
            return bool(operation.creates or operation.removes)
        if isinstance(operation, Api):
            return operation.repeat
        return call.probe or isinstance(operation, _CONVERGING)


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


def _overtaken(call: Call, reply: Reply) -> bool:
    """Whether the host refused because a newer run has the project: nothing began, and there is nothing to record."""
    compared = getattr(call.operation, "expect", "")  # a file that is not as expected is refused in the same words
    return reply.status == "refused" and reply.errno == "ESTALE" and not compared and not call.answer.done()


def went_well(answer: asyncio.Future[Reply]) -> bool:
    """Whether the operation is known to have gone well, as its host judged it."""
    return answer.done() and not answer.cancelled() and answer.exception() is None and answer.result().ok


def predicted(operation: Operation) -> Operation | None:
    """The operation that only predicts, for check mode; None where nothing can be predicted without doing it."""
    return replace(operation, check=True) if isinstance(operation, _CONVERGING) else None
