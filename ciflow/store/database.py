"""The SQLite file under the store: opening it safely, its schema, and its errors in plain words.

WAL with synchronous=NORMAL: a killed process loses nothing that was committed, and a commit costs no fsync. A power
cut may lose the last commits, never half of one; after a reboot the hosts' journals say `unknown` anyway.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ciflow.diagnostics import StoreError
from ciflow.store import wal
from ciflow.store.blobs import Blobs
from ciflow.store.place import Place

NAME = "journal.db"
BUSY_SECONDS = 10.0
APPLICATION_ID = 0x43464C57  # "CFLW"
PAGE = 4096
INDEX_BYTES = 65_536  # what reading needs on the disk at least: the index of the log, 32 KiB, and its folder's entry
CHECKPOINT_PAGES = 1000  # a log of 4 MB at the most: scanned in about 0.1 s after a kill

# One entry for each version of the schema; a store of version n is brought up by the scripts from n on.
SCHEMA: tuple[tuple[str, ...], ...] = (
    (
        "CREATE TABLE events (seq INTEGER PRIMARY KEY, run TEXT NOT NULL, nth INTEGER NOT NULL,"
        " kind TEXT NOT NULL, body TEXT NOT NULL, sum BLOB NOT NULL)",
        "CREATE INDEX events_of_run ON events (run, seq)",
        "CREATE INDEX events_of_kind ON events (kind, seq)",
        "CREATE TABLE runs (run TEXT PRIMARY KEY, first INTEGER NOT NULL, count INTEGER NOT NULL) WITHOUT ROWID",
        "CREATE TABLE kinds (kind TEXT PRIMARY KEY, count INTEGER NOT NULL) WITHOUT ROWID",
        "CREATE TABLE head (id INTEGER PRIMARY KEY CHECK (id = 1), seq INTEGER NOT NULL, locks INTEGER NOT NULL)",
        "CREATE TABLE locks (scope TEXT PRIMARY KEY, token INTEGER NOT NULL, counter INTEGER NOT NULL,"
        " since REAL NOT NULL, holder TEXT NOT NULL, sum BLOB NOT NULL) WITHOUT ROWID",
        "INSERT INTO head VALUES (1, 0, 0)",
    ),
)
VERSION = len(SCHEMA)

# SQLite locks by byte ranges and shares memory between processes; neither can be trusted on these.
NETWORK = frozenset({"nfs", "nfs4", "cifs", "smb3", "smbfs", "afs", "ncpfs", "fuse.sshfs", "fuse.glusterfs", "beegfs"})


def damaged(path: Path, what: str) -> StoreError:
    """The refusal of a store that can't be trusted, with the way out."""
    return StoreError(
        f"the journal {path / NAME} is damaged: {what}",
        help=f"restore {path} from a backup, or move it aside (`mv {path} {path}.damaged`) and start a new one. "
        "Routers keep their share, token and release: `ciflow rollback` works without the journal.",
    )


@contextlib.contextmanager
def plain_words(path: Path) -> Iterator[None]:
    """Translate what SQLite and the system say about the store at `path`; the caller's transaction is undone."""
    try:
        yield
    except sqlite3.Error as e:
        raise _explained(path, e) from e
    except OSError as e:
        raise StoreError(f"the store {path} can't be used: {e.strerror or e}", help=_space_or_rights(e)) from e


def _space_or_rights(e: OSError) -> str:
    return f"look at `df` and `ls -ld` for {e.filename}" if e.filename else "look at `df` and `ls -ld` for it"


def _explained(path: Path, e: sqlite3.Error) -> StoreError:
    name = getattr(e, "sqlite_errorname", "") or ""
    file = path / NAME
    if name.startswith(("SQLITE_FULL", "SQLITE_IOERR_SHMSIZE")):  # the latter: no room for its index of the log
        way_out = f"free some space (`df {path}`); `ciflow resume` goes on with a run that it stopped"
        return StoreError(f"no space left for the journal {file}", help=way_out)
    if name.startswith("SQLITE_READONLY"):
        return StoreError(f"the journal {file} can't be written: it, its folder or its disk is read-only")
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return StoreError(
            f"another process has kept the journal {file} busy for {BUSY_SECONDS:.0f} s", help=f"see `fuser -v {file}`"
        )
    if name.startswith(("SQLITE_CANTOPEN", "SQLITE_PERM", "SQLITE_AUTH")):
        return StoreError(f"the journal {file} can't be opened", help=f"see `ls -ld {path} {file}`")
    if name.startswith("SQLITE_IOERR"):
        return StoreError(f"the disk failed under the journal {file} ({name})", help=f"see `df {path}` and `dmesg`")
    return damaged(path, str(e))


def refuse_network(path: Path, mountinfo: Path = Path("/proc/self/mountinfo")) -> None:
    """StoreError when `path` lies on a network file system; `mountinfo` is in the form of proc(5)."""
    kind, where = file_system_of(path, mountinfo)
    if kind in NETWORK:
        raise StoreError(
            f"the store {path} is on {kind} (mounted at {where}): locks and shared memory don't hold there between "
            "machines, and two runs could both believe they are alone",
            help="set CIFLOW_STATE to a folder on a local disk",
        )


def file_system_of(path: Path, mountinfo: Path) -> tuple[str, str]:
    """(type, mount point) of the file system that holds `path`, or ("", "") where the system doesn't say."""
    if not mountinfo.exists():
        return "", ""
    real = str(_nearest_existing(path).resolve())
    best = ("", "")
    for line in mountinfo.read_text(errors="surrogateescape").splitlines():
        fields, _, rest = line.partition(" - ")
        point = fields.split(" ")[4].encode("latin-1", "replace").decode("unicode_escape")
        inside = real == point or real.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(best[1]):  # of two at one place the later hides the earlier
            best = (rest.split(" ")[0], point)
    return best


def _nearest_existing(path: Path) -> Path:
    return next(p for p in (path, *path.absolute().parents) if p.exists())


class Database:
    """One connection, and the promise that the file was looked at after an unclean end.

    The first process to open a store holds `open.lock` alone while it looks; all then share that lock, so nobody
    takes another's commit in flight for a torn one.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection, lock: int, read_only: bool) -> None:
        self.path = path
        self.place: Place = path
        self.connection = connection
        self.read_only = read_only
        self.torn = ""
        self.doubt = False  # everything should be read and verified before it is trusted
        self.blobs = Blobs(path / "blobs")
        self._lock = lock

    @classmethod
    def open(cls, path: Path, read_only: bool) -> Database:
        """Raises StoreError: network file system, no rights, no space, damage, a newer schema."""
        refuse_network(path)
        with plain_words(path):
            if not read_only:
                _private_folder(path)
            elif not (path / NAME).exists():
                raise StoreError(f"there is no journal in {path}", help="nothing was run with this store yet")
            lock, alone = _open_lock(path)
            try:
                if alone and not read_only and not (path / NAME).exists():
                    _found(path)
                return cls._opened(path, read_only, lock, alone)
            except BaseException:
                _close(lock)
                raise

    @classmethod
    def _opened(cls, path: Path, read_only: bool, lock: int, alone: bool) -> Database:
        found = wal.inspect(path / f"{NAME}-wal") if alone else wal.CLEAN
        if found.damage and _same_boot(lock):
            raise damaged(path, found.damage)
        database = cls(path, _connect(path, read_only), lock, read_only)
        try:
            if not read_only:
                _bring_up(database.connection)
            database._check_schema()
            if torn := found.torn or found.damage:
                database.torn = f"the journal {path / NAME} had a torn end: {torn}. It was cut there."
                database.doubt = found.doubt
        except BaseException:
            database.connection.close()
            raise
        if lock >= 0 and alone:
            if not read_only and not _same_boot(lock):
                os.pwrite(lock, _boot(), 0)
            fcntl.flock(lock, fcntl.LOCK_SH)
        return database

    def _check_schema(self) -> None:
        version = self.connection.execute("PRAGMA user_version").fetchone()[0]
        if version > VERSION:
            raise StoreError(
                f"the journal {self.path / NAME} has version {version}; this ciflow knows up to {VERSION}",
                help="use the newer ciflow that wrote it, or set CIFLOW_STATE to another folder",
            )
        wanted = {s for script in SCHEMA for s in script if s.startswith("CREATE")}
        there = {row[0] for row in self.connection.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL")}
        if there != wanted:
            raise damaged(self.path, "its tables are not those of its version")

    def check_pages(self) -> None:
        """Read the whole file: every page and index. StoreError when SQLite finds a fault."""
        verdict = self.rows("PRAGMA integrity_check(1)")[0][0]
        if verdict != "ok":
            raise self.damaged(verdict)

    def damaged(self, what: str) -> StoreError:
        return damaged(self.path, what)

    def rows(self, query: str, values: Sequence[Any] = ()) -> list[Any]:
        with plain_words(self.path):
            return self.connection.execute(query, values).fetchall()

    def many(self, statement: str, rows: Sequence[Sequence[Any]]) -> None:
        with plain_words(self.path):
            self.connection.executemany(statement, rows)

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        with plain_words(self.path):
            self.connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self.connection.execute("COMMIT")
            except BaseException:
                if self.connection.in_transaction:  # SQLite undoes some failures itself
                    self.connection.execute("ROLLBACK")
                raise

    def close(self) -> None:
        """The last to close folds the WAL back into the file."""
        with plain_words(self.path):
            self.connection.close()
        _close(self._lock)
        self._lock = -1


def _private_folder(path: Path) -> None:
    """Ours and closed to others; a folder that holds anything else is somebody's, and is not closed for them."""
    for above in [folder for folder in reversed(path.absolute().parents) if not folder.exists()]:
        above.mkdir(exist_ok=True, mode=0o755)  # whatever the umask: who may write there can replace what is below
    path.mkdir(exist_ok=True, mode=0o700)
    if path.stat().st_uid != os.geteuid():
        raise StoreError(f"the store {path} belongs to another account (uid {path.stat().st_uid})")
    open_to_others = path.stat().st_mode & 0o077
    if open_to_others and not (path / NAME).exists() and any(path.iterdir()):
        raise StoreError(
            f"{path} is open to others and holds other files: no place for a journal",
            help="name a folder of its own, with --state or CIFLOW_STATE",
        )
    path.chmod(0o700)


def _open_lock(path: Path) -> tuple[int, bool]:
    """(descriptor, whether nobody else has the store open). On read-only media: (-1, True)."""
    try:
        lock = os.open(path / "open.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError:
        if not os.access(path, os.W_OK) or not (path / NAME).exists():
            return -1, True
        raise
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        fcntl.flock(lock, fcntl.LOCK_SH)
        return lock, False
    return lock, True


def _boot() -> bytes:
    """Of fixed length; a machine without one counts as never rebooted."""
    path = Path("/proc/sys/kernel/random/boot_id")
    return path.read_bytes()[:36] if path.exists() else b"-" * 36


def _same_boot(lock: int) -> bool:
    """Whether this machine has been up since the store was last opened.

    Without a reboot, a bad frame before whole ones is damage. After one it is what a power cut leaves of writes that
    were never synced, in any order: the end is cut where the first is missing.
    """
    return lock < 0 or os.pread(lock, 36, 0) == _boot()


def _close(lock: int) -> None:
    if lock >= 0:
        os.close(lock)


def _found(path: Path) -> None:
    """Make the file beside its place, and rename it: an empty or half-made journal is always damage."""
    for left in path.glob(f"{NAME}.new*"):
        left.unlink()
    fresh = path / f"{NAME}.new"
    os.close(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    with contextlib.closing(_writer(fresh)) as connection:
        connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
        _bring_up(connection)
    fresh.replace(path / NAME)


def _bring_up(connection: sqlite3.Connection) -> None:
    if connection.execute("PRAGMA user_version").fetchone()[0] >= VERSION:
        return
    connection.execute("BEGIN IMMEDIATE")
    version = connection.execute("PRAGMA user_version").fetchone()[0]  # another process may have been faster
    for script in SCHEMA[version:]:
        for statement in script:
            connection.execute(statement)
    connection.execute(f"PRAGMA user_version={VERSION}")
    connection.execute("COMMIT")


def _connect(path: Path, read_only: bool) -> sqlite3.Connection:
    file = path / NAME
    if file.exists() and not file.stat().st_size:
        raise damaged(path, "it is empty")
    if not read_only:
        return _writer(file)
    # Where nothing can be written, for lack of rights or space, and no WAL holds anything, the file is a still picture.
    space = os.statvfs(path)
    writable = os.access(path, os.W_OK) and space.f_bavail * space.f_frsize >= INDEX_BYTES
    log = file.with_name(f"{NAME}-wal")
    still = not writable and not (log.exists() and log.stat().st_size)
    return _session(file, "mode=ro&immutable=1" if still else "mode=ro")


def _writer(file: Path) -> sqlite3.Connection:
    connection = _session(file, "mode=rw")
    try:
        for setting in (
            f"page_size={PAGE}", "journal_mode=WAL", "synchronous=NORMAL", f"wal_autocheckpoint={CHECKPOINT_PAGES}"
        ):  # fmt: skip
            connection.execute(f"PRAGMA {setting}")
    except BaseException:
        connection.close()
        raise
    return connection


def _session(file: Path, mode: str) -> sqlite3.Connection:
    connection = sqlite3.connect(f"{file.absolute().as_uri()}?{mode}", uri=True, isolation_level=None)
    for setting in (f"busy_timeout={int(BUSY_SECONDS * 1000)}", "cell_size_check=ON", "trusted_schema=OFF"):
        connection.execute(f"PRAGMA {setting}")
    return connection
