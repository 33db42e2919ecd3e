"""A session: one agent on one host for one identity, with many lanes of operations.

Calls come from the engine's loop and never wait for the host; what happens comes back through `inbox`, called from the
session's own thread. `submit` only gathers, `flush` sends all of it at once: what is sent ahead leaves in one packet.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from ciflow.dataclass import dataclass, field
from ciflow.diagnostics import Broken, CiflowError, Lost, Refused, Superseded, Unreachable
from ciflow.encoding import decode_reply
from ciflow.model import Operation, Reply
from ciflow.targets import TARGETS, wire
from ciflow.targets.connection import Connection, Metered, Pipe
from ciflow.targets.launch import NO_PYTHON, TooOld, greet, plan_launch
from ciflow.targets.told import Answer, Asked, Ended, Output, Ready, SessionEvent
from ciflow.targets.upload import Gated, Upload, pack

_NOTHING_MOVED = {"sent": 0, "received": 0}  # whatever the host says
LAST_WORDS = 5.0  # seconds to hear why a host takes nothing more


@dataclass(slots=True)
class _Flight:
    """One operation (or question) on its way, by the number of its stream."""

    key: str
    asked: bool = False
    streams: tuple[bytearray, bytearray] = field(default_factory=lambda: (bytearray(), bytearray()))
    ungranted: int = 0
    upload: Upload | None = None


class Session:
    """See the module. Made by `open`; all methods may be called from any thread and return at once."""

    def __init__(
        self, connection: Connection, project: str, run: str, token: int, inbox: Callable[[SessionEvent], None]
    ) -> None:
        self.connection = connection
        self._begin = {"t": "begin", "project": project, "run": run, "token": token}
        self._inbox = inbox
        self._lock = threading.RLock()  # of all below
        self._sending = threading.Lock()  # of the pipe's way out
        self._pipe: Pipe | None = None
        self._way: Pipe | None = None  # what the target opened, under whatever speaks through it
        self._meter: Metered | None = None  # of what goes through it, where that leaves the machine
        self._buffer: list[bytes] = []
        self._opening = b""
        self._flights: dict[int, _Flight] = {}
        self._gates: dict[str, list[Gated]] = {}
        self._number = 0
        self._hello: dict[str, Any] = {}
        self._error: CiflowError | None = None
        self._until = math.inf  # when to give up hearing, once nothing more can be sent
        self._closed = False
        self._messages = wire.Messages()

    @staticmethod
    def open(
        connection: Connection, *, project: str, run: str, token: int, inbox: Callable[[SessionEvent], None]
    ) -> Session:
        """Start connecting; Ready or Ended follows. Operations may be submitted at once: they go with the agent."""
        session = Session(connection, project, run, token, inbox)
        threading.Thread(target=session._live, name=f"session {connection.name}", daemon=True).start()
        return session

    # --- what the engine says

    def submit(self, lane: str, key: str, operation: Operation, guard: str = "", check: bool = False) -> None:
        """Queue an operation for `lane`; `guard` is "", "after-ok" or "always". Call `flush` when all are queued."""
        with self._lock:
            number = self._next()
            message, upload = pack(operation, check)
            message.update(t="op", lane=lane, key=key, id=number, guard=guard)
            self._flights[number] = _Flight(key, upload=upload)
            gate = self._gates.get(lane)
            if gate is not None:
                gate.append(Gated(key, message, upload))
            elif upload is not None and not upload.sha256:
                self._gates[lane] = [Gated(key, message, upload)]
                threading.Thread(target=self._open_gate, args=(lane,), daemon=True).start()
            else:
                self._buffer.append(wire.encode_message(message))

    def flush(self) -> None:
        """Send all that was submitted, in one go."""
        with self._lock:
            if self._pipe is None or not self._buffer:
                return
        self._send(b"")

    def ask(self, keys: Iterable[str], journal: str = "") -> None:
        """Ask the host what became of operations. `journal` is the identity of the run's first hello there: if the
        host's journal is another by now, what it doesn't know is unknown, not absent."""
        with self._lock:
            pairs = [(key, self._next()) for key in keys]
            self._flights.update((number, _Flight(key, asked=True)) for key, number in pairs)
            self._say({"t": "ask", "keys": pairs, "journal": journal})

    def cancel(self, lane: str, from_key: str) -> None:
        """Drop what is not started in `lane`, from `from_key` on: each is answered `skipped`."""
        with self._lock:
            gate = self._gates.get(lane, [])
            at = next((n for n, item in enumerate(gate) if item.key == from_key), len(gate))
            dropped = [item.key for item in gate[at:]]
            del gate[at:]
        self._say({"t": "cancel", "lane": lane, "from": from_key})
        for key in dropped:
            self._inbox(Answer(self, key, Reply(status="skipped", ok=False, error="cancelled before it started")))

    def abort(self, key: str) -> None:
        """End an operation that is under way, with its whole process group."""
        self._say({"t": "abort", "key": key})

    def acknowledge(self, keys: Iterable[str]) -> None:
        """These replies are safe in the store: the host may forget them when the run ends."""
        self._say({"t": "ack", "keys": list(keys)})

    def end(self, run: str) -> None:
        """The run is over: acknowledged records are removed from the host."""
        self._say({"t": "end", "run": run})

    def close(self) -> None:
        """Let go of the host. What is under way there goes on; what is not started is dropped."""
        with self._lock:
            self._closed = True
            pipe = self._pipe
        if pipe is not None:
            pipe.close()

    # --- sending

    def _next(self) -> int:
        self._number += 1
        return self._number

    def _say(self, message: dict[str, Any]) -> None:
        """Send a small message now, after all that was submitted before it."""
        with self._lock:
            self._buffer.append(wire.encode_message(message))
            if self._pipe is None:
                return
        self._send(b"")

    def _send(self, data: bytes) -> None:
        """Send what is gathered, then `data`. A failure ends the session once its last words are heard."""
        with self._sending:
            with self._lock:
                pipe = self._pipe
                if pipe is None or self._error is not None:
                    return
                gathered = b"".join(self._buffer) + data
                self._buffer.clear()
            try:
                pipe.send(gathered)
            except CiflowError as e:
                self._until, self._error = time.monotonic() + LAST_WORDS, e

    def _open_gate(self, lane: str) -> None:
        """Hash the large files of a lane, one after the other, and let pass what was waiting behind each."""
        while True:
            with self._lock:
                gate = self._gates[lane]
                if not gate:
                    del self._gates[lane]
                    return
                item = gate[0]
            failure = item.measure()
            with self._lock:
                if not gate or gate[0] is not item:
                    continue
                gate.pop(0)
                if not failure:
                    self._buffer.append(wire.encode_message(item.message))
            if failure:
                self._inbox(Answer(self, item.key, Reply(ok=False, error=failure)))
            self._send(b"")

    # --- the session's thread

    def _live(self) -> None:
        error: CiflowError | None = None
        try:
            self._reach(self.connection)
        except CiflowError as e:
            error = e if self._hello else _never_ready(self.connection, e)
        except Exception as e:
            error = Lost(f"{self.connection.name}: {type(e).__name__}: {e}")
            error.__cause__ = e
        self._inbox(Ended(self, None if self._closed else error))

    def _opener(self) -> Callable[[Connection, str], Pipe]:
        kind = self.connection.kind
        if kind not in TARGETS:
            help = f"there are {', '.join(TARGETS)}"
            raise Refused(f"{self.connection.name}: there is no connection `{kind}`", help=help)
        return TARGETS[kind]

    def _reach(self, connection: Connection) -> None:
        """Be with the host until the end; by its shell where its Python is too old."""
        launch = plan_launch(connection)
        pipe = self._way = self._opener()(connection, launch.command)
        if connection.kind != "local":
            pipe = self._meter = Metered(pipe)
        try:
            self._listen(*greet(pipe, launch, connection, self._first))
        except TooOld:
            pipe.close()
            self._reach(replace(connection, python=NO_PYTHON))
        finally:
            pipe.close()

    def _first(self) -> bytes:
        """What goes with the agent, again with a second one where the first could not run."""
        with self._lock:
            self._opening = (self._opening or wire.encode_message(self._begin)) + b"".join(self._buffer)
            self._buffer.clear()
        return self._opening

    def _listen(self, pipe: Pipe, rest: bytes) -> None:
        decoder = wire.Decoder()
        with self._lock:
            self._pipe = pipe
            closed = self._closed
        if closed:
            return
        self._send(b"")
        heard = beaten = time.monotonic()
        beat, patience = self._rhythm()
        data: bytes | None = rest
        while True:
            now = time.monotonic()
            if data:
                heard = now
                for frame in decoder.feed(data):
                    self._handle(frame)
            if now - beaten >= beat:
                beaten = now
                self._send(wire.HEARTBEAT_FRAME)
            if now - heard > patience:
                raise Lost(f"{self.connection.name}: nothing was heard for {now - heard:.0f} s")
            if self._error is not None and now > self._until:
                raise self._error
            data = pipe.receive(max(0.0, beaten + beat - now))
            if data == b"":
                raise self._error or Lost(f"{self.connection.name}: the connection ended")

    def _rhythm(self) -> tuple[float, float]:
        """Seconds between two heartbeats, and of silence after which the host is lost: ours, unless its way says."""
        every, count = getattr(self._way, "silence", (0.0, 0))
        if not every:
            return wire.HEARTBEAT, wire.MISSED * wire.HEARTBEAT
        return min(every, wire.HEARTBEAT), every * count  # the agent, too, waits for heartbeats

    def _handle(self, frame: wire.Frame) -> None:
        if frame.kind == wire.Kind.OUTPUT:
            self._on_output(frame)
        elif frame.kind == wire.Kind.CREDIT:
            with self._lock:
                flight = self._flights.get(frame.stream)
            if flight is not None and flight.upload is not None:
                flight.upload.credit += int.from_bytes(frame.payload, "big")
                self._stream(frame.stream, flight)
        elif frame.kind == wire.Kind.MESSAGE:
            message = self._messages.add(frame)
            try:
                if message is not None:
                    self._on_message(message)
            except (LookupError, TypeError, ValueError, AttributeError) as e:
                what = f"{type(e).__name__}: {e}"
                raise Broken(f"{self.connection.name}: the agent's answer makes no sense ({what})") from e

    def _on_output(self, frame: wire.Frame) -> None:
        with self._lock:
            flight = self._flights.get(frame.stream)
        if flight is None:
            return
        which = 1 if frame.flags & wire.STDERR else 0
        flight.streams[which].extend(frame.payload)
        if len(flight.streams[which]) > wire.MAX_MESSAGE:
            raise Broken(f"{self.connection.name}: the agent sends output without end")
        flight.ungranted += len(frame.payload)
        if flight.ungranted >= wire.CREDIT // 2:
            self._send(wire.encode_credit(frame.stream, flight.ungranted))
            flight.ungranted = 0
        if not frame.flags & wire.QUIET:
            self._inbox(Output(self, flight.key, "stderr" if which else "stdout", frame.payload))

    def _on_message(self, message: dict[str, Any]) -> None:
        kind = message["t"]
        if kind == "answer":
            self._on_answer(message)
        elif kind == "asked":
            self._on_asked(message)
        elif kind == "want":
            self._on_want(message)
        elif kind == "hello":
            self._hello.update(message)
        elif kind == "begun":
            self._hello.update(journal=message["journal"], token=message["token"], warning=message["warning"])
            self._inbox(Ready(self, self._hello))
        elif kind == "superseded":
            token = int(message["token"])
            if not 0 <= token < wire.MOST_TOKENS:
                raise Broken(f"{self.connection.name}: the agent tells of a token that no run can have")
            raise Superseded(
                f"{self.connection.name}: run {message['run']} has taken this project there (token {token})",
                token,
                str(message["run"]),
                help="wait for it, or take the project with a greater token",
            )
        elif kind == "fault":
            raise Lost(f"{self.connection.name}: the agent failed: {message['error']}")

    def _on_answer(self, message: dict[str, Any]) -> None:
        with self._lock:
            flight = self._flights.pop(message["id"], None)
        if flight is None:
            return
        if flight.upload is not None:
            flight.upload.close()
        reply = decode_reply({**message["reply"], **(self._meter.moved() if self._meter else _NOTHING_MOVED)})
        out, err = (bytes(s[:n]) for s, n in zip(flight.streams, message["streamed"], strict=True))
        if out or err:
            reply = replace(reply, stdout=out + reply.stdout, stderr=err + reply.stderr)
        if flight.asked:
            self._inbox(Asked(self, flight.key, "done", reply))
        else:
            self._inbox(Answer(self, flight.key, reply))

    def _on_asked(self, message: dict[str, Any]) -> None:
        number, state = message["id"], message["state"]
        if state == "done":
            return  # the reply follows
        with self._lock:
            if state == "running":
                self._flights[number].asked = False
            else:
                del self._flights[number]
        self._inbox(Asked(self, message["key"], state))

    def _on_want(self, message: dict[str, Any]) -> None:
        flight = self._flights[message["id"]]
        if flight.upload is not None:
            flight.upload.offset = message["offset"]
            self._stream(message["id"], flight)

    def _stream(self, number: int, flight: _Flight) -> None:
        """Send as much of a large Write's content as the agent will take now."""
        upload = flight.upload
        while upload is not None and (piece := upload.next(wire.MAX_PAYLOAD)):
            self._send(wire.encode_frame(wire.Frame(wire.Kind.CONTENT, number, piece)))
        if upload is not None and upload.fell_short:
            self.abort(flight.key)


def _never_ready(connection: Connection, error: CiflowError) -> CiflowError:
    if isinstance(error, Lost):
        return Unreachable(f"{connection.name}: {error.message}")
    return error
