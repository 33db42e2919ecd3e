"""The quarantine: a file in the repository with the tests that run without gating, reviewed like code."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

from ciflow.cargo.errors import ToolOutputError
from ciflow.dataclass import dataclass

FILE = ".config/quarantine.toml"  # beside nextest's own configuration
DAYS = 14
_HEAD = "# Tests that run but do not gate, until a day. `ciflow flaky quarantine` and `release` write this file.\n"
_FIELDS = {"test", "owner", "reason", "since", "expires"}


@dataclass(frozen=True)
class Quarantined:
    """One test, until the day `expires`, from which on it gates again."""

    test: str
    owner: str
    reason: str
    since: date
    expires: date

    def active(self, now: float) -> bool:
        """At `now`, Unix seconds: days are those of UTC."""
        return day(now) < self.expires


def day(now: float) -> date:
    return datetime.fromtimestamp(now, UTC).date()


def read(text: str) -> tuple[Quarantined, ...]:
    """Raises ToolOutputError with what is wrong: whoever wrote the file is to hear it, for it decides what gates."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as e:
        raise ToolOutputError(f"{FILE} is not TOML: {e}") from e
    entries = document.pop("quarantined", [])
    if document or not isinstance(entries, list):
        raise ToolOutputError(f"{FILE} is a list of [[quarantined]] and nothing else")
    return tuple(_entry(entry, number) for number, entry in enumerate(entries, 1))


def _entry(entry: object, number: int) -> Quarantined:
    where = f"entry {number} of {FILE}"
    if not isinstance(entry, dict) or set(entry) != _FIELDS:
        given = set(entry) if isinstance(entry, dict) else set()
        wrong = ", ".join(sorted(given ^ _FIELDS))
        raise ToolOutputError(f"{where} needs test, owner, reason, since and expires, and nothing else: see {wrong}")
    for name in ("test", "owner", "reason"):
        if not isinstance(entry[name], str) or not entry[name].strip():
            raise ToolOutputError(f"{where}: {name} is to be a text")
    for name in ("since", "expires"):
        if type(entry[name]) is not date:
            raise ToolOutputError(f"{where}: {name} is to be a day, such as 2026-01-31")
    return Quarantined(**entry)


def write(entries: Iterable[Quarantined]) -> str:
    """Sorted by test, so that two people's changes rarely meet."""
    blocks = [
        f"\n[[quarantined]]\ntest = {_text(one.test)}\nowner = {_text(one.owner)}\nreason = {_text(one.reason)}\n"
        f"since = {one.since}\nexpires = {one.expires}\n"
        for one in sorted(entries, key=lambda one: one.test)
    ]
    return _HEAD + "".join(blocks)


def _text(value: str) -> str:
    """A basic string of TOML; its escapes are those of JSON."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def with_test(
    entries: Sequence[Quarantined], test: str, owner: str, reason: str, now: float, days: int = DAYS
) -> tuple[Quarantined, ...]:
    """One more; of a test that is there the reason and the end are new, and since when it stays."""
    begun = next((one.since for one in entries if one.test == test), day(now))
    fresh = Quarantined(test, owner, reason, day(now), day(now) + timedelta(days=days))
    return (*(one for one in entries if one.test != test), replace(fresh, since=begun))
