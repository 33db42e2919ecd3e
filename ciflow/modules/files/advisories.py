"""Databases of advisories on this machine, and the index that makes the second look at one quick.

A database is a folder or a zip: RustSec's (`crates/NAME/ID.md`) or OSV's (`ID.json`). It is read whole once into an
SQLite file of this account, which later looks use as long as nothing in the database is newer. Reading it is bounded:
archives are read in memory, entry by entry, and never unpacked.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from ciflow.dataclass import dataclass
from ciflow.supply import osv, rustsec
from ciflow.supply.advisory import Advisory, from_row
from ciflow.supply.errors import AdvisoryError

if TYPE_CHECKING:
    from zipfile import ZipFile

_FORM = "1"  # of the index; another one is made anew
_LARGEST = 8 * 1024 * 1024  # bytes of one advisory
_WHOLE = 4 * 1024**3  # bytes of all advisories of one archive
_MOST = 1_000_000  # advisories in one database
_AT_ONCE = 500  # names in one question to SQLite


@dataclass(frozen=True)
class Database:
    """An open index. `path` is the database that it is of."""

    path: str
    connection: sqlite3.Connection
    count: int
    newest: str
    fingerprint: str
    fresh: bool  # whether it was made just now

    def about(self, ecosystem: str, names: Sequence[str]) -> Iterator[Advisory]:
        """All advisories on packages of these names."""
        for at in range(0, len(names), _AT_ONCE):
            some = names[at : at + _AT_ONCE]
            marks = ",".join("?" * len(some))
            question = f"SELECT body FROM advisories WHERE ecosystem = ? AND package IN ({marks})"
            for (body,) in self.connection.execute(question, (ecosystem, *some)):
                yield from_row(body)


def default_cache() -> Path:
    """$XDG_CACHE_HOME/ciflow/advisories (XDG base directories)."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if base.startswith("/") else Path.home() / ".cache") / "ciflow" / "advisories"


def default_databases() -> tuple[Path, ...]:
    """$CIFLOW_ADVISORIES (paths with colons), else where cargo-audit and cargo-deny keep theirs, if they do."""
    named = os.environ.get("CIFLOW_ADVISORIES", "")
    if named:
        return tuple(Path(one).expanduser() for one in named.split(os.pathsep) if one)
    home = Path(os.environ.get("CARGO_HOME") or Path.home() / ".cargo")
    found = [home / "advisory-db", *sorted((home / "advisory-dbs").glob("*"))]
    return tuple(path for path in found if path.is_dir())[:1]


def opened(path: Path, cache: Path) -> Database:
    """The database's index, made where there is none or an old one.

    Raises:
        AdvisoryError: no database there, or an advisory in it that can't be read.
    """
    path = path.absolute()
    files = _listed(path)
    mark = hashlib.sha256(
        "".join(f"{name}\0{state}\n" for name, state in files).encode(errors="surrogateescape")
    ).hexdigest()
    index = cache / f"{hashlib.sha256(str(path).encode()).hexdigest()[:24]}.sqlite"
    found = _existing(index, path, mark)
    if found is None:
        _made(index, path, mark, [name for name, _ in files])
        found = _existing(index, path, mark, fresh=True)
    if found is None:
        raise AdvisoryError(f"the index {index} of {path} can't be read just after it was written")
    return found


def _existing(index: Path, path: Path, mark: str, *, fresh: bool = False) -> Database | None:
    """None where it is missing, of another state of the database, or damaged."""
    if not index.exists():
        return None
    try:
        connection = sqlite3.connect(f"{index.as_uri()}?mode=ro", uri=True)
        row = connection.execute("SELECT form, mark, count, newest FROM about").fetchone()
    except sqlite3.DatabaseError:
        return None
    if row is None or row[:2] != (_FORM, mark):
        connection.close()
        return None
    return Database(str(path), connection, int(row[2]), str(row[3]), mark, fresh)


def _made(index: Path, path: Path, mark: str, names: Sequence[str]) -> None:
    """Beside its place first, so that nobody meets half of one."""
    import tempfile

    index.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor, temporary = tempfile.mkstemp(dir=index.parent, prefix=".new-")
    os.close(descriptor)
    try:
        connection = sqlite3.connect(temporary, isolation_level=None)
        try:
            _fill(connection, _advisories(path, names), mark)
        finally:
            connection.close()
        Path(temporary).replace(index)
    finally:
        Path(temporary).unlink(missing_ok=True)


def _fill(connection: sqlite3.Connection, records: Iterable[tuple[Advisory, ...]], mark: str) -> None:
    connection.executescript(
        "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; BEGIN;"
        "CREATE TABLE about (form TEXT, mark TEXT, count INTEGER, newest TEXT);"
        "CREATE TABLE advisories (ecosystem TEXT, package TEXT, body TEXT);"
    )
    count, newest = 0, ""
    for advisories in records:
        count += bool(advisories)
        for one in advisories:
            newest = max(newest, one.date)
            connection.execute("INSERT INTO advisories VALUES (?, ?, ?)", (one.ecosystem, one.package, one.row()))
    connection.execute("CREATE INDEX by_package ON advisories (ecosystem, package)")
    connection.execute("INSERT INTO about VALUES (?, ?, ?, ?)", (_FORM, mark, count, newest))
    connection.execute("COMMIT")


# --- what is in a database ------------------------------------------------------------------------------


def _listed(path: Path) -> list[tuple[str, str]]:
    """Every file of the database with its size and time, in order: another list whenever one of them changes."""
    crates = path / "crates"
    try:
        if path.is_file():
            found = path.stat()
            return [(str(path), f"{found.st_size} {found.st_mtime_ns}")]
        if crates.is_dir():
            return sorted(_files(str(crates), 0))
        return sorted(one for one in _files(str(path), 0) if one[0].endswith(".json"))
    except OSError as e:
        raise AdvisoryError(f"no database of advisories at {path}: {e.strerror}") from e


def _files(folder: str, depth: int) -> Iterator[tuple[str, str]]:
    """Regular files, two folders deep. A link could lead anywhere, and what it hides would be missing: refused."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_symlink():
                raise AdvisoryError(f"{entry.path} is a link; a database of advisories has none")
            if entry.is_dir() and depth < 2:
                yield from _files(entry.path, depth + 1)
            elif entry.is_file():
                found = entry.stat()
                yield entry.path, f"{found.st_size} {found.st_mtime_ns}"


def _advisories(path: Path, names: Sequence[str]) -> Iterator[tuple[Advisory, ...]]:
    """What each file in the database says: of one hole, of one package or of several."""
    count = 0
    for name, content in _archived(path) if path.is_file() else _lying(names):
        count += 1
        if count > _MOST:
            raise AdvisoryError(f"{path} has more than {_MOST} advisories")
        yield _of_rustsec(name, content) if name.endswith(".md") else osv.parse(content, name)
    if not count:
        raise AdvisoryError(f"{path} has no advisories: neither crates/NAME/ID.md nor ID.json")


def _lying(names: Iterable[str]) -> Iterator[tuple[str, bytes]]:
    for name in names:
        yield name, _bounded(name, _read(name))


def _archived(path: Path) -> Iterator[tuple[str, bytes]]:
    """Whatever is damaged in an archive, or of a kind that can't be opened, is this archive's fault."""
    import lzma
    import zipfile
    import zlib

    try:
        with zipfile.ZipFile(path) as archive:
            yield from _entries(path, archive)
    except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, NotImplementedError, RuntimeError, EOFError, OSError) as e:
        raise AdvisoryError(f"{path} is no readable zip: {e}") from e


def _entries(path: Path, archive: ZipFile) -> Iterator[tuple[str, bytes]]:
    total = 0
    for entry in archive.infolist():
        parts = PurePosixPath(entry.filename).parts
        if entry.is_dir() or not (entry.filename.endswith(".json") or parts[-3:-2] == ("crates",)):
            continue
        name = f"{path}: {entry.filename}"
        with archive.open(entry) as file:
            content = _bounded(name, file.read(_LARGEST + 1))
        total += len(content)
        if total > _WHOLE:
            raise AdvisoryError(f"{path} holds more than {_WHOLE >> 30} GiB")
        yield name, content


def _read(name: str) -> bytes:
    """Never much more than an advisory may have; a buffer of that size for each would take longer than all else."""
    with open(name, "rb") as file:  # noqa: PTH123  (a Path for each takes longer than the reading)
        return file.read() if os.fstat(file.fileno()).st_size <= _LARGEST else file.read(_LARGEST + 1)


def _bounded(name: str, content: bytes) -> bytes:
    if len(content) > _LARGEST:
        raise AdvisoryError(f"{name} is larger than {_LARGEST >> 20} MiB: no advisory is")
    return content


def _of_rustsec(name: str, content: bytes) -> tuple[Advisory, ...]:
    """RustSec's own rule: a file is called like its advisory and lies in the folder of its package."""
    try:
        found = rustsec.parse(content.decode(), name)
    except UnicodeDecodeError as e:
        raise AdvisoryError(f"{name} is not UTF-8: {e}") from e
    if found is None:
        return ()
    if not name.endswith(f"/{found.package}/{found.id}.md"):
        raise AdvisoryError(f"{name} says it is {found.id} of {found.package}: name or folder are another's")
    return (found,)
