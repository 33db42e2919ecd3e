"""The live region at the bottom of a terminal: what runs now, since when, and what is waited for."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from ciflow.dataclass import dataclass
from ciflow.report import humane
from ciflow.report.board import Board, PlayLine, TaskLine
from ciflow.report.lines import TOOK, names
from ciflow.report.stream import Out
from ciflow.report.text import Line, Piece, fit, left, line, painted, right

if TYPE_CHECKING:
    from rich.console import Console as Terminal
    from rich.text import Text

MOST = 8  # lines; more are counted
PER_SECOND = 5


def now_lines(board: Board, now: float, columns: int) -> list[Line]:
    """What runs at this moment, in the order in which it began; `now` on the clock of the events."""
    found: list[Line] = []
    for play in board.running:
        stand = play.dial.now if play.dial else None
        if stand:
            found.append(stand.line(now, columns))
        found += [_running(play, task, now, columns) for task in play.running]
    more = len(found) - MOST
    return [*found[:MOST], line(Piece(f"  and {more} more", "dim"))] if more > 0 else found


def _running(play: PlayLine, task: TaskLine, now: float, columns: int) -> Line:
    room = max(columns - TOOK, 20)
    what = f"  {play.name} > {task.name}   {_doing(task)}"
    return line(Piece(left(fit(what.rstrip(), room), room), "dim"), right(humane.duration(now - task.began), TOOK))


def _doing(task: TaskLine) -> str:
    if task.note:
        return task.note
    if task.progress:
        return progress(task)
    done = task.counts.total()
    if task.hosts_total > 1 and done:
        return f"{humane.number(done)} of {humane.counted(task.hosts_total, 'host')}"
    last = next((tail[-1] for tail in task.tails.values() if tail), "")
    return f"| {last}" if last else names(list(task.tails))


def progress(task: TaskLine) -> str:
    """`87 of 212 tests`, `12 MB of 40 MB`."""
    done, total = float(task.progress.get("done", 0)), float(task.progress.get("total", 0))
    unit = str(task.progress.get("unit", ""))
    if unit == "bytes":
        return f"{humane.size(done)} of {humane.size(total)}" if total else humane.size(done)
    shown = f"{humane.number(done)} of {humane.number(total)}" if total else humane.number(done)
    return f"{shown} {unit}".rstrip()


@dataclass(frozen=True, slots=True)
class _Now:
    """Asked anew at each painting, so that no line is painted that is already over."""

    text: Callable[[], Text]

    def __rich__(self) -> Text:
        return self.text()


class Region:
    """Repaints itself some times a second; other lines go above it, or it has the `whole` screen. Rich is loaded only
    here."""

    def __init__(self, out: Out, columns: int, lines: Callable[[], list[Line]], *, whole: bool = False) -> None:
        from rich.live import Live

        self._out = out
        self._lines = lines
        terminal = _terminal(out, columns)
        self._live = Live(
            _Now(self._text), console=terminal, refresh_per_second=PER_SECOND, transient=True, screen=whole,
            redirect_stdout=False, redirect_stderr=False,
        )  # fmt: skip
        self._guarded(self._live.start)

    def above(self, found: list[Line]) -> None:
        shown = "\n".join(painted(pieces, self._out.colour) for pieces in found)
        self._guarded(lambda: self._live.console.print(_from_ansi(shown), soft_wrap=True))

    def open(self) -> None:
        """Again, after `close`."""
        self._guarded(self._live.start)

    def close(self) -> None:
        self._guarded(self._live.stop)

    def _text(self) -> Text:
        return _from_ansi("\n".join(painted(pieces, self._out.colour) for pieces in self._lines()))

    def _guarded(self, act: Callable[[], None]) -> None:
        if self._out.lost:
            return
        try:
            act()
        except (OSError, ValueError) as e:
            self._out.lose(e)


def _terminal(out: Out, columns: int) -> Terminal:
    from rich.console import Console as Terminal

    class Surviving(Terminal):
        """Rich ends the process when its reader goes away; a run must go on."""

        def on_broken_pipe(self) -> None:
            out.lose(BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE)))

    return Surviving(
        file=out.stream, force_terminal=True, width=columns + 1, highlight=False, markup=False, emoji=False,
        color_system="standard" if out.colour else None, no_color=not out.colour,
    )  # fmt: skip


def _from_ansi(text: str) -> Text:
    from rich.text import Text

    return Text.from_ansi(text)
