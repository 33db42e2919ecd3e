"""A text stream that may go away, or not know our letters."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TextIO

from ciflow.report.text import Line, painted


class Out:
    """Writes lines until the stream fails; then `lost` says why, and the rest is dropped without a traceback.

    A reader that ended (`ciflow apply | head`) must not end the run.
    """

    def __init__(self, stream: TextIO, colour: bool = False) -> None:
        self.stream = stream
        self.colour = colour
        self.lost = ""
        self.left = False  # whether it was a reader that went away
        self._encoding = getattr(stream, "encoding", None) or "utf-8"

    def lines(self, found: Iterable[Line]) -> None:
        self.text("".join(f"{painted(pieces, self.colour)}\n" for pieces in found))

    def text(self, text: str) -> None:
        if self.lost:
            return
        shown = text.encode(self._encoding, "backslashreplace").decode(self._encoding)
        try:
            self.stream.write(shown)
            self.stream.flush()
        except (OSError, ValueError) as e:  # ValueError: the stream was closed by somebody else
            self.lose(e)

    def flush(self) -> None:
        self.text("")

    def lose(self, error: Exception) -> None:
        """Go silent. Python flushes stdout once more at exit: let that go nowhere instead of failing."""
        self.lost = str(error) or type(error).__name__
        self.left = isinstance(error, BrokenPipeError)
        try:
            descriptor = self.stream.fileno()
        except (OSError, ValueError):
            return  # no descriptor, so no flush that could fail
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, descriptor)
        os.close(nowhere)
