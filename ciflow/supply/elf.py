"""ELF files by their sections (System V ABI, gABI 4.1, "Object Files"): 32 and 64 bit, both byte orders.

A generator that asks for the ranges it needs, so that one piece serves files on hosts, in images and in memory
(`objectfile.py`).
"""

from __future__ import annotations

import struct
from collections.abc import Collection

from ciflow.dataclass import dataclass
from ciflow.supply.errors import DocumentError, FormatFault
from ciflow.supply.wanted import Asking, Entry, Wanted

MAGIC = b"\x7fELF"
NOT_THERE = (0, 8)  # SHT_NULL, and SHT_NOBITS: files of debug information name sections that only the program has
MOST_BYTES = 64 * 1024 * 1024
_HEAD = 64  # bytes of the longest header


@dataclass(frozen=True, slots=True)
class Row:
    """A section by its header; `link` is the number of another one that goes with it."""

    name: str
    kind: int
    address: int
    offset: int
    size: int
    link: int


@dataclass(frozen=True, slots=True)
class Table:
    """All sections in the file's order; the first is always empty. `order` is struct's word for the byte order."""

    wide: bool
    order: str
    rows: tuple[Row, ...]


def table(entry: Entry) -> Asking[Table]:
    """The sections of a file.

    Raises:
        FormatFault: no ELF file, or one whose tables lead out of it.
    """
    head = yield Wanted(entry.path, 0, _HEAD)
    if len(head) < 20 or not head.startswith(MAGIC) or head[4] not in (1, 2) or head[5] not in (1, 2):
        raise FormatFault("no ELF file")
    wide, order = head[4] == 2, "<" if head[5] == 1 else ">"
    if len(head) < (64 if wide else 52):
        raise FormatFault("it ends within its header")
    (at,) = struct.unpack_from(f"{order}Q" if wide else f"{order}I", head, 40 if wide else 32)
    size, count, names = struct.unpack_from(f"{order}HHH", head, 58 if wide else 46)
    if count == 0:
        return Table(wide, order, ())
    if size < (64 if wide else 40) or at + size * count > entry.size:
        raise FormatFault("the table of sections lies outside of the file")
    raw = yield Wanted(entry.path, at, size * count)
    if len(raw) < size * count:
        raise FormatFault("the table of sections is cut")
    form = f"{order}IIQQQQI" if wide else f"{order}IIIIIII"
    fields = [struct.unpack_from(form, raw, size * number) for number in range(count)]
    texts = b""
    if names < count:
        texts = yield from content(entry, Row("", fields[names][1], 0, fields[names][4], fields[names][5], 0))
    rows = [Row(text(texts, one[0]), one[1], one[3], one[4], one[5], one[6]) for one in fields]
    return Table(wide, order, tuple(rows))


def content(entry: Entry, row: Row, most: int = MOST_BYTES) -> Asking[bytes]:
    """What is in a section; nothing where it takes no room in the file.

    Raises:
        FormatFault: it leads out of the file, or is larger than `most` bytes.
    """
    if row.kind in NOT_THERE or row.size == 0:
        return b""
    if row.size > most or row.offset + row.size > entry.size:
        raise FormatFault(f"byte {row.offset}: a section lies outside of the file, or is too large")
    return (yield Wanted(entry.path, row.offset, row.size))


def sections(entry: Entry, names: Collection[str]) -> Asking[dict[str, bytes]]:
    """The contents of those sections that are there; none for what is no whole ELF file, which nothing could run.

    Raises:
        DocumentError: one of them leads out of the file, or is larger than any real one.
    """
    try:
        found = yield from table(entry)
    except FormatFault:
        return {}
    wanted = [row for row in found.rows if row.name in names and row.kind not in NOT_THERE]
    contents = {}
    for row in wanted:
        try:
            contents[row.name] = yield from content(entry, row)
        except FormatFault as e:
            raise DocumentError(f"{entry.path}: {e}") from e
    return contents


def text(texts: bytes, at: int) -> str:
    """A name of a table of texts, each ended by a zero."""
    end = texts.find(b"\0", at)
    return texts[at : end if end >= 0 else len(texts)].decode("utf-8", "replace")
