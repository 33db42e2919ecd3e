"""Whether there is something to read, for descriptors of any number: select(2) takes those below 1,024 only."""

from __future__ import annotations

import select
from typing import Protocol


class Descriptor(Protocol):
    def fileno(self) -> int: ...


def readable(source: Descriptor, timeout: float) -> bool:
    """Wait for data or the end, at most `timeout` seconds. OSError or ValueError where it is closed already."""
    poll = select.poll()
    poll.register(source, select.POLLIN)
    return bool(poll.poll(max(0, int(timeout * 1000 + 0.999))))
