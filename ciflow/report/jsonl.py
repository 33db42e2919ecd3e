"""Events for programs: one JSON object a line, keys as in docs/events.md, ASCII only."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, TextIO

from ciflow.model import Event
from ciflow.report.stream import Out


class JsonLines:
    """A Sink. Each line is written whole and flushed, so that a reader can follow."""

    def __init__(self, stream: TextIO) -> None:
        self._out = Out(stream)

    @property
    def lost(self) -> str:
        """Why nothing can be written any more, or ""."""
        return self._out.lost

    @property
    def left(self) -> bool:
        """Whether its reader went away."""
        return self._out.left

    def event(self, event: Event) -> None:
        self._out.text(json_line(event) + "\n")

    def past(self, event: Event) -> None:
        """Printed by the process that it happened in."""

    def tick(self, now: float) -> None:
        """Time alone is no event."""

    def close(self) -> None:
        self._out.flush()


def json_line(event: Event) -> str:
    """One event. JSON knows no infinity (an e-value may be one): it becomes the text `inf`, likewise `nan`."""
    places = {"play": event.play, "host": event.host, "task": event.task, "key": event.key}
    shown = {
        "kind": event.kind, "run": event.run, "at": event.at, "seq": event.seq,
        **{name: value for name, value in places.items() if value}, "data": event.data,
    }  # fmt: skip
    try:
        return json.dumps(shown, separators=(",", ":"), allow_nan=False)
    except ValueError:
        return json.dumps(finite(shown), separators=(",", ":"), allow_nan=False)


def finite(value: Any) -> Any:
    """The value as strict JSON can have it."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, Mapping):
        return {key: finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [finite(inner) for inner in value]
    return value
