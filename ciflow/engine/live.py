"""What programs print while they run: shown to people at once, masked, and never recorded (the reply has all of it)."""

from __future__ import annotations

import time
from collections.abc import Callable

from ciflow.engine.link import Call
from ciflow.model import Event
from ciflow.store.mask import Mask, StreamMask

SHOWN = 8 * 1024  # bytes of one chunk that anybody could read before the next


class Live:
    """Turns chunks of output into `output` events. A secret cut in two by chunks is masked all the same."""

    def __init__(self, run: str, mask: Mask, tell: Callable[[Event], None]) -> None:
        self._run = run
        self._mask = mask
        self._tell = tell
        self._streams: dict[tuple[str, str], StreamMask] = {}

    def output(self, call: Call, stream: str, data: bytes) -> None:
        """One chunk of one stream of a task's operation."""
        assert call.teller is not None
        known = self._streams.get((call.key, stream))
        if known is None:
            call.answer.add_done_callback(lambda _: self._streams.pop((call.key, stream), None))
            known = self._streams[call.key, stream] = self._mask.stream()
        masked = known.feed(data)
        if not masked:
            return
        told = {"stream": stream, "text": masked[-SHOWN:].decode("utf-8", "surrogateescape")}
        at, where = time.time(), call.teller
        self._tell(
            Event(kind="output", run=self._run, at=at, play=where.play, host=where.host, task=where.task, data=told)
        )
