"""Sections of a program by name: ELF (System V ABI, "Object Files"), 32 and 64 bit, both byte orders."""

from __future__ import annotations

import struct
from collections.abc import Collection

from ciflow.supply.errors import DocumentError
from ciflow.supply.wanted import Asking, Entry, Wanted

MAGIC = b"\x7fELF"
NOT_THERE = 8  # SHT_NOBITS: files of debug information name sections that only the program has
MOST_SECTIONS = 4096
MOST_BYTES = 64 * 1024 * 1024


def sections(entry: Entry, names: Collection[str]) -> Asking[dict[str, bytes]]:
    """The contents of those sections that are there; none for what is no whole ELF file.

    Raises:
        DocumentError: a section leads out of the file, or is larger than any real one.
    """
    head = yield Wanted(entry.path, 0, 64)
    if head[:4] != MAGIC or len(head) < 64:
        return {}
    wide, order = head[4] == 2, ">" if head[5] == 2 else "<"
    (at,) = struct.unpack_from(order + ("Q" if wide else "I"), head, 40 if wide else 32)
    size, count, names_at = struct.unpack_from(order + "HHH", head, 58 if wide else 46)
    if at == 0 or count == 0:
        return {}
    if count > MOST_SECTIONS or size < (64 if wide else 40) or at + size * count > entry.size:
        return {}  # cut, or made up: nothing that could be run
    table = yield Wanted(entry.path, at, size * count)
    rows = [_row(table, number * size, wide, order) for number in range(count)]
    if names_at >= len(rows):
        return {}
    texts = yield from _content(entry, rows[names_at][2:])
    found = {}
    for name_at, kind, offset, length in rows:
        name = texts[name_at : texts.find(b"\0", name_at)].decode("ascii", "replace") if name_at < len(texts) else ""
        if name in names and kind != NOT_THERE:
            found[name] = yield from _content(entry, (offset, length))
    return found


def _row(table: bytes, at: int, wide: bool, order: str) -> tuple[int, int, int, int]:
    """(where its name is, type, offset, size) of a section header."""
    name, kind = struct.unpack_from(order + "II", table, at)
    offset, length = struct.unpack_from(order + ("QQ" if wide else "II"), table, at + (24 if wide else 16))
    return name, kind, offset, length


def _content(entry: Entry, place: tuple[int, int]) -> Asking[bytes]:
    offset, length = place
    if length > MOST_BYTES or offset + length > entry.size:
        raise DocumentError(f"{entry.path}: byte {offset}: a section leads out of the file, or is too large")
    return (yield Wanted(entry.path, offset, length))
