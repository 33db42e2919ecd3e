"""One host under one identity, as the engine sees it: its session, the calls under way, and the way back after a loss.

The loop thread owns all of this. Threads of the sessions only post events, which `Wire` takes in on the loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

from ciflow.dataclass import dataclass
from ciflow.diagnostics import Broken, CiflowError, Gone, Lost, Superseded, TargetError, Unreachable
from ciflow.engine.keys import Key
from ciflow.model import Api, Attrs, Copy, Edit, Exec, Link, Mkdir, Operation, Remove, Reply, Write

if TYPE_CHECKING:
    from ciflow.engine.wire import Wire

Connection = Any  # targets.Connection: opaque here, hashable
_CONVERGING = (Write, Edit, Attrs, Copy, Remove, Mkdir, Link)
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
    doubted: bool = False  # sent again though it may have been done before
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
        if call.doubted and reply.ok and reply.status == "done" and _changes(call.operation):
            reply = replace(reply, changed=True)  # if not now, then before: what waits for a change must hear of it
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
        elif (state == "absent" and self._journal) or self._may_repeat(call):
            call.ask = False
            call.doubted = state != "absent" or not self._journal
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


def _changes(operation: Operation) -> bool:
    """Whether it changes what lies on its host, and does not only say what it would change."""
    return isinstance(operation, _CONVERGING) and not operation.check


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
