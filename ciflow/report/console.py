"""What a person sees while a run goes on: a line for each play and task that matters, and what runs now."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import TextIO

from ciflow.model import Event
from ciflow.report import lines
from ciflow.report.board import BAD, Board, PlayLine
from ciflow.report.dial import Stand
from ciflow.report.live import Region, now_lines
from ciflow.report.stream import Out
from ciflow.report.summary import Summary
from ciflow.report.text import Line

FULL_FAILURES = 3  # of one task shown with their output; the rest are counted in its line
STILL = 60.0  # seconds after which a pipe is told that a thing still runs
HOLDING = 30.0  # seconds between lines of one step of a canary in a pipe
WIDTH = 100


class Console:
    """A Sink for people. `verbosity` -1: failures and the end; 0; 1: every task; 2: output too.

    Without a TTY plain lines, no carriage returns. `colour` is decided by the caller (`wants_colour`).
    """

    def __init__(
        self, stream: TextIO, *, colour: bool, width: int = WIDTH, verbosity: int = 0, tty: bool = False
    ) -> None:
        self._out = Out(stream, colour)
        self._width = max(width - 1, 39) if tty else width
        self._verbosity = verbosity
        self._board = Board()
        self._summary = Summary()
        self._open = ""  # the play whose title stands above
        self._began = 0.0
        self._said_at = 0.0  # when the last line was written, 0 before any
        self._holding_at = 0.0
        self._heard = time.monotonic()
        self._lock = threading.Lock()
        self._writing = threading.RLock()
        self._streamed: set[tuple[str, str, str]] = set()  # tasks on hosts whose output was shown as it came
        self._held: list[Line] | None = None  # lines that wait for the end of a question
        self._region = Region(self._out, self._width, self._live_lines) if tty and verbosity >= 0 else None

    @property
    def lost(self) -> str:
        """Why nothing can be written any more, or ""."""
        return self._out.lost

    @property
    def left(self) -> bool:
        """Whether its reader went away."""
        return self._out.left

    def event(self, event: Event) -> None:
        if self._out.lost:
            return
        with self._lock:
            self._heard = time.monotonic()
            found = self._lines(event)
        self._write(found, event.at)

    def past(self, event: Event) -> None:
        """Counted in the summary, and not said again."""
        if event.kind != "run_ended":
            with self._lock:
                self._lines(event)
                self._open, self._said_at = "", 0.0

    def tick(self, now: float) -> None:
        """Call it now and then when no event comes, with the Unix time: a pipe hears that things still run."""
        with self._lock:
            self._board.now, self._heard = max(self._board.now, now), time.monotonic()
            found = [] if self._region else self._still()
        self._write(found, now)

    @contextmanager
    def hushed(self) -> Iterator[None]:
        """Nothing is written while somebody types an answer; it comes afterwards."""
        with self._writing:
            if self._region:
                self._region.close()
            self._held = []
        try:
            yield
        finally:
            with self._writing:
                held, self._held = self._held or [], None
                if self._region:
                    self._region.open()
            self._write(held, self._said_at)

    def close(self) -> None:
        """The live region goes away; what was written stays."""
        if self._region:
            self._region.close()
        self._out.flush()

    def _write(self, found: list[Line], at: float) -> None:
        if not found:
            return
        self._said_at = max(self._said_at, at)
        with self._writing:
            if self._held is not None:
                self._held += found
            elif self._region:
                self._region.above(found)
            else:
                self._out.lines(found)

    def _live_lines(self) -> list[Line]:
        with self._lock:
            now = self._board.now + time.monotonic() - self._heard  # by events' clock, which may be of the past
            return now_lines(self._board, now, self._width)

    # --- what an event is worth ----------------------------------------------------------------------------

    def _lines(self, event: Event) -> list[Line]:
        self._began = self._began or event.at
        ended = self._board.event(event)
        self._summary.event(event)
        if event.kind == "run_ended":
            return [(), *self._summary.lines(self._width)] if self._said_at else self._summary.lines(self._width)
        found = self._of_kind(event, ended)
        if self._verbosity < 0 and event.kind not in ("error", "warning", "rollback") and not _failed(event):
            return []
        return found if found or self._region else self._still()

    def _of_kind(self, event: Event, ended: Stand | None) -> list[Line]:
        if event.kind == "task_ended":
            return self._task_ended(event)
        if event.kind == "play_ended":
            return self._play_ended(self._board.plays[event.play])
        if event.kind == "canary_started" and self._open == event.play:
            return [lines.indented(self._board.plays[event.play].dial)]
        if event.kind in ("dial", "canary_state", "interval", "gate", "stable"):
            return self._canary(event, ended)
        if event.kind == "output" and self._verbosity >= 2:
            self._streamed.add((event.play, event.host, event.task))
            return self._under(event.play, lines.output(event, self._width))
        return self._under(event.play, lines.told(event, self._width))

    def _task_ended(self, event: Event) -> list[Line]:
        task = self._board.task(event)
        found: list[Line] = []
        if _failed(event) and task.shown < FULL_FAILURES:
            task.shown += 1
            found += lines.failure(event, task, self._width, event.run)
        else:
            found += self._output_of(event)
        play = self._board.plays[event.play]
        for path in [path for path, over in play.open.items() if over.complete]:
            found += self._task_line(play, path)
        return self._under(event.play, found)

    def _output_of(self, event: Event) -> list[Line]:
        """What a program printed that ended before any of it was shown."""
        where = (event.play, event.host, event.task)
        if self._verbosity < 2 or where in self._streamed:
            self._streamed.discard(where)
            return []
        outcome = event.data.get("outcome") or {}
        every = [one for one in (outcome.get("results") or [outcome]) if isinstance(one, Mapping)]
        texts = [str(one[stream]) for one in every for stream in ("stdout", "stderr") if one.get(stream)]
        return [row for text in texts for row in lines.output(replace(event, data={"text": text}), self._width)]

    def _task_line(self, play: PlayLine, path: str) -> list[Line]:
        task = play.tasks[path]
        single = task.counts.total() == 1 and task.shown
        worth = (self._verbosity >= 1 or lines.matters(task)) and not single
        found = [lines.task_row(task, self._width, self._board.now)] if worth else []
        play.written(path)
        return found

    def _play_ended(self, play: PlayLine) -> list[Line]:
        found: list[Line] = []
        for path in [path for path, task in play.open.items() if task.counts]:
            found += self._task_line(play, path)
        stands = play.dial is not None or self._open == play.id or bool(found)
        found = self._under(play.id, found) if stands else []
        self._open = "" if self._open == play.id else self._open
        play.tasks.clear()
        play.open.clear()
        return [*found, lines.play_end(play, self._width)]

    def _canary(self, event: Event, ended: Stand | None) -> list[Line]:
        dial = self._board.play(event).dial
        if dial is None:
            return []
        if ended:
            return self._under(
                event.play, [ended.line(self._board.now, self._width), *lines.turned(event, self._width)]
            )
        due = self._board.now - self._holding_at >= HOLDING
        if event.kind == "interval" and dial.now and due and not self._region:
            self._holding_at = self._board.now
            return self._under(event.play, [dial.now.line(self._board.now, self._width)])
        if event.kind == "dial":
            self._holding_at = self._board.now
        return self._under(event.play, lines.turned(event, self._width))

    def _under(self, play: str, found: Iterable[Line]) -> list[Line]:
        """Lines below their play's title, which is written again when another play's came between, and the first of a
        batch of hosts below that one's."""
        listed = list(found)
        of = self._board.plays.get(play)
        if not listed or of is None:
            return listed
        above = [] if play == self._open else [lines.play_title(of)]
        above += [lines.batch_title(of)] if of.batch else []
        self._open, of.batch = play, {}
        return [*above, *listed]

    def _still(self) -> list[Line]:
        since = self._said_at or self._began
        if self._board.now - since < STILL or self._verbosity < 0:
            return []
        return now_lines(self._board, self._board.now, self._width)


def _failed(event: Event) -> bool:
    return event.kind == "task_ended" and event.data["status"] in BAD


def wants_colour(stream: TextIO) -> bool:
    """NO_COLOR (no-color.org) says no, FORCE_COLOR and CLICOLOR_FORCE say yes, else a terminal that isn't dumb."""
    if os.environ.get("NO_COLOR"):
        return False
    if any(os.environ.get(name, "0") not in ("", "0") for name in ("FORCE_COLOR", "CLICOLOR_FORCE")):
        return True
    return stream.isatty() and os.environ.get("TERM", "dumb") != "dumb"
