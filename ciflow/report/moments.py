"""What happened at a moment of a span, and text as any receiver of spans takes it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ciflow.dataclass import dataclass
from ciflow.model import Event
from ciflow.report.text import ELLIPSIS, safe

Value = str | int | float | bool
LONGEST_NAME = 256  # characters of a name or an id
LONGEST = 1024  # of any other text


@dataclass(frozen=True, slots=True)
class Moment:
    """Something that happened in a span, at a Unix time."""

    name: str
    at: float
    attributes: Mapping[str, Value]


# Of which events what is told, under which name; `weight` and `share` as percent.
_TOLD = {
    "run_resumed": ("ciflow.resumed", ("who",)),
    "rollback": ("ciflow.rollback", ("service", "from", "to", "slot", "who", "reason", "took")),
    "error": ("ciflow.error", ("message", "help")),
    "command": ("ciflow.command", ("verb", "by", "service")),
    "approval_wanted": ("ciflow.approval.wanted", ("prompt",)),
    "approval_given": ("ciflow.approval.given", ("by", "yes", "reason")),
    "task_ended": ("ciflow.rescued", ("name", "msg")),
    "canary_started": ("ciflow.canary.started", ("service", "version", "slot", "from")),
    "canary_state": ("ciflow.canary.state", ("state", "step", "weight", "reason")),
    "dial": ("ciflow.canary.dial", ("weight", "slot", "share", "verified", "reason")),
    "gate": ("ciflow.canary.gate", ("name", "verdict", "evidence", "threshold", "sentence")),
    "stable": ("ciflow.canary.stable", ("sick", "sentence")),
}


def moment(event: Event) -> Moment:
    called, keys = _TOLD[event.kind]
    found = {f"ciflow.{key}": _value(key, event.data.get(key)) for key in keys}
    return Moment(called, event.at, {key: value for key, value in found.items() if value is not None})


def _value(key: str, value: Any) -> Value | None:
    """As attributes may be: text, numbers that are any, booleans; None for what says nothing."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        value = value / 100 if key in ("weight", "share") else value
        return value if math.isfinite(value) else None
    if isinstance(value, bool):
        return value
    return text(value) or None


def name(value: Any) -> str:
    """The text of a name: one line that any receiver takes, and no longer than a name is."""
    return text(value, LONGEST_NAME)


def text(value: Any, most: int = LONGEST) -> str:
    """Without control characters and bytes that are not UTF-8, which no receiver takes: they are shown."""
    given = "" if value is None else str(value)
    shown = safe(given[: most + 1])
    return shown if len(shown) <= most else shown[: most - 1] + ELLIPSIS
