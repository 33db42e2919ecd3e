"""What every report is to the engine: something that is told of events, and closed at the end."""

from __future__ import annotations

from typing import Protocol

from ciflow.model import Event


class Sink(Protocol):
    """Told of every event in order. Raises nothing: a report that fails says so in `lost` and goes silent."""

    def event(self, event: Event) -> None: ...

    def past(self, event: Event) -> None:
        """What an earlier process of a resumed run recorded: known, but not news."""
        ...

    def tick(self, now: float) -> None:
        """About once a second, with the Unix time, also when no event comes."""
        ...

    def close(self) -> None: ...
