"""The agent of hosts without Python, as a pipe that speaks the frames of any other agent.

`ShellPipe` stands between a session and the lines of agent.sh. What a shell does badly is done here: the order of lanes
and their guards (the next operation of a lane is sent when the one before has ended: nothing is sent ahead, so nothing
has to be dropped there), replies, digests, names. Lines to the host, each a word and its arguments:

    begin EPOCH PROJECT RUN HOLDER   take the project        j N NAME DIGEST SCRIPT  perform (NAME -: it only looks;
                                                             +DIGEST: once more after an agent that died in it)
    a N NAME JOURNAL                 what became of it       k N NAME                end it, with its group
    l N NAME OUT ERR                 output behind these     u N NAME                how much of an upload is there
    p N NAME SIZE, then raw bytes    more of an upload       o N NAME SIZE ESCAPED   the same where dd can't count
    f NAME..                         forget                  b                       heartbeat

and back: `t begun|superseded ..`, `r N OUT ERR OUT ERR` (sizes, and how much of each is told) with facts, a dot and the
streams, `s N STATE`, `l N OUT ERR` with bytes, `g N SIZE`, `w N SIZE`, `b`.
"""

from __future__ import annotations

import json
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from ciflow.diagnostics import CiflowError, Lost, Refused
from ciflow.encoding import decode_operation, encode_reply, loads
from ciflow.model import Reply
from ciflow.targets import wire
from ciflow.targets.connection import Pipe
from ciflow.targets.lower import lower
from ciflow.targets.sh_flight import Flight, epoch_of, hello_from, short_hash
from ciflow.targets.sh_words import KEEP, Result, Script, Stage, escape, facts_from, raw, reply_of

PIECE = 60 * 1024  # bytes of an upload in one line
LIVE = 0.4  # seconds between two looks at the output of what runs


class ShellPipe:
    """See the module. `send` and `receive` are those of a Pipe; what is told to the host leaves in a thread."""

    def __init__(self, inner: Pipe, rest: bytes) -> None:
        self._inner = inner
        self._lock = threading.RLock()  # of all below but _leaving
        self._leaving: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._frames = wire.Decoder()
        self._messages = wire.Messages()
        self._buffer = bytearray(rest)
        self._answers = bytearray()  # frames for the session
        self._before: list[dict[str, Any]] = []  # what was said before the hello
        self._hello: dict[str, str] = {}
        self._epoch = self._journal = self._run = ""
        self._begin: Mapping[str, Any] = {}
        self._flights: dict[int, Flight] = {}
        self._lanes: dict[str, deque[Flight]] = {}
        self._well: dict[str, bool] = {}
        self._acknowledged: set[str] = set()
        self._looked = time.monotonic()
        self._gone: CiflowError | None = None
        self._parse()
        threading.Thread(target=self._leave, name="lines to a shell", daemon=True).start()

    # --- the pipe, as the session sees it

    def send(self, data: bytes) -> None:
        if self._gone is not None:
            raise self._gone
        with self._lock:
            for frame in self._frames.feed(data):
                if frame.kind == wire.Kind.HEARTBEAT:
                    self._say("b")
                elif frame.kind == wire.Kind.CONTENT:
                    self._on_content(frame)
                elif frame.kind == wire.Kind.MESSAGE and (message := self._messages.add(frame)) is not None:
                    if self._hello:
                        self._on_message(message)
                    else:
                        self._before.append(message)
            if self._answers:
                self._say("b")  # what is answered here: its echo wakes whoever waits for the host

    def receive(self, timeout: float) -> bytes | None:
        until = time.monotonic() + timeout
        while True:
            with self._lock:
                if self._answers:
                    answers = bytes(self._answers)
                    self._answers.clear()
                    return answers
                patience = self._look()
            left = until - time.monotonic()
            data = self._inner.receive(max(0.0, min(left, patience)))
            if data == b"":
                return b""
            with self._lock:
                if data:
                    self._buffer += data
                    self._parse()
                elif left <= 0:
                    return None

    def close(self) -> None:
        self._leaving.put(None)
        self._inner.close()

    def _leave(self) -> None:
        while (data := self._leaving.get()) is not None:
            try:
                self._inner.send(data)
            except CiflowError as e:
                self._gone = e  # told to who sends next; what the host has said is still to be read
                return

    def _say(self, *words: object, more: bytes = b"") -> None:
        self._leaving.put(" ".join(map(str, words)).encode() + b"\n" + more)

    def _tell(self, message: Mapping[str, Any]) -> None:
        self._answers += wire.encode_message(message)

    def _look(self) -> float:
        """Ask for the output of what runs, now and then; seconds until the next time."""
        running = [flight for flight in self._flights.values() if flight.runs and min(flight.seen) < KEEP]
        if not running:
            return wire.HEARTBEAT
        now = time.monotonic()
        if now - self._looked >= LIVE:
            self._looked = now
            for flight in running:
                self._say("l", flight.number, short_hash(flight.key), *flight.seen)
        return self._looked + LIVE - now

    # --- what the host says

    def _parse(self) -> None:
        while (line := self._line(0)) is not None:
            verb, *words = line.decode("ascii", "replace").split(" ")
            if verb not in _TAKERS:
                raise Lost(f"the shell's pipe carries a line that is none of ours: {line[:80]!r}")
            taken = _TAKERS[verb](self, len(line) + 1, words)
            if taken < 0:
                return  # not whole yet
            del self._buffer[:taken]

    def _line(self, at: int) -> bytes | None:
        end = self._buffer.find(b"\n", at)
        return None if end < 0 else bytes(self._buffer[at:end])

    def _lines(self, at: int) -> tuple[list[bytes], int]:
        """(lines up to one that is a dot, where they end); -1 where that has not come yet."""
        end = at if self._buffer.startswith(b".\n", at) else self._buffer.find(b"\n.\n", at) + 1
        if end == 0 and not self._buffer.startswith(b".\n", at):
            return [], -1
        return bytes(self._buffer[at:end]).splitlines(), end + 2

    def _take_hello(self, at: int, _words: list[str]) -> int:
        lines, end = self._lines(at)
        if end < 0:
            return -1
        said = self._hello = hello_from(lines)
        if said["session"] == "none":
            raise Lost("no folder can be written to there: neither /dev/shm, the home, /var/tmp nor /tmp")
        if said["missing"]:
            raise Lost(f"there is no Python of 3.7 or newer, and its shell lacks:{said['missing']}")
        self._epoch = epoch_of(said)
        self._tell({
            "t": "hello", "version": 1, "pid": int(said["pid"]), "uid": int(said["uid"]), "user": said["user"],
            "python": "", "executable": "sh", "home": said["home"], "epoch": self._epoch, "warning": "",
        })  # fmt: skip
        for message in self._before:
            self._on_message(message)
        return end

    def _take_begun(self, at: int, words: list[str]) -> int:
        if words[0] == "superseded":
            held = loads(" ".join(words[1:]) or '[0,""]')
            self._tell({"t": "superseded", "token": held[0], "run": held[1]})
            return at
        identity, warning = words[1], " ".join(words[2:])
        if warning:
            warning = f"no place to write a journal ({warning}): lost operations will be unknown"
        self._journal = f"{self._epoch}:{identity}" if identity else ""
        self._tell({"t": "begun", "token": self._begin["token"], "run": self._begin["run"], "journal": self._journal,
                    "warning": warning})  # fmt: skip
        return at

    def _take_result(self, at: int, words: list[str]) -> int:
        number, out, err, kept_out, kept_err = map(int, words)
        lines, end = self._lines(at)
        flight = self._flights.get(number)
        if end < 0 or len(self._buffer) < end + kept_out + kept_err:
            return -1
        stdout = bytes(self._buffer[end : end + kept_out])
        stderr = bytes(self._buffer[end + kept_out : end + kept_out + kept_err])
        if flight is not None:
            base = self._hello["base"]
            folder = f"{base}/{self._epoch}/runs/{self._run}/{short_hash(flight.key)}" if base else ""
            result = Result(facts_from(lines), stdout, stderr, out, err, folder, float(self._hello["booted"]))
            flight.runs = False
            if flight.steps is None:
                self._answer(flight, reply_of(result))
            else:
                self._step(flight, result)
        return end + kept_out + kept_err

    def _take_state(self, at: int, words: list[str]) -> int:
        flight = self._flights.get(int(words[0]))
        if flight is not None:
            self._tell({"t": "asked", "id": flight.number, "key": flight.key, "state": words[1]})
            if words[1] in ("absent", "unknown"):
                del self._flights[flight.number]
        return at

    def _take_live(self, at: int, words: list[str]) -> int:
        number, *sizes = map(int, words)
        if len(self._buffer) < at + sum(sizes):
            return -1
        flight = self._flights.get(number)
        for which, size in enumerate(sizes):
            if flight is not None and flight.runs and size:
                piece = bytes(self._buffer[at : at + min(size, KEEP - flight.seen[which])])
                flight.seen[which] += len(piece)
                self._output(number, piece, which, 0)
            at += size
        return at

    def _take_amount(self, at: int, words: list[str]) -> int:
        flight = self._flights.get(int(words[0]))
        if flight is not None:
            flight.sent = flight.there = min(int(words[1]), flight.size)
            if flight.content is None:
                self._tell({"t": "want", "id": flight.number, "key": flight.key, "offset": flight.sent})
            else:
                for start in range(flight.sent, flight.size, PIECE):
                    self._piece(flight, flight.content[start : start + PIECE])
            self._staged(flight)
        return at

    def _take_written(self, at: int, words: list[str]) -> int:
        flight = self._flights.get(int(words[0]))
        if flight is not None:
            flight.there += int(words[1])
            self._answers += wire.encode_credit(flight.number, int(words[1]))
            self._staged(flight)
        return at

    def _take_beat(self, at: int, _words: list[str]) -> int:
        self._answers += wire.HEARTBEAT_FRAME
        return at

    # --- what the session says

    def _on_message(self, message: dict[str, Any]) -> None:
        getattr(self, "_on_" + message["t"])(message)

    def _on_begin(self, m: Mapping[str, Any]) -> None:
        self._begin, self._run = m, f"sh-{short_hash(m['run'])}"
        holder = json.dumps([m["token"], m["run"]], separators=(",", ":"))
        self._say("begin", self._epoch, short_hash(m["project"]), self._run, escape(holder))

    def _on_op(self, m: dict[str, Any]) -> None:
        flight = Flight(m["id"], m["key"], m["lane"], m)
        self._flights[flight.number] = flight
        lane = self._lanes.setdefault(flight.lane, deque())
        lane.append(flight)
        if len(lane) == 1:
            self._begin_next(lane)

    def _on_ask(self, m: Mapping[str, Any]) -> None:
        epoch, _, identity = str(m.get("journal", "")).rpartition(":")
        journal = "-" if not epoch else identity if epoch == self._epoch and " " not in identity else "another"
        for key, number in m["keys"]:
            self._flights[number] = Flight(number, key)
            self._say("a", number, short_hash(key), journal)

    def _on_cancel(self, m: Mapping[str, Any]) -> None:
        lane = self._lanes.get(m["lane"], deque())
        waiting = list(lane)[1:]
        at = next((n for n, flight in enumerate(waiting) if flight.key == m["from"]), len(waiting))
        for flight in waiting[at:]:
            lane.remove(flight)
            self._answer(flight, Reply(status="skipped", ok=False, error="cancelled before it started"))

    def _on_abort(self, m: Mapping[str, Any]) -> None:
        for flight in [one for one in self._flights.values() if one.key == m["key"]]:
            if flight.steps is not None or not flight.lane:
                self._say("k", flight.number, short_hash(flight.key))
            else:
                self._on_cancel({"lane": flight.lane, "from": flight.key})

    def _on_ack(self, m: Mapping[str, Any]) -> None:
        self._acknowledged.update(m["keys"])

    def _on_end(self, m: Mapping[str, Any]) -> None:
        names = [short_hash(key) for key in self._acknowledged]
        if self._journal and m["run"] == self._begin.get("run"):
            for start in range(0, len(names), 100):
                self._say("f", *names[start : start + 100])
        self._acknowledged.clear()
        self._tell({"t": "ended", "run": m["run"]})

    def _on_content(self, frame: wire.Frame) -> None:
        flight = self._flights.get(frame.stream)
        if flight is not None:
            for start in range(0, len(frame.payload), PIECE):
                self._piece(flight, frame.payload[start : start + PIECE])

    # --- one operation

    def _begin_next(self, lane: deque[Flight]) -> None:
        """Start what stands first in a lane, once what was before it has ended."""
        while lane and lane[0].steps is None:
            flight, m = lane[0], dict(lane[0].message)
            if m.get("guard") == "after-ok" and not self._well.get(flight.lane, False):
                self._end(flight, Reply(status="skipped", ok=False, error="the one before did not go well"))
                continue
            encoded = dict(m["op"])
            check = bool(encoded.pop("check", False))
            operation = decode_operation(encoded)
            flight.size = m.get("size", 0)
            try:
                flight.steps = lower(operation, short_hash(flight.key), check=check, sha256=m.get("sha256", ""))
                self._step(flight, None)
            except Refused as e:
                self._end(flight, Reply(status="refused", ok=False, error=e.message, errno="ENOSYS"))

    def _step(self, flight: Flight, result: Result | None) -> None:
        assert flight.steps is not None
        try:
            step = flight.steps.send(result) if result is not None else next(flight.steps)
        except StopIteration as end:
            self._end(flight, end.value)
            return
        except Refused as e:
            self._end(flight, Reply(status="refused", ok=False, error=e.message, errno="ENOSYS"))
            return
        except Exception as e:  # a fault of ours must not end the session: it is shown as a failed task
            self._end(flight, Reply(ok=False, error=f"what the shell said was not understood: {type(e).__name__}: {e}"))
            return
        if isinstance(step, Stage):
            self._stage(flight, step)
        else:
            self._perform(flight, step)

    def _stage(self, flight: Flight, step: Stage) -> None:
        flight.content = step.content
        if step.content is not None:
            flight.size = len(step.content)
        self._say("u", flight.number, short_hash(flight.key))

    def _piece(self, flight: Flight, piece: bytes) -> None:
        flight.sent += len(piece)
        if self._hello["raw"] == "yes":
            self._say("p", flight.number, short_hash(flight.key), len(piece), more=piece)
        else:
            self._say("o", flight.number, short_hash(flight.key), len(piece), escape(piece))

    def _staged(self, flight: Flight) -> None:
        if flight.there >= flight.size:
            self._step(flight, Result({}))

    def _perform(self, flight: Flight, script: Script) -> None:
        flight.message = {**flight.message, "journalled": script.journalled}
        flight.runs = script.journalled and flight.message["op"]["op"] == "exec"
        name, digest = "-", "-"
        if script.journalled:
            from ciflow.targets import agent  # whose rules are the same: only who has no Python there needs it here

            name, digest = short_hash(flight.key), self._digest(flight.message)
            digest = f"+{digest}" if agent.may_repeat(flight.message["op"]) else digest
        self._say("j", flight.number, name, digest, escape(script.words))

    def _end(self, flight: Flight, reply: Reply) -> None:
        self._well[flight.lane] = reply.ok and reply.status in ("done", "skipped")
        lane = self._lanes[flight.lane]
        if flight in lane:
            lane.remove(flight)
        self._answer(flight, reply)
        self._begin_next(lane)

    def _answer(self, flight: Flight, reply: Reply) -> None:
        """What has not been told while it ran goes raw, behind the message's own."""
        self._flights.pop(flight.number, None)
        message = encode_reply(reply)
        quiet = 0 if "rc" in message else wire.QUIET
        for which, stream in enumerate((reply.stdout, reply.stderr)):
            message.pop(("stdout", "stderr")[which], None)
            for start in range(flight.seen[which], len(stream), wire.MAX_PAYLOAD):
                self._output(flight.number, stream[start : start + wire.MAX_PAYLOAD], which, quiet)
        streamed = [len(reply.stdout), len(reply.stderr)]
        self._tell({"t": "answer", "id": flight.number, "key": flight.key, "reply": message, "streamed": streamed})

    def _output(self, number: int, data: bytes, which: int, flags: int) -> None:
        flags |= wire.STDERR if which else 0
        self._answers += wire.encode_frame(wire.Frame(wire.Kind.OUTPUT, number, data, flags))

    def _digest(self, message: Mapping[str, Any]) -> str:
        """Of what was asked, keyed by the run: a host's record says nothing of what it was."""
        named = {name: message[name] for name in ("op", "sha256", "size") if name in message}
        return short_hash(json.dumps(named, sort_keys=True), raw(self._run))


_TAKERS: dict[str, Callable[[ShellPipe, int, list[str]], int]] = {
    "h": ShellPipe._take_hello, "t": ShellPipe._take_begun, "r": ShellPipe._take_result, "s": ShellPipe._take_state,
    "l": ShellPipe._take_live, "g": ShellPipe._take_amount, "w": ShellPipe._take_written, "b": ShellPipe._take_beat,
}  # fmt: skip
