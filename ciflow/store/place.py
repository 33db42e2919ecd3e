"""Where a journal is: a folder of this machine, or a database that a team shares."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TypeAlias

from ciflow.dataclass import dataclass
from ciflow.diagnostics import StoreError

SCHEMES = ("postgresql://", "postgres://")


@dataclass(frozen=True, slots=True)
class Team:
    """A PostgreSQL database, by a URL as libpq takes it. It holds no password: everybody could read it in the list of
    processes."""

    url: str

    def __str__(self) -> str:
        return self.url

    def exists(self) -> bool:
        """Whether there may be something to read, which only asking it can tell."""
        return True

    @property
    def folder(self) -> Path:
        """What of this journal stays on this machine: the keys of runs, and copies of blobs."""
        from hashlib import blake2b

        return state_home() / "team" / blake2b(self.url.encode(), digest_size=8).hexdigest()


Place: TypeAlias = Path | Team


def place_of(text: str) -> Place:
    """What `--state` or $CIFLOW_STATE names. StoreError where a URL holds a password."""
    if not text.startswith(SCHEMES):
        return Path(text).resolve()
    from urllib.parse import parse_qsl, urlsplit

    parts = urlsplit(text)
    if parts.password is not None or any(name == "password" for name, _ in parse_qsl(parts.query)):
        raise StoreError(
            "the URL of the journal holds a password, which everybody on this machine could read",
            help="leave it out, and keep it in ~/.pgpass (mode 0600), or in the file that $PGPASSFILE names",
        )
    return Team(text)


def folder_of(place: Place) -> Path:
    """A folder of this machine for what is kept beside the journal."""
    return place.folder if isinstance(place, Team) else place


def default_state() -> Place:
    """$CIFLOW_STATE, else ~/.local/state/ciflow/store (XDG base directories)."""
    chosen = os.environ.get("CIFLOW_STATE", "")
    if chosen.startswith(SCHEMES):
        return place_of(chosen)
    return Path(chosen) if chosen else state_home() / "store"


def state_home() -> Path:
    """Where ciflow keeps what outlives a command."""
    base = os.environ.get("XDG_STATE_HOME", "")
    return (Path(base) if base.startswith("/") else Path.home() / ".local" / "state") / "ciflow"
