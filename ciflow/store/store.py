"""The journal of one machine, in one private folder, or of a team, in PostgreSQL: events, locks, blobs and keys.

Each row carries its own checksum and its number within its run; counts by run and by kind stand beside them. So a
flipped bit, a lost row or a lost index entry is found by whoever reads it, without reading the whole file at start.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Sequence
from hashlib import blake2b
from types import TracebackType

from ciflow.diagnostics import Refused, StoreError
from ciflow.model import Event
from ciflow.store.board import Board
from ciflow.store.database import Database
from ciflow.store.locks import Lease, Locks
from ciflow.store.place import Place, Team
from ciflow.store.place import default_state as default_state
from ciflow.store.seal import Keys
from ciflow.store.tables import Tables

_COLUMNS = "seq, run, nth, kind, body, sum"
BATCH = 512  # rows read at a time, so that a long read never keeps the log from being folded back
Row = tuple[int, str, int, str, str, bytes]


def _tables(place: Place, read_only: bool) -> Tables:
    if not isinstance(place, Team):
        return Database.open(place, read_only)
    from ciflow.store.postgres import Postgres  # and psycopg

    return Postgres.open(place, read_only)


def row_sum(seq: int, run: str, nth: int, kind: str, body: str) -> bytes:
    return blake2b(f"{seq}\0{run}\0{nth}\0{kind}\0{body}".encode(), digest_size=12).digest()


class Store:
    """Events appended and read, by one thread. `torn` is a sentence when a torn end was cut at opening, else ""."""

    def __init__(self, database: Tables) -> None:
        self._database = database
        self.place = database.place
        self.path = database.path
        self.torn = database.torn
        self.locks = Locks(database)
        self.blobs = database.blobs
        self.keys = Keys(database.path / "keys")

    @classmethod
    def open(cls, place: Place, read_only: bool = False) -> Store:
        """Raises StoreError: out of reach, network file system, no rights, no space, damage, a newer version."""
        store = cls(database := _tables(place, read_only))
        try:
            store._check_counts()
            if database.doubt:
                store.check()
        except BaseException:
            store.close()
            raise
        return store

    def __enter__(self) -> Store:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        self._database.close()

    # --- writing -----------------------------------------------------------------------------------------

    def append(self, events: Sequence[Event], *leases: Lease) -> int:
        """All of `events` or none, in one transaction; gives the number of the last one.

        With `leases`, Locked is raised and nothing is written when somebody has taken one of them over since.
        Events without a time get the present.
        """
        with self._database.writing():
            for lease in leases:
                self.locks.fence(lease)
            seq: int = self._database.rows("SELECT seq FROM head")[0][0]
            counts = {run: self._count(run) for run in {e.run for e in events}}
            begun = {run: (seq + 1, count) for run, count in counts.items()}
            kinds: dict[str, int] = {}
            rows: list[Row] = []
            for event in events:
                seq += 1
                nth = counts[event.run]
                counts[event.run] += 1
                kinds[event.kind] = kinds.get(event.kind, 0) + 1
                rows.append(_row(seq, nth, event))
            self._database.many("INSERT INTO events VALUES (?, ?, ?, ?, ?, ?)", rows)
            self._database.many(
                "INSERT INTO runs VALUES (?, ?, ?) ON CONFLICT (run) DO UPDATE SET count = runs.count + excluded.count",
                [(run, first, counts[run] - had) for run, (first, had) in begun.items()],
            )
            self._database.many(
                "INSERT INTO kinds VALUES (?, ?) ON CONFLICT (kind) DO UPDATE SET count = kinds.count + excluded.count",
                list(kinds.items()),
            )
            self._database.many("UPDATE head SET seq = ?", [(seq,)])
        return seq

    def board(self, run: str, meeting: str) -> Board:
        """Where the shards of a play meet. Refused where the journal is not one that all of them reach."""
        if not isinstance(self.place, Team):
            raise Refused("workers need a journal that all of them reach", help="--state postgresql://HOST/DATABASE")
        return Board(self._database, run, meeting)

    # --- reading -----------------------------------------------------------------------------------------

    @property
    def last(self) -> int:
        """Number of the newest event of all; 0 in a new store. A few microseconds."""
        return self._extent("0")[0]

    def events(self, run: str = "", kinds: Iterable[str] = (), after: int = 0) -> Iterator[Event]:
        """In order, of one run or of all, of some kinds or of all, from behind number `after`, up to now.

        Raises StoreError at the first row that doesn't verify, or when fewer rows come than were counted.
        """
        wanted = frozenset(kinds)
        if wanted and not run:
            return self._of_kinds(sorted(wanted), after)
        return self._in_order(run, wanted, after)

    def _in_order(self, run: str, wanted: frozenset[str], after: int) -> Iterator[Event]:
        last, expected = self._extent("SELECT count FROM runs WHERE run = ?" if run else "SELECT seq FROM head", run)
        seen = self._seen_before(run, after)
        where = "run = ? AND" if run else ""
        at = after
        while rows := self._rows(f"{where} seq > ? AND seq <= ? ORDER BY seq", (*((run,) if run else ()), at, last)):
            for row in rows:
                self._verify(row)
                if (row[2] if run else row[0] - 1) != seen:
                    raise self._database.damaged(f"events are missing before number {row[0]}")
                seen += 1
                if not wanted or row[3] in wanted:
                    yield _event(row)
            at = rows[-1][0]
        if seen < expected and after <= last:
            raise self._database.damaged(f"{expected - seen} events are missing at its end")

    def _seen_before(self, run: str, after: int) -> int:
        """How many events of the run (or of all) are numbered up to `after`."""
        if not run or not after:
            return after if not run else 0
        rows = self._rows("run = ? AND seq <= ? ORDER BY seq DESC", (run, after), limit=1)
        for row in rows:
            self._verify(row)
        return rows[0][2] + 1 if rows else 0

    def _of_kinds(self, kinds: list[str], after: int) -> Iterator[Event]:
        places = ", ".join("?" * len(kinds))
        last, counted = self._extent(f"SELECT coalesce(sum(count), 0) FROM kinds WHERE kind IN ({places})", *kinds)
        seen = 0
        at = after
        where = f"kind IN ({places}) AND seq > ? AND seq <= ? ORDER BY seq"
        while rows := self._rows(where, (*kinds, at, last), index="INDEXED BY events_of_kind"):
            for row in rows:
                self._verify(row)
                seen += 1
                yield _event(row)
            at = rows[-1][0]
        if not after and seen < counted:
            raise self._database.damaged(f"{counted - seen} events of kind {', '.join(kinds)} are missing")

    def _extent(self, count: str, *values: str) -> tuple[int, int]:
        """(newest event, what the query `count` gives), of one moment."""
        rows = self._database.rows(f"SELECT seq, coalesce(({count}), 0) FROM head", values[: count.count("?")])
        if not rows:
            raise self._database.damaged("its head is missing")
        return int(rows[0][0]), int(rows[0][1])

    def _rows(self, where: str, values: tuple[object, ...], limit: int = BATCH, index: str = "") -> list[Row]:
        return self._database.rows(f"SELECT {_COLUMNS} FROM events {index} WHERE {where} LIMIT {limit}", values)

    def _verify(self, row: Row) -> None:
        if row_sum(*row[:5]) != row[5]:
            raise self._database.damaged(f"event {row[0]} doesn't verify")

    def runs(self) -> list[str]:
        """All runs, the oldest first."""
        return [row[0] for row in self._database.rows("SELECT run FROM runs WHERE run != '' ORDER BY first")]

    def last_run(self) -> str:
        """The newest run, or ""."""
        runs = self.runs()
        return runs[-1] if runs else ""

    def wait(self, after: int, timeout: float) -> int:
        """The number of the newest event, as soon as it is greater than `after`, or when `timeout` seconds are over.

        `timeout` 0 only looks (a few microseconds). Polls, for the writer may be another process.
        """
        end = time.monotonic() + timeout
        pause = 0.005
        while (last := self.last) <= after:
            left = end - time.monotonic()
            if left <= 0:
                break
            time.sleep(min(pause, left))
            pause = min(pause * 1.5, 0.05)
        return last

    # --- checking ----------------------------------------------------------------------------------------

    def check(self) -> None:
        """Read and verify everything: pages, indices, rows, locks. StoreError at the first fault."""
        self._database.check_pages()
        for _ in self._in_order("", frozenset(), 0):
            pass
        self.locks.all()

    def _count(self, run: str) -> int:
        rows = self._database.rows("SELECT count FROM runs WHERE run = ?", (run,))
        return int(rows[0][0]) if rows else 0

    def _check_counts(self) -> None:
        totals = (f"(SELECT coalesce(sum(count), 0) FROM {table})" for table in ("runs", "kinds"))
        row = self._database.rows(f"SELECT (SELECT seq FROM head), {', '.join(totals)}")[0]
        if len(set(row)) != 1:
            raise self._database.damaged(f"it says {row[0]} events, {row[1]:.0f} by run and {row[2]:.0f} by kind")


def _row(seq: int, nth: int, event: Event) -> Row:
    try:
        body = json.dumps(
            [event.at or time.time(), event.play, event.host, event.task, event.key, dict(event.data)],
            separators=(",", ":"),
        )
    except (TypeError, ValueError) as e:
        raise StoreError(f"an event `{event.kind}` holds what JSON can't: {e}") from e
    return seq, event.run, nth, event.kind, body, row_sum(seq, event.run, nth, event.kind, body)


def _event(row: Row) -> Event:
    at, play, host, task, key, data = json.loads(row[4])
    return Event(kind=row[3], run=row[1], at=at, seq=row[0], play=play, host=host, task=task, key=key, data=data)
