"""`ciflow status --watch`: a rollout as it goes, whole on a terminal, line by line in a pipe, and keys to step in."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable, Iterator

import click

from ciflow.cli.control import me
from ciflow.cli.options import journal_of
from ciflow.cli.terminal import Keys, keys
from ciflow.diagnostics import CiflowError, ExitCode, NoSuch
from ciflow.engine.control import tell
from ciflow.model import Event
from ciflow.report.follow import KINDS, Followed
from ciflow.report.jsonl import json_line
from ciflow.report.stream import Out
from ciflow.report.text import Line
from ciflow.store.folds import summary
from ciflow.store.place import Place
from ciflow.store.store import Store

LOOK = 0.25  # seconds between looks at the journal
ALIVE = 2.0  # seconds between looks whether the run's process still lives
FOOT = "p pause or go on   P next step   r roll back   q leave"
WORDS = {"p": "Pause {}?", "P": "Take the next step of {}?", "r": "Roll {} back, now?"}
GO_ON = "Let {} go on?"


def follow(path: Place, service: str, *, as_json: bool) -> int:
    """Until the run has ended, or somebody leaves: the run's exit code, 0 for who leaves."""
    with Store.open(journal_of(path)) as store:
        run = _run_of(store, service)
        followed = Followed()
        if not as_json and sys.stdout.isatty() and sys.stdin.isatty():
            with keys(sys.stdin) as typed:
                return _Screen(store, run, path, followed, typed).go()
        return _lines(store, run, followed, as_json=as_json)


def _run_of(store: Store, service: str) -> str:
    """The newest run with a rollout (of `service`)."""
    started = [e for e in store.events(kinds=("canary_started",)) if service in ("", e.data["service"])]
    if not started:
        what = f"there was no rollout{f' of {service}' if service else ''} yet"
        raise NoSuch(what, help="`ciflow status` shows what runs")
    return started[-1].run


def _follow(store: Store, run: str, followed: Followed) -> Iterator[Event | None]:
    """Events as they come; None where there are none at the moment. Ends with the run, or with its process."""
    after, looked = 0, time.monotonic()
    while followed.exit is None:
        last = store.last
        for event in store.events(run, KINDS, after):
            followed.event(event)
            yield event
        after = last
        if time.monotonic() - looked > ALIVE:
            looked = time.monotonic()
            found = summary(store, run)
            if found is not None and found.state == "interrupted":
                back = "the dead-man gives back what the candidate has, " if followed.between else ""
                followed.said = f"its process is gone: {back}`ciflow resume {run}` goes on with it"
                return
        yield None


def _lines(store: Store, run: str, followed: Followed, *, as_json: bool) -> int:
    for event in _follow(store, run, followed):
        if event is None:
            time.sleep(LOOK)
        elif as_json:
            click.echo(json_line(event))
        elif text := followed.news(event):
            click.echo(text)
    return _code(followed)


def _code(followed: Followed) -> int:
    if followed.exit is None:
        click.echo(followed.said, err=True)
        return ExitCode.INTERRUPTED
    return followed.exit


class _Screen:
    """The whole terminal. A key asks first, and acts on `y`."""

    def __init__(self, store: Store, run: str, path: Place, followed: Followed, typed: Keys) -> None:
        self._store = store
        self._run = run
        self._path = path
        self._watching = followed
        self._typed = typed
        self._asked: Callable[[], str] | None = None
        self._foot = FOOT
        self._done = ""  # what came of the last key

    def go(self) -> int:
        from ciflow.report.console import wants_colour
        from ciflow.report.live import Region

        out = Out(sys.stdout, colour=wants_colour(sys.stdout))
        region = Region(out, self._columns, self._frame, whole=True)
        try:
            left = self._until_over()
        finally:
            region.close()
        out.lines(self._frame()[:-1])
        return ExitCode.OK if left else _code(self._watching)

    @property
    def _columns(self) -> int:
        return shutil.get_terminal_size((100, 24)).columns - 1

    def _frame(self) -> list[Line]:
        return self._watching.frame(time.time(), min(self._columns, 120), self._foot, self._done)

    def _until_over(self) -> bool:
        """Whether somebody has left before its end."""
        for event in _follow(self._store, self._run, self._watching):
            if event is None and (key := self._typed.wait(LOOK)):
                if key in ("q", "\x1b") and self._asked is None:
                    return True
                self._pressed(key)
        return False

    def _pressed(self, key: str) -> None:
        if self._asked is not None:
            act, self._asked = self._asked, None
            self._foot = FOOT
            if key == "y":
                self._done = act()
        elif key in WORDS:
            names = " and ".join(self._watching.services)
            going_on = key == "p" and self._watching.paused
            self._foot = f"{(GO_ON if going_on else WORDS[key]).format(names)}  y yes   any other key no"
            verb = {"p": "resume" if going_on else "pause", "P": "promote"}.get(key, "")
            self._asked = (lambda: self._say(verb)) if verb else self._roll_back

    def _say(self, verb: str) -> str:
        tell(self._store, self._run, verb, me())
        return f"{verb}: said to {self._run}"

    def _roll_back(self) -> str:
        """At once, without the rollout's process."""
        from ciflow.engine.rollback import Asking, rollback
        from ciflow.engine.rolled import lines_of
        from ciflow.engine.who import who

        said = []
        for service in self._watching.services:
            try:
                done = rollback(
                    Asking(service, who(), "asked for while it was watched"), lambda: Store.open(self._path)
                )
                said += lines_of(service, done, rehearse=False)
            except CiflowError as error:
                said += [f"{service}: {error.message}", *filter(None, [error.help])]
        return "\n".join(said)
