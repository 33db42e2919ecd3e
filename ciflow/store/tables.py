"""What the store asks of the database under it: SQLite's file (database.py), or a team's PostgreSQL (postgres.py)."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

from ciflow.diagnostics import StoreError
from ciflow.store.blobs import Blobs
from ciflow.store.place import Place


class Tables(Protocol):
    """Values stand as `?` in statements. All methods raise StoreError in plain words.

    `path` is a folder of this account alone, for keys; `torn` and `doubt` say what was found when it was opened.
    """

    place: Place
    path: Path
    torn: str
    doubt: bool
    blobs: Blobs

    def rows(self, query: str, values: Sequence[Any] = ()) -> list[Any]:
        """All rows of a query."""

    def many(self, statement: str, rows: Sequence[Sequence[Any]]) -> None:
        """Execute a statement once for each of `rows`, within `writing`."""

    def writing(self) -> AbstractContextManager[None]:
        """One transaction that nobody else writes beside; undone when anything is raised in it."""

    def damaged(self, what: str) -> StoreError:
        """The refusal of a store that can't be trusted, with the way out."""

    def check_pages(self) -> None:
        """Read what lies below the rows, where this process can."""

    def close(self) -> None: ...
