"""Where shards of a play's hosts meet: a barrier at which each tells the others what they must know.

A shard is a part of the hosts, walked by one process. When all its hosts wait at the barrier of the linear strategy it
arrives here with their position; once all shards have arrived or left, those at the earliest position go on, as the
hosts of one process do (engine/pace.py). Positions only grow, so a shard that is walked again after its worker was
lost passes all that was passed before.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, TypeAlias

from ciflow.dataclass import dataclass, field
from ciflow.store.tables import Tables

Position: TypeAlias = tuple[int, ...]


@dataclass(slots=True)
class State:
    """`at`: where each shard waits, None for one that works, () for one that has left. `said`: what each told last.

    `passed` is the latest position that any was let past, `first` who of those that it let past leads there. `stop`
    is why all are to end now.
    """

    at: dict[int, Position | None]
    said: dict[int, dict[str, Any]] = field(default_factory=dict)
    passed: Position = ()
    first: int = 0
    stop: str = ""

    def release(self) -> None:
        """Let the earliest past, when nobody is on the way."""
        waiting = {shard: position for shard, position in self.at.items() if position}
        if not waiting or any(position is None for position in self.at.values()):
            return
        self.passed = min(waiting.values())
        gone = [shard for shard, position in waiting.items() if position <= self.passed]
        self.first = min(gone)
        self.at |= dict.fromkeys(gone)

    def to_text(self) -> str:
        return json.dumps([sorted(self.at.items()), sorted(self.said.items()), self.passed, self.first, self.stop])

    @classmethod
    def from_text(cls, text: str) -> State:
        at, said, passed, first, stop = json.loads(text)
        places = {shard: None if position is None else tuple(position) for shard, position in at}
        return cls(places, dict(said), tuple(passed), first, stop)


class Board:
    """One meeting in the journal: a play, or a batch of it. All methods raise StoreError."""

    def __init__(self, tables: Tables, run: str, meeting: str) -> None:
        self._tables = tables
        self._key = (run, meeting)

    def open(self, shards: int) -> None:
        """Begin anew: nobody has passed anything."""
        text = State(dict.fromkeys(range(shards))).to_text()
        with self._tables.writing():
            self._tables.many("DELETE FROM once WHERE run = ? AND meeting = ?", [self._key])
            self._tables.many("DELETE FROM meetings WHERE run = ? AND meeting = ?", [self._key])
            self._tables.many("INSERT INTO meetings VALUES (?, ?, ?)", [(*self._key, text)])

    def close(self) -> None:
        """Forget all that was said here."""
        with self._tables.writing():
            for table in ("once", "meetings"):
                self._tables.many(f"DELETE FROM {table} WHERE run = ? AND meeting = ?", [self._key])

    def arrive(self, shard: int, position: Position, said: Mapping[str, Any]) -> State:
        """A shard waits at `position`; () when it has left. It may go on once `passed` is no earlier."""
        with self._tables.writing():
            state = self.look()
            if not position or position > state.passed:
                state.at[shard] = position
            state.said[shard] = dict(said)
            state.release()
            self._put(state)
        return state

    def stop(self, why: str) -> None:
        """All shards are to end what they do."""
        with self._tables.writing():
            state = self.look()
            state.stop = state.stop or why
            self._put(state)

    def look(self) -> State:
        rows = self._tables.rows("SELECT state FROM meetings WHERE run = ? AND meeting = ?", self._key)
        return State.from_text(rows[0][0]) if rows else State({}, stop="the play has ended")

    def claim(self, what: str, shard: int) -> int:
        """The shard that does, or says, this for all: the first that asked."""
        with self._tables.writing():
            row = (*self._key, what, shard)
            self._tables.many(
                "INSERT INTO once (run, meeting, task, shard) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING", [row]
            )
        found = self.claimed(what)
        assert found is not None
        return found[0]

    def claimed(self, what: str) -> tuple[int, str | None] | None:
        """Who claimed it, and what was published of it yet; None as long as nobody did."""
        query = "SELECT shard, result FROM once WHERE run = ? AND meeting = ? AND task = ?"
        rows = self._tables.rows(query, (*self._key, what))
        return (int(rows[0][0]), rows[0][1]) if rows else None

    def publish(self, task: str, result: str) -> None:
        """What the claimed task came to, for the others."""
        with self._tables.writing():
            row = (result, *self._key, task)
            self._tables.many("UPDATE once SET result = ? WHERE run = ? AND meeting = ? AND task = ?", [row])

    def _put(self, state: State) -> None:
        row = (state.to_text(), *self._key)
        self._tables.many("UPDATE meetings SET state = ? WHERE run = ? AND meeting = ?", [row])
