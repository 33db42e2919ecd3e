"""`ciflow watch` for a person: what changed, what runs, and what it came to, a line each; between them what `apply`
would show, but for its last screen."""

from __future__ import annotations

import time
from collections.abc import Iterable
from functools import partial
from typing import TextIO

from ciflow.model import Event
from ciflow.report import humane
from ciflow.report.console import Console
from ciflow.report.lines import names, wrapped
from ciflow.report.stream import Out
from ciflow.report.summary import Summary
from ciflow.report.text import Line, Piece, left, line, safe

FOOT = "Enter runs again   c clears   q ends"
WORD = 9  # columns of what a line is about
CLEAR = "\x1b[H\x1b[2J\x1b[3J"
STYLES = {"ok": "ok", "failed": "failed", "changed": "name", "error": "failed", "left out": "changed"}


class Reruns:
    """A Sink of many runs, one after the other, and of what `ciflow watch` says between them (docs/events.md)."""

    def __init__(self, stream: TextIO, *, colour: bool, width: int, verbosity: int, tty: bool) -> None:
        self._out = Out(stream, colour)
        self._width = width
        self._new = partial(Console, stream, colour=colour, width=width, verbosity=verbosity, tty=tty)
        self._run: Console | None = None
        self._summary = Summary()

    @property
    def lost(self) -> str:
        """Why nothing can be written any more, or ""."""
        return self._out.lost

    def event(self, event: Event) -> None:
        if event.kind == "runs":
            self._summary, self._run = Summary(), self._new()
            self._say(event.at, "runs", ", ".join(event.data["plays"]) or "nothing")
        elif event.kind == "run_ended":
            self._summary.event(event)
            self.close()
            self._ended(event.at)
        elif not event.run:
            self._of_watch(event)
        elif self._run is not None:
            self._summary.event(event)
            self._run.event(event)

    def past(self, event: Event) -> None:
        """There is none: each run is a new one."""

    def tick(self, now: float) -> None:
        if self._run is not None:
            self._run.tick(now)

    def close(self) -> None:
        """The run that was shown is over, or nobody looks any more."""
        if self._run is not None:
            self._run.close()
            self._run = None

    def clear(self) -> None:
        """An empty screen."""
        self._out.text(CLEAR)

    # --- private -----------------------------------------------------------------------------------------

    def _say(self, at: float, word: str, text: str) -> None:
        first, *rest = wrapped(text, self._width - 12 - WORD) or [""]
        head = line(Piece(humane.moment(at, time.time()), "dim"), "  ", Piece(left(word, WORD), STYLES.get(word, "")))
        self._out.lines([(*head, *line(first)), *(line(" " * (10 + WORD), part) for part in rest)])

    def _of_watch(self, event: Event) -> None:
        data = event.data
        if event.kind == "watching":
            self._out.lines(self._heading(event))
        elif event.kind == "changed":
            more = int(data["count"]) - len(data["files"])
            named = names([safe(one) for one in data["files"]] + ["" for _ in range(more)])
            self._say(event.at, "changed", named)
        elif event.kind == "written":
            few = names(list(map(safe, data["files"])))
            text = f"{few}: changed in every run of late, so that it is taken for theirs; .ignore may name it"
            self._say(event.at, "left out", text)
        elif event.kind == "by_clock":
            self._out.lines(map(line, wrapped(f"by the clock: {data['why']}", self._width)))
        else:
            self._out.text("".join(f"{safe(part)}\n" for part in str(data["message"]).splitlines()))

    def _heading(self, event: Event) -> Iterable[Line]:
        data = event.data
        files = humane.counted(int(data["files"]), "file")
        where = ", ".join(data["folders"])
        yield from map(line, wrapped(f"watching {data['what']} and {files} in {where}", self._width))
        if data["left_out"]:
            few = names(list(data["left_out"]))
            text = (
                f"not run: {few}. What rolls out, and what comes after it, runs only when it is asked for: --play NAME"
            )
            yield from map(line, wrapped(text, self._width))
        if data["rollouts"]:
            text = f"rolls out on each change, as asked for: {names(list(data['rollouts']))}"
            yield from map(line, wrapped(text, self._width))
        if data["keys"]:
            yield line(Piece(FOOT, "bold"))

    def _ended(self, at: float) -> None:
        told = self._summary
        took = humane.duration(told.ended - told.began) if told.began else ""
        if told.exit == 0:
            words = "   ".join(f"{play.name}: {play.words}" for play in told.plays.values())
            return self._say(at, "ok", f"{words}   {took}")
        failed = [told.names.get(key, key[1]) for key in told.failed]
        what = f"{told.result.replace('_', ' ')}{': ' if failed else ''}{names(failed)}"
        word = "ended" if told.exit in (130, 143) else "failed"
        return self._say(at, word, f"{what}   {took}   `ciflow logs {told.run}`")
