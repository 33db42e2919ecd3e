"""RPM packages that are installed: `rpmdb.sqlite`, whose rows are headers (rpm's docs, "Package format", "Header").

The older databases (Berkeley DB, ndb) are refused: a list that silently lacks all packages would be worse than none.
"""

from __future__ import annotations

import re
import sqlite3
import struct
from collections.abc import Mapping, Sequence
from contextlib import closing

from ciflow.supply.distribution import Installed, distro, linked, website
from ciflow.supply.errors import DocumentError, UnsupportedError
from ciflow.supply.licenses import normalise
from ciflow.supply.model import Component, Kind, Party, Relation
from ciflow.supply.purls import purl

FILES = re.compile(r"(?:.*/)?(?:var/lib/rpm|usr/lib/sysimage/rpm|usr/share/rpm)/rpmdb\.sqlite\Z")
OLD = re.compile(r"(?:.*/)?(?:var/lib/rpm|usr/lib/sysimage/rpm|usr/share/rpm)/Packages(?:\.db)?\Z")
MOST_BYTES = 512 * 1024 * 1024
MOST_HEADER = 64 * 1024 * 1024
MOST_STEPS = 2_000  # of ten thousand instructions each: a database made to keep SQLite busy is cut off
# Tags of rpmtag.h
_NAME, _VERSION, _RELEASE, _EPOCH, _SUMMARY, _VENDOR, _LICENCE = 1000, 1001, 1002, 1003, 1004, 1011, 1014
_URL, _ARCH, _SOURCE, _PROVIDES, _REQUIRES, _SHA256 = 1020, 1022, 1044, 1047, 1049, 273
_INT32, _STRING, _STRINGS, _TRANSLATED = 4, 6, 8, 9
Header = Mapping[int, Sequence[str] | Sequence[int]]


def packages(path: str, content: bytes, release: Mapping[str, str]) -> tuple[list[Component], list[Relation]]:
    """Installed packages and who needs whom.

    Raises:
        DocumentError: damaged, or made to hurt.
        UnsupportedError: of an older form; it says what to do.
    """
    found = [_header(path, number, blob) for number, blob in _rows(path, content)]
    return linked([_installed(one, release) for one in found if _text(one, _NAME) not in ("", "gpg-pubkey")])


def _rows(path: str, content: bytes) -> list[tuple[int, bytes]]:
    """Only the table itself is read: a view of its name could run for ever."""
    if OLD.match(path):
        what = "`rpmdb --rebuilddb` with the backend sqlite makes the new one of it"
        raise UnsupportedError(f"{path}: a database of RPM in its old form, which is not read; {what}")
    if content[:16] != b"SQLite format 3\0":
        raise DocumentError(f"{path}: byte 1: no SQLite database")
    plain = content[:18] + b"\1\1" + content[20:]  # a log of writes can't lie beside a database in memory
    steps = iter(range(MOST_STEPS))
    try:
        with closing(sqlite3.connect(":memory:")) as database:
            database.deserialize(plain)
            database.set_progress_handler(lambda: next(steps, None) is None, 10_000)
            database.execute("PRAGMA trusted_schema = OFF")
            kind = database.execute("SELECT type FROM sqlite_master WHERE name = 'Packages'").fetchall()
            if kind != [("table",)]:
                raise DocumentError(f"{path}: there is no table of packages in it")
            rows = database.execute("SELECT hnum, blob FROM Packages ORDER BY hnum").fetchall()
    except (sqlite3.Error, OverflowError, UnicodeDecodeError) as e:
        raise DocumentError(f"{path}: {e}") from e
    if not all(isinstance(number, int) and isinstance(blob, bytes) for number, blob in rows):
        raise DocumentError(f"{path}: the table of packages holds something else")
    return rows


def _header(path: str, number: int, blob: bytes) -> Header:
    """Two counts, an index of (tag, type, offset, count), and the store that it leads into; big endian."""
    place = f"{path}: package {number}"
    if not 8 <= len(blob) <= MOST_HEADER:
        raise DocumentError(f"{place}: a header of {len(blob)} bytes")
    count, size = struct.unpack_from(">II", blob)
    if 8 + 16 * count + size != len(blob):
        raise DocumentError(f"{place}: its index and store don't fill its {len(blob)} bytes")
    store = blob[8 + 16 * count :]
    found: dict[int, Sequence[str] | Sequence[int]] = {}
    for at in range(8, 8 + 16 * count, 16):
        tag, kind, offset, items = struct.unpack_from(">IIII", blob, at)
        if tag not in _WANTED:
            continue
        if offset > size or items > size:
            raise DocumentError(f"{place}: the tag {tag} leads out of it")
        if kind in (_STRING, _STRINGS, _TRANSLATED):
            texts = store[offset:].split(b"\0", items)[: items if kind != _STRING else 1]
            found[tag] = [text.decode("utf-8", "replace") for text in texts]
        elif kind == _INT32 and offset + 4 * items <= size:
            found[tag] = struct.unpack_from(f">{items}I", store, offset)
    return found


_WANTED = frozenset((_NAME, _VERSION, _RELEASE, _EPOCH, _SUMMARY, _VENDOR, _LICENCE, _URL, _ARCH, _SOURCE, _PROVIDES,
                     _REQUIRES, _SHA256))  # fmt: skip


def _text(header: Header, tag: int) -> str:
    values = header.get(tag) or ("",)
    return str(values[0])


def _installed(header: Header, release: Mapping[str, str]) -> Installed:
    """What rpm itself provides (`rpmlib(..)`) and files that are needed by path are met by no name."""
    needs = tuple((str(name),) for name in header.get(_REQUIRES, ()))
    return Installed(_component(header, release), needs, tuple(str(name) for name in header.get(_PROVIDES, ())))


def _component(header: Header, release: Mapping[str, str]) -> Component:
    """The epoch is a qualifier of the package URL (purl-spec, type rpm)."""
    name, epoch, vendor = _text(header, _NAME), _text(header, _EPOCH), release.get("ID", "rpm")
    number = "-".join(filter(None, (_text(header, _VERSION), _text(header, _RELEASE))))
    qualifiers = [("arch", _text(header, _ARCH)), ("distro", distro(release, vendor)), ("epoch", epoch)]
    ref = purl("rpm", name, number, qualifiers, vendor)
    licence, digest, source = _text(header, _LICENCE), _text(header, _SHA256), _text(header, _SOURCE)
    return Component(
        ref=ref,
        kind=Kind.LIBRARY,
        name=name,
        version=f"{epoch}:{number}" if epoch and epoch != "0" else number,
        purl=ref,
        licence=(normalise(licence) or licence) if licence else None,
        description=_text(header, _SUMMARY) or None,
        supplier=Party(_text(header, _VENDOR) or vendor),
        references=website(_text(header, _URL)),
        properties=tuple(pair for pair in (("rpm:header-sha256", digest), ("rpm:source", source)) if pair[1]),
    )
