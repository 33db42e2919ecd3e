"""The run's memory: writes events, and on resume answers from what was written.

Event sourcing makes resume simple: the engine walks the same plan from the start, and whatever was recorded is
answered at once, so no finished operation is sent again. Where the record ends, work goes on.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

from ciflow.diagnostics import Refused
from ciflow.encoding import decode_reply, encode_operation, encode_reply
from ciflow.engine.usage import Usage
from ciflow.lang.scope import MISSING
from ciflow.model import EMPTY, Event, Operation, Reply


class Journal(Protocol):
    """Where events go: the store, or nothing for a rollback that must go on without one."""

    def append(self, events: Sequence[Event]) -> int: ...


class Sink(Protocol):
    """Who is told of events as they happen, and of those that happened before a resume. See report/sink.py."""

    def event(self, event: Event) -> None: ...

    def past(self, event: Event) -> None: ...

    def tick(self, now: float) -> None: ...

    def close(self) -> None: ...


class Masker(Protocol):
    """Knows the run's secrets by value and stars them out."""

    def __bool__(self) -> bool: ...

    def add(self, value: str | bytes) -> bool: ...

    def value(self, value: object, *, numbers: bool = False) -> Any: ...

    def holds_secret(self, content: bytes) -> bool: ...


class Sealer(Protocol):
    """Encrypts what must not lie open in the journal."""

    def seal(self, content: bytes, context: str) -> str: ...

    def open(self, sealed: str, context: str) -> bytes: ...


_Identity = tuple[str, str, str, str, str]


class Recorder:
    """One run's events: emitted, buffered, committed in one transaction a turn, and replayed on resume.

    Nothing is sent to a host before `commit` has written what leads to it.
    """

    def __init__(
        self,
        run: str,
        journal: Journal | None,
        sinks: Sequence[Sink] = (),
        *,
        secret: bytes = b"",
        sealer: Sealer | None = None,
        mask: Masker | None = None,
    ) -> None:
        self.run = run
        self._journal = journal
        self._sinks = sinks
        self._secret = secret
        self._sealer = sealer
        self._mask = mask
        self._pending: list[Event] = []
        self._seen: Counter[_Identity] = Counter()
        self._replies: dict[str, Mapping[str, Any]] = {}
        self._rendered: dict[str, Any] = {}
        self._sent: dict[str, str] = {}
        self._cut_short: set[str] = set()
        self._failures: Counter[tuple[str, str, str]] = Counter()
        self._usage = Usage()

    # --- resume ----------------------------------------------------------------------------------------

    def remember(self, past: Iterable[Event]) -> None:
        """Take in what an earlier process of this run recorded.

        What was used up before it began is another run's: its version is deployed again.
        """
        began = math.inf
        for event in past:
            if event.kind == "run_started":
                began = event.at
            if event.kind not in EACH_TIME and not _went_wrong(event):
                self._seen[_identity(event)] += 1
            if event.kind == "task_ended":
                self._count_failure(event)
            if event.kind == "op_reply":
                reply = self._open(event.data["reply"], event.key)
                self._answered(event.key, reply)
                if event.at >= began:
                    self._usage.add(event.key, reply)
            elif event.kind == "usage":
                self._usage.told(event.play, event.data)
            elif event.kind == "op_sent":
                self._sent[event.key] = event.data["digest"]
            elif event.kind == "rendered":
                self._rendered[event.key] = self._open(event.data["args"], event.key)

    def _answered(self, key: str, reply: Mapping[str, Any]) -> None:
        """A reply is the answer for good, unless it says that the guard did not hold: then nothing was begun."""
        if reply.get("status") == "skipped" and not reply.get("ok", True):
            self._replies.pop(key, None)
            self._sent.pop(key, None)
        else:
            self._replies[key] = reply
            self._note_cut(key, reply.get("errno", ""))

    def _count_failure(self, event: Event) -> None:
        where = (event.play, event.host, event.task)
        if event.data["status"] == "rescued":
            self._failures[where] = 0
        elif _went_wrong(event):
            self._failures[where] += 1

    def failures(self, play: str, host: str, task: str) -> int:
        """How often a task failed for good before the run was resumed: it is tried again, under keys of its own."""
        return self._failures[(play, host, task)]

    def cut_short(self, attempt: str) -> bool:
        """Whether an operation of a task's attempt was ended by an interrupt: its failure says nothing of the task."""
        return any(key.startswith(f"{attempt}/try") for key in self._cut_short)

    def _note_cut(self, key: str, errno: str) -> None:
        if errno == "EINTR":
            self._cut_short.add(key)

    def reply(self, key: str) -> Reply | None:
        """What came back for this key before, if it did."""
        found = self._replies.get(key)
        return decode_reply(found) if found is not None else None

    def was_sent(self, key: str) -> bool:
        """Whether an earlier process may have sent it: then its host must be asked first."""
        return key in self._sent

    def known(self, key: str) -> Any:
        """The value recorded under `key`, or MISSING."""
        return self._rendered.get(key, MISSING)

    def rendered(self, key: str, make: Callable[[], Any], *, secret: bool = False) -> Any:
        """The value recorded under `key`, or the one that `make` gives, recorded now.

        So `random`, `now`, lookups and prompts give the same after a kill.
        """
        if key in self._rendered:
            return self._rendered[key]
        value = make()
        self.emit("rendered", {"args": self._close(value, key, secret)}, key=key)
        return value

    # --- events ----------------------------------------------------------------------------------------

    def emit(
        self,
        kind: str,
        data: Mapping[str, Any] = EMPTY,
        *,
        play: str = "",
        host: str = "",
        task: str = "",
        key: str = "",
    ) -> None:
        """Record an event, unless the same one was recorded before the run was resumed."""
        if self._mask and kind not in _PRIVATE:
            data = {name: self._mask.value(one, numbers=name in _OF_USERS) for name, one in data.items()}
            key = str(self._mask.value(key))
        event = Event(kind=kind, run=self.run, at=time.time(), play=play, host=host, task=task, key=key, data=data)
        identity = _identity(event)
        if self._seen[identity] > 0:
            self._seen[identity] -= 1
            return
        self._pending.append(event)

    def tell(self, event: Event) -> None:
        """Show an event without recording it (live output)."""
        for sink in self._sinks:
            sink.event(event)

    def sent(self, key: str, operation: Operation) -> None:
        """Record that `operation` is about to leave. Refused when the key was sent with another content."""
        digest = self.digest(operation)
        before = self._sent.get(key)
        if before is not None and before != digest:
            raise Refused(
                f"the run can't be resumed: {key} would now do something else than before",
                help="start anew with `ciflow apply`; the files or variables of the first start were changed",
            )
        if before is None:
            self.emit("op_sent", {"op": type(operation).__name__.lower(), "digest": digest}, key=key)

    def replied(self, key: str, reply: Reply, *, secret: bool = False) -> None:
        """Record what came back."""
        self._note_cut(key, reply.errno)
        encoded = encode_reply(reply)
        self._usage.add(key, encoded)
        self.emit("op_reply", {"reply": self._close(encoded, key, secret)}, key=key)

    def used(self, *plays: str) -> None:
        """Record what plays (none named: all) have used since it was recorded last."""
        for play, data in self._usage.take(*plays):
            self.emit("usage", data, play=play)

    def hide(self, secret: str) -> None:
        """Show this value nowhere from now on."""
        if self._mask is not None and secret:
            self._mask.add(secret)

    def commit(self) -> None:
        """Write everything emitted so far in one transaction, then tell the sinks."""
        if not self._pending:
            return
        events, self._pending = self._pending, []
        if self._journal is not None:
            self._journal.append(events)
        for event in events:
            if told(event):
                self.tell(event)

    def without_journal(self) -> None:
        """Go on unrecorded: the disk is full, and turning back matters more than writing about it."""
        self._journal = None

    # --- private ---------------------------------------------------------------------------------------

    def digest(self, operation: Operation) -> str:
        """Tells operations of this run apart without telling their content."""
        text = json.dumps(encode_operation(operation), sort_keys=True)
        return hashlib.blake2b(text.encode("ascii"), key=self._secret[:64], digest_size=16).hexdigest()

    def _close(self, value: Any, key: str, secret: bool) -> Any:
        if self._sealer is None or not (secret or self._mask):
            return value
        content = json.dumps(value).encode("ascii")
        if secret or (self._mask and self._mask.holds_secret(content)):
            return {"sealed": self._sealer.seal(content, key)}
        return value

    def _open(self, value: Any, key: str) -> Any:
        if isinstance(value, dict) and value.keys() == {"sealed"} and self._sealer is not None:
            return json.loads(self._sealer.open(value["sealed"], key))
        return value


def told(event: Event) -> bool:
    """Whether an event is for people at all."""
    return event.kind not in _PRIVATE


# Too many and too raw for people; replies and arguments may hold what a mask would spoil for resume.
_PRIVATE = frozenset({"op_sent", "op_reply", "rendered"})


# Where the data of an event holds what playbooks made of their variables, and nobody reckons with it.
_OF_USERS = frozenset({"outcome", "data"})


# Told anew by each process that works on the run.
EACH_TIME = frozenset({"run_started", "run_resumed", "run_ended", "snapshot", "warning", "error", "retry", "usage"})


def _went_wrong(event: Event) -> bool:
    """Endings that a resume may turn into better ones."""
    if event.kind == "task_ended":
        return event.data["status"] in ("failed", "unreachable", "unknown")
    if event.kind == "play_ended":
        return event.data["result"] not in ("ok", "skipped", "cached")
    return False


def _identity(event: Event) -> _Identity:
    return (event.kind, event.play, event.host, event.task, event.key)
