"""A run of the journal that a command was told."""

from __future__ import annotations

from ciflow.cli.options import journal_of
from ciflow.engine import recorded as records
from ciflow.engine.recorded import Recorded
from ciflow.store.place import Place
from ciflow.store.store import Store


def recorded(state: Place | None, run: str) -> Recorded:
    """By its id, or the beginning of it; without one the newest. Raises NoSuch."""
    with Store.open(journal_of(state), read_only=True) as store:
        return records.recorded(store, run)
