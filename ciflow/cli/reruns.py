"""Runs a command again whenever files change: the loop of `ciflow watch` and of `ciflow test --watch`.

The command is a process of its own. One that crashes ends no loop, and one that is to end gets the very signal that
Ctrl-C sends. All that happens comes as a value through one queue to one thread.
"""

from __future__ import annotations

import math
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Protocol, TypeAlias

from ciflow.cli.child import Child, Ended
from ciflow.cli.terminal import each_key
from ciflow.dataclass import dataclass
from ciflow.diagnostics import CiflowError, ExitCode, Invalid
from ciflow.model import Event
from ciflow.report.sink import Sink
from ciflow.watch.bell import Bell
from ciflow.watch.tree import Look, Tree
from ciflow.watch.written import Echo, Written

QUIET = 0.08  # seconds without a change, until one is taken for whole
PATIENCE = 5.0  # seconds of changes on and on, after which they are run for nevertheless
CHECKOUT = 60.0  # the same while git is at it
NAMED = 20  # files that an event names; more are counted
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True, slots=True)
class Prepared:
    """What is to run now: the words after `ciflow`, what a person calls it, and what of it is left out."""

    words: Sequence[str]
    plays: Sequence[str]
    left_out: Sequence[str] = ()
    rollouts: Sequence[str] = ()


class Job(Protocol):
    """What is run again and again."""

    what: str

    def ready(self, changed: Sequence[str] | None) -> Prepared:
        """As it is asked for now that these files have changed since it last went well; None: all of it. Raises
        CiflowError where it can't run."""
        ...

    def files(self) -> Sequence[str]:
        """What the last `ready` has read, whether it went well or not."""
        ...


@dataclass(frozen=True, slots=True)
class Key:
    key: str


@dataclass(frozen=True, slots=True)
class Signalled:
    number: signal.Signals


@dataclass(frozen=True, slots=True)
class Rang:
    """Something happened in a folder, or time has passed."""


Happening: TypeAlias = Key | Signalled | Rang | Event | Ended


class Reruns:
    """Until somebody leaves. `restart`: a change ends the run that goes on, else it waits for its end."""

    def __init__(
        self, job: Job, tree: Tree, sinks: Sequence[Sink], clear: Callable[[], None], *, restart: bool, by_clock: bool
    ) -> None:
        self._job = job
        self._tree = tree
        self._sinks = sinks
        self._clear = clear
        self._restart = restart
        self._queue: SimpleQueue[Happening] = SimpleQueue()
        self._rung = threading.Event()
        self._bell = Bell(self._ring, by_clock=by_clock)
        self._written = Written()
        self._echo = Echo()
        self._spoke = -math.inf  # when something was said last
        self._base = Look({}, {})
        self._hung: Mapping[str, int] = {}
        self._over: Look | None = None  # when the run had ended, and its process had not
        self._child: Child | None = None
        self._since: set[str] | None = None  # what has changed since it last went well; None before it ever did
        self._again = False
        self._clocked = False
        self._leaving: ExitCode | None = None
        self._code: ExitCode | None = None

    def go(self, *, keys: bool) -> ExitCode:
        """`keys`: somebody sits at the terminal."""
        typed = each_key(sys.stdin, lambda key: self._queue.put(Key(key))) if keys else nullcontext()
        try:
            with self._signals(), typed:
                self._begin(None, keys=keys)
                while self._code is None:
                    self._next()
        finally:
            self._bell.stop()
            if self._child is not None:
                self._child.kill()
            for sink in self._sinks:
                sink.close()
        return self._code

    # --- what happens ------------------------------------------------------------------------------------

    def _next(self) -> None:
        try:
            happening = self._queue.get(timeout=1.0)
        except Empty:
            for sink in self._sinks:
                sink.tick(time.time())
            return
        match happening:
            case Rang():
                self._rung.clear()
                self._tell_clock()
                self._looked()
            case Key(key):
                self._pressed(key)
            case Signalled(number):
                self._leave(ExitCode.OK if number is signal.SIGINT else ExitCode.TERMINATED, number)
            case Ended():
                self._ended(happening)
            case Event():
                self._heard(happening)
        if any(getattr(sink, "lost", "") for sink in self._sinks) and self._leaving is None:
            self._leave(ExitCode.OK, signal.SIGINT)  # whoever read what we say has gone

    def _ring(self) -> None:
        if not self._rung.is_set():
            self._rung.set()
            self._queue.put(Rang())

    def _looked(self) -> None:
        if self._child is not None and not self._restart:
            return  # all of it is looked at when the run has ended
        now = self._settled()
        if self._child is not None:
            if self._written.others(self._base, now):
                self._again = True  # also where that turns out to be the run's own doing
                self._child.end(signal.SIGINT)
            return
        now = now.without(self._echoes(self._base, now))
        if changed := now.since(self._base):
            self._written.idle(changed)
            self._changed(changed)
        else:
            self._listen(now)

    def _echoes(self, before: Look, now: Look) -> frozenset[str]:
        """Files that have changed because something was said here; they count no more."""
        found = self._echo.heard(now.since(before), time.monotonic() - self._spoke)
        if found:
            self._tree.leave(found)
            self._base = self._base.without(found)
            self._tell(_event("written", {"files": self._shown(sorted(found))}))
        return found

    def _pressed(self, key: str) -> None:
        if key == "q":
            self._leave(ExitCode.OK, signal.SIGINT)
        elif key == "c":
            self._clear()
        elif key in ("\r", "\n"):
            if self._child is None:
                self._begin(None)
            else:
                self._again = True
                if self._restart:
                    self._child.end(signal.SIGINT)

    def _leave(self, code: ExitCode, number: signal.Signals) -> None:
        """A second time it is meant at once."""
        if self._child is None:
            self._code = code
            return
        self._child.end(number, again=self._leaving is not None)
        self._leaving = code

    def _heard(self, event: Event) -> None:
        if event.kind == "run_ended":
            self._over = self._tree.look()  # what changes from now on is no more of its doing
        self._tell(event)
        outcome = event.data.get("outcome", {}) if event.kind == "task_ended" else {}
        wrote = outcome if event.data.get("status") == "changed" else {}
        for path in (wrote.get("dest"), wrote.get("path"), event.kind == "artifact" and event.data.get("path")):
            if isinstance(path, str) and path:
                self._written.tell(os.path.normpath(Path(path).absolute()))

    def _ended(self, ended: Ended) -> None:
        self._child = None
        if ended.said:
            self._tell(_event("error", {"message": ended.said}))
        if self._leaving is not None:
            self._code = self._leaving
            return
        now = self._settled()
        over, self._over = self._over or now, None
        if new := self._written.ended(self._base, over):
            self._tell(_event("written", {"files": self._shown(new)}))
        echoes = self._echoes(over, now)
        over, now = over.without(echoes), now.without(echoes)
        self._written.idle(later := now.since(over))
        if ended.code == ExitCode.OK:
            self._since = set()
        if changed := sorted({*self._written.others(self._base, over), *later}):
            self._changed(changed)
        elif self._again:
            self._begin(None)
        else:
            self._base = now
            self._listen(now)

    # --- a run -------------------------------------------------------------------------------------------

    def _changed(self, changed: Sequence[str]) -> None:
        self._tell(_event("changed", {"files": self._shown(changed[:NAMED]), "count": len(changed)}))
        if self._since is not None:
            self._since.update(changed)
        self._begin(None if self._since is None else sorted(self._since))

    def _begin(self, changed: Sequence[str] | None, *, keys: bool | None = None) -> None:
        """Run it, or say why it can't: then the next change is waited for. `keys` with the first."""
        self._again = False
        prepared, error = self._prepared(changed)
        self._written.began()
        self._listen(self._base)
        if keys is not None:
            self._tell(self._heading(prepared, keys=keys))
        self._tell_clock()
        if prepared is None:
            self._tell(_event("error", {"message": error}))
            return
        self._tell(_event("runs", {"plays": list(prepared.plays)}))
        self._since = self._since or set()
        self._child = Child(prepared.words, self._queue.put)

    def _prepared(self, changed: Sequence[str] | None) -> tuple[Prepared | None, str]:
        """It, or what is wrong; and the look that later ones are compared with: nothing is missed that changed while
        it was read."""
        while True:
            before = self._tree.look()
            error, prepared = "", None
            try:
                prepared = self._job.ready(changed)
            except CiflowError as wrong:
                error = said_of(wrong)
            self._tree.also(self._job.files())
            self._base = self._tree.look()
            if all(self._base.files.get(path, mark) == mark for path, mark in before.files.items()):
                return prepared, error

    def _heading(self, prepared: Prepared | None, *, keys: bool) -> Event:
        data = {
            "what": self._job.what,
            "folders": [str(folder) for folder in self._tree.folders],
            "files": len(self._base.files),
            "left_out": list(prepared.left_out) if prepared else [],
            "rollouts": list(prepared.rollouts) if prepared else [],
            "keys": keys,
        }
        return _event("watching", data)

    # --- looking -----------------------------------------------------------------------------------------

    def _settled(self) -> Look:
        """What is there, once nothing has changed for a moment."""
        began, seen = time.monotonic(), self._tree.look()
        if not seen.since(self._base):
            return seen
        while True:
            time.sleep(QUIET)
            now, busy = self._tree.look(), self._tree.checked_out()
            if (now.files == seen.files and not busy) or time.monotonic() - began > (CHECKOUT if busy else PATIENCE):
                return now
            seen = now

    def _listen(self, look: Look) -> None:
        if look.folders != self._hung:
            self._hung = look.folders
            self._bell.hang(look.folders)
            self._ring()  # for what changed before it hung

    # --- saying ------------------------------------------------------------------------------------------

    def _tell(self, event: Event) -> None:
        self._spoke = time.monotonic()
        for sink in self._sinks:
            sink.event(event)

    def _tell_clock(self) -> None:
        """Once, why the system's word isn't waited for."""
        if self._bell.why and not self._clocked:
            self._clocked = True
            self._tell(_event("by_clock", {"why": self._bell.why}))

    def _shown(self, paths: Sequence[str]) -> list[str]:
        here = f"{Path.cwd()}/"
        return [path.removeprefix(here) for path in paths]

    @contextmanager
    def _signals(self) -> Iterator[None]:
        before = {number: signal.getsignal(number) for number in SIGNALS}
        for number, handler in before.items():
            if handler is not signal.SIG_IGN:  # SIGHUP under nohup
                signal.signal(number, lambda number, _frame: self._queue.put(Signalled(signal.Signals(number))))
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def said_of(error: CiflowError) -> str:
    """As the command itself would say it."""
    if isinstance(error, Invalid) and error.diagnostics:
        from ciflow.lang.snippets import render_diagnostics

        return render_diagnostics(error.diagnostics, error.sources)
    return f"error: {error.message}" + (f"\n  = {error.help}" if error.help else "")


def _event(kind: str, data: Mapping[str, object]) -> Event:
    """Of the watching itself: it is no run's, and stands in no journal."""
    return Event(kind=kind, run="", at=time.time(), data=data)
