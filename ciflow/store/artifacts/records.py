"""What a store says of its content: entries (a name, a digest) and what other machines still need. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from hashlib import sha256

from ciflow.dataclass import dataclass

HELD = "ciflow-held-"  # what names of such records begin with
DIGEST = re.compile(r"[0-9a-f]{64}")
_DAY = 86_400.0


@dataclass(frozen=True, slots=True)
class Entry:
    """A thing with a name. `digest` is SHA-256 in hexadecimal, `at` when it was kept last (Unix seconds), `key` what
    it was made of, where that was said; `run` and `play` made it, "" where it was pushed by hand."""

    name: str
    digest: str
    size: int
    at: float
    run: str = ""
    play: str = ""
    key: str = ""

    @property
    def record(self) -> str:
        return record_of(self.name, self.key or self.digest)

    def text(self) -> str:
        return json.dumps(asdict(self), sort_keys=True)


@dataclass(frozen=True, slots=True)
class Held:
    """Content that runs and slots of one machine need: why, by digest. `origin` is that machine's journal."""

    origin: str
    host: str
    at: float
    digests: Mapping[str, str]

    @property
    def record(self) -> str:
        return f"{HELD}{self.origin}"

    def text(self) -> str:
        return json.dumps(asdict(self), sort_keys=True)


def record_of(name: str, which: str) -> str:
    """The name of an entry's record: good as a file, a key in S3, and a tag of a registry."""
    slug = re.sub(r"[^a-zA-Z0-9]+", "-", name).strip("-")[:60]
    digest = sha256(f"{name}\0{which}".encode()).hexdigest()
    return f"ciflow-{slug}-{digest[:24]}"


def read(text: str) -> Entry | Held | None:
    """A record; None for what is none: others may keep things in the same place."""
    try:
        found = json.loads(text)
        if "digests" in found:
            return Held(str(found["origin"]), str(found["host"]), float(found["at"]), dict(found["digests"]))
        entry = Entry(**found)
        texts = (entry.name, entry.digest, entry.run, entry.play, entry.key)
        typed = all(isinstance(one, str) for one in texts) and isinstance(entry.at, int | float)
        return entry if typed and isinstance(entry.size, int) and DIGEST.fullmatch(entry.digest) else None
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def expired(entries: Iterable[Entry], now: float, days: float, keep: int) -> list[Entry]:
    """Entries that no rule keeps: older than `days`, and not among the `keep` newest of their name. The oldest
    first."""
    rank: dict[str, int] = {}
    gone = []
    for entry in sorted(entries, key=lambda one: -one.at):
        rank[entry.name] = rank.get(entry.name, 0) + 1
        if rank[entry.name] > keep and now - entry.at > days * _DAY:
            gone.append(entry)
    return gone[::-1]
