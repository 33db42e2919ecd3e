"""What plays use: processor time and memory of commands, bytes to and from hosts. Added up from replies."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

_AGAIN = re.compile(r"~\d+$")  # a play's later tries have keys of their own
_MILLIONTH = 1_000_000


class Usage:
    """What no event has told of yet, by play.

    A reply counts once: when it is recorded, or, where the process that recorded it was killed before it could tell,
    when the next one reads the record.
    """

    def __init__(self) -> None:
        self._sums: dict[str, Counter[str]] = {}
        self._peaks: dict[str, int] = {}

    def add(self, key: str, reply: Mapping[str, Any]) -> None:
        """A reply as it is encoded. What a target can't know is not in it."""
        found = {name: reply[name] for name in ("sent", "received") if name in reply}
        if "rc" in reply:
            found |= {"commands": 1, "measured": int("cpu" in reply or "peak_kb" in reply)}
            found["cpu"] = round(reply.get("cpu", 0.0) * _MILLIONTH)
        if not found:
            return
        play = _AGAIN.sub("", key.split("|", 2)[1]) if "|" in key else ""
        self._sums.setdefault(play, Counter()).update(found)
        self._peaks[play] = max(self._peaks.get(play, 0), reply.get("peak_kb", 0))

    def told(self, play: str, data: Mapping[str, Any]) -> None:
        """An event has told of this much."""
        sums = self._sums.setdefault(play, Counter())
        sums.subtract({name: data[name] for name in ("commands", "measured", "sent", "received") if name in data})
        sums.subtract({"cpu": round(data.get("cpu", 0.0) * _MILLIONTH)})

    def take(self, *plays: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """Data of the event `usage` for each of these plays (none named: for all) that has something to tell."""
        for play in plays or tuple(self._sums):
            sums = self._sums.pop(play, Counter())
            peak = self._peaks.pop(play, 0)
            data: dict[str, Any] = {name: count for name, count in sums.items() if count > 0}
            if not data:
                continue
            if "cpu" in data:
                data["cpu"] /= _MILLIONTH
            yield play, data | ({"peak_kb": peak} if peak else {})
