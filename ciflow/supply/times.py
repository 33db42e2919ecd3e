"""Times in documents: RFC 3339, in UTC, by the second."""

from __future__ import annotations

from datetime import UTC, datetime


def stamp(seconds: float) -> str:
    """`2026-11-25T17:00:00Z` of Unix seconds."""
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def seconds_of(text: str) -> float:
    """Unix seconds of an RFC 3339 time, or of a date, which is its midnight in UTC. ValueError otherwise."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text!r} is no time: write 2026-11-25T17:00:00Z or 2026-11-25") from None
    if found.tzinfo is None:
        if len(text) > len("2026-11-25"):
            raise ValueError(f"{text!r} doesn't say its time zone: end it with Z")
        found = found.replace(tzinfo=UTC)
    return found.timestamp()
