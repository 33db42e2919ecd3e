"""A team's journal in PostgreSQL: the same tables and statements as SQLite's file, in the schema `ciflow`.

Whoever writes holds the row of `head`, so that events are numbered in the order in which they are committed, and a
reader who has seen number n has seen all before it. Keys of runs never go there: they stay on the machine that began
the run.
"""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ciflow.diagnostics import Refused, StoreError
from ciflow.store.blobs import Blobs
from ciflow.store.database import SCHEMA, VERSION
from ciflow.store.place import Place, Team

if TYPE_CHECKING:
    import psycopg

T = TypeVar("T")
PATIENCE = 10.0  # seconds that a server may be away between two transactions: it restarts, or another takes over
CONNECT_SECONDS = 5
# Who was stopped or cut off within a transaction holds the row that all writers need: its server ends it then.
ABANDONED = 20  # seconds
BUSY = 30  # seconds that others wait for it
ALIVE = {"keepalives_idle": 15, "keepalives_interval": 5, "keepalives_count": 3}  # a server whose machine is gone
NAMESPACE = "ciflow"
# Only PostgreSQL has these: blobs, and where shards of hosts meet (board.py).
_MORE = (
    "CREATE TABLE version (number INTEGER NOT NULL)",
    "CREATE TABLE blobs (digest TEXT PRIMARY KEY, content BYTEA NOT NULL)",
    "CREATE TABLE meetings (run TEXT NOT NULL, meeting TEXT NOT NULL, state TEXT NOT NULL, PRIMARY KEY (run, meeting))",
    "CREATE TABLE once (run TEXT NOT NULL, meeting TEXT NOT NULL, task TEXT NOT NULL, shard INTEGER NOT NULL,"
    " result TEXT, PRIMARY KEY (run, meeting, task))",
    f"INSERT INTO version VALUES ({VERSION})",
)
_TYPES = {"INTEGER": "BIGINT", "BLOB": "BYTEA", "REAL": "DOUBLE PRECISION", " WITHOUT ROWID": ""}


def _driver() -> Any:
    """psycopg, which only a team's journal needs."""
    try:
        import psycopg
    except ImportError as e:
        raise Refused("a journal in PostgreSQL needs psycopg", help="pip install 'ciflow[postgres]'") from e
    return psycopg


class Postgres:
    """One connection, of one thread. `path` is the folder of what stays on this machine."""

    def __init__(self, team: Team, connection: psycopg.Connection[Any]) -> None:
        self.team = team
        self.place: Place = team
        self.path = team.folder
        self.torn = ""
        self.doubt = False  # PostgreSQL repairs its own torn ends
        self.connection = connection
        self.blobs: Blobs = SharedBlobs(self.path / "blobs", self)

    @classmethod
    def open(cls, team: Team, read_only: bool) -> Postgres:
        """Raises StoreError: out of reach, no rights, a newer version. The first to open it makes its tables."""
        team.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        postgres = cls(team, _connect(team))
        try:
            postgres._bring_up(read_only)
        except BaseException:
            postgres.connection.close()
            raise
        return postgres

    def rows(self, query: str, values: Sequence[Any] = ()) -> list[Any]:
        def asked() -> list[Any]:
            return self.connection.execute(_dialect(query), values).fetchall()

        with _plain_words(self.team):
            return asked() if self._within else self._patiently(asked)

    def many(self, statement: str, rows: Sequence[Sequence[Any]]) -> None:
        with _plain_words(self.team), self.connection.cursor() as cursor:
            cursor.executemany(_dialect(statement), rows)

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        with _plain_words(self.team):
            try:
                self._patiently(lambda: self.connection.execute("BEGIN; SELECT 1 FROM head FOR UPDATE"))
                yield
                self.connection.execute("COMMIT")
            except BaseException:
                if self._within:
                    self.connection.execute("ROLLBACK")
                raise

    def damaged(self, what: str) -> StoreError:
        return StoreError(
            f"the journal {self.team} is damaged: {what}",
            help="restore the database from a backup, or drop its schema `ciflow` and start a new one. Routers keep "
            "their share, token and release: `ciflow rollback` works without the journal.",
        )

    def check_pages(self) -> None:
        """Its server's business (`pg_amcheck`, data checksums)."""

    def close(self) -> None:
        self.connection.close()

    # --- private -----------------------------------------------------------------------------------------

    @property
    def _within(self) -> bool:
        """Whether a transaction is open, which a new connection would not be in."""
        return self.connection.info.transaction_status.name in ("INTRANS", "INERROR")

    def _patiently(self, ask: Callable[[], T]) -> T:
        """Between transactions nothing is lost with a connection: take another."""
        end = time.monotonic() + PATIENCE
        while True:
            try:
                if self.connection.closed:
                    self.connection = _connected(self.team)
                return ask()
            except _driver().OperationalError:
                if not self.connection.broken or time.monotonic() > end:
                    raise
                time.sleep(0.2)

    def _bring_up(self, read_only: bool) -> None:
        there = bool(self.rows("SELECT 1 FROM pg_tables WHERE schemaname = ? AND tablename = 'version'", (NAMESPACE,)))
        if not there:
            if read_only:
                raise StoreError(f"there is no journal in {self.team}", help="nothing was run with this store yet")
            self._found()
        version = self.rows("SELECT number FROM version")[0][0]
        if version > VERSION:
            raise StoreError(
                f"the journal {self.team} has version {version}; this ciflow knows up to {VERSION}",
                help="use the newer ciflow that wrote it, or name another database",
            )

    def _found(self) -> None:
        statements = [_dialect(s) for script in SCHEMA for s in script] + list(_MORE)
        with _plain_words(self.team), self.connection.transaction():
            self.connection.execute("SELECT pg_advisory_xact_lock(hashtext('ciflow'))")
            self.connection.execute(f"CREATE SCHEMA IF NOT EXISTS {NAMESPACE}")
            if self.connection.execute("SELECT to_regclass('ciflow.version')").fetchone() == (None,):
                for statement in statements:
                    self.connection.execute(statement)


def _dialect(statement: str) -> str:
    """SQLite's words in PostgreSQL's."""
    if statement.startswith("CREATE TABLE"):
        for sqlite, postgres in _TYPES.items():
            statement = statement.replace(sqlite, postgres)
    return re.sub(r"INDEXED BY \w+", "", statement).replace("?", "%s")


def _connect(team: Team) -> psycopg.Connection[Any]:
    with _plain_words(team):
        return _connected(team)


def _connected(team: Team) -> psycopg.Connection[Any]:
    driver = _driver()
    usual = {"connect_timeout": CONNECT_SECONDS, "application_name": "ciflow", **ALIVE}
    said = driver.conninfo.conninfo_to_dict(team.url)
    connection: psycopg.Connection[Any] = driver.connect(**{**usual, **said}, autocommit=True)
    connection.execute(
        f"SET search_path TO {NAMESPACE}; SET lock_timeout TO '{BUSY}s';"
        f" SET idle_in_transaction_session_timeout TO '{ABANDONED}s'"
    )
    return connection


@contextlib.contextmanager
def _plain_words(team: Team) -> Iterator[None]:
    """Translate what the server, or the way to it, says; never with a password, which the URL does not hold."""
    driver = _driver()
    try:
        yield
    except driver.errors.LockNotAvailable as e:
        raise StoreError(
            f"another process has kept the journal {team} busy for {BUSY} s",
            help="`SELECT pid, client_addr, state FROM pg_stat_activity` there says who",
        ) from e
    except driver.OperationalError as e:
        raise StoreError(
            f"the journal {team} can't be reached: {_first_line(e)}",
            help="`psql` with the same URL says more; once it answers, `ciflow resume` goes on",
        ) from e
    except driver.errors.InsufficientPrivilege as e:
        raise StoreError(
            f"the journal {team} can't be used: {_first_line(e)}",
            help="the role needs to own the schema `ciflow`, or CREATE on the database to make it",
        ) from e
    except driver.errors.DiskFull as e:
        way_out = "free some space there; `ciflow resume` goes on with a run that it stopped"
        raise StoreError(f"no space left for the journal {team}", help=way_out) from e
    except driver.Error as e:
        raise StoreError(f"the journal {team} refused: {_first_line(e)}") from e


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]


class SharedBlobs(Blobs):
    """Snapshots in the database, with a copy on each machine that needs them."""

    def __init__(self, folder: Path, postgres: Postgres) -> None:
        super().__init__(folder)
        self._postgres = postgres

    def put(self, content: bytes) -> str:
        digest = super().put(content)
        with self._postgres.writing():
            row = (digest, content)
            self._postgres.many("INSERT INTO blobs VALUES (?, ?) ON CONFLICT DO NOTHING", [row])
        return digest

    def get(self, digest: str) -> bytes:
        if not self.has(digest):
            for row in self._postgres.rows("SELECT content FROM blobs WHERE digest = ?", (digest,)):
                super().put(row[0])
        return super().get(digest)
