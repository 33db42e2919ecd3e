"""Waiting for a host that may be out of reach, as `wait_for_connection` and `reboot` share it."""

from __future__ import annotations

from collections.abc import Callable, Generator

from ciflow.dataclass import dataclass
from ciflow.diagnostics import TargetError
from ciflow.model import Context, Hold, Probe, Reply, Step


@dataclass(frozen=True, slots=True)
class Waited:
    """How it ended: `reply` is the one that was waited for, or None; `elapsed` seconds since the task began."""

    reply: Reply | None
    elapsed: float
    last: str = ""  # why the last try was not the one


def until(
    probe: Probe, good: Callable[[Reply], bool], context: Context, *, sleep: float, timeout: float, elapsed: float = 0.0
) -> Generator[Step, Reply, Waited]:
    """Ask again and again until the reply is good. A host that can't be reached is no failure before `timeout`
    seconds after `elapsed`; how long one try may take is for the connection's own limit to say."""
    end, now, why = elapsed + timeout, elapsed, ""
    while True:
        try:
            reply = yield probe
            if good(reply):
                return Waited(reply, now)
            why = reply.error or "the host is there, but not yet as it is to be"
        except TargetError as error:
            why = error.message
        if now >= end:
            return Waited(None, now, why)
        held = yield Hold(sleep, why="the host is not there yet")
        now = max(now + sleep, (held.started or 0.0) - context.now)
