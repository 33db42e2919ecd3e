"""Which reports a run is told to (the console, JSON lines, files), and what is said when one of them failed."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TextIO, TypeAlias

from ciflow.diagnostics import Refused
from ciflow.report.sink import Sink
from ciflow.report.stream import Out

if TYPE_CHECKING:
    from ciflow.report.otel import Telemetry

WIDTH = 100  # of a pipe
Reports: TypeAlias = Sequence[tuple[Path, str]]  # files, each with its format


def _sinks(*, as_json: bool, quiet: bool, verbose: int, reports: Reports = ()) -> list[Sink]:
    """Data goes to stdout, all else to stderr; a terminal gets a live region, a pipe plain lines."""
    found: list[Sink] = []
    if as_json:
        from ciflow.report.jsonl import JsonLines

        found.append(JsonLines(sys.stdout))
    else:
        from ciflow.report.console import Console, wants_colour

        found.append(
            Console(
                sys.stderr, colour=wants_colour(sys.stderr), width=columns(sys.stderr),
                verbosity=-1 if quiet else verbose, tty=is_screen(sys.stderr),
            )
        )  # fmt: skip
    if reports:
        from ciflow.report.files import Report

        found += (Report(path, form) for path, form in reports)
    return found


def columns(stream: TextIO) -> int:
    """How wide lines may be: as the terminal is; in a pipe 100."""
    return shutil.get_terminal_size((WIDTH, 24)).columns if is_screen(stream) else WIDTH


def is_screen(stream: TextIO) -> bool:
    """A terminal that can move its cursor."""
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def hushing(sinks: Sequence[Sink]) -> Callable[[], AbstractContextManager[None]]:
    """What keeps these reports off the screen while a question stands there."""

    @contextmanager
    def hushed() -> Iterator[None]:
        from ciflow.report.console import Console

        with ExitStack() as stack:
            for sink in sinks:
                if isinstance(sink, Console):
                    stack.enter_context(sink.hushed())
            yield

    return hushed


@contextmanager
def told(
    *, as_json: bool, quiet: bool, verbose: int, reports: Reports = (), traced: bool = True
) -> Iterator[list[Sink]]:
    """The reports of one run. What could not be written is said at the end; a reader that went away is no loss.

    `traced`: it is sent by OpenTelemetry too, where the environment asks for that.
    """
    found = _sinks(as_json=as_json, quiet=quiet, verbose=verbose, reports=reports)
    sender = _sender() if traced else None
    try:
        yield [*found, sender] if sender is not None else found
    finally:
        for sink in found:
            lost = str(getattr(sink, "lost", ""))
            if lost and not getattr(sink, "left", False):
                _warn(f"the report was not written: {lost}")
        if sender is not None and sender.lost:
            _warn(sender.lost)


def _sender() -> Telemetry | None:
    """What sends a run, last of all: whoever looks at the screen doesn't wait for it. That it can't be had changes no
    run."""
    from ciflow.cli.telemetry import telemetry

    try:
        return telemetry()
    except Refused as error:
        _warn(f"nothing is sent: {error.message}")
        return None


def _warn(text: str) -> None:
    Out(sys.stderr).text(f"warning: {text}\n")
