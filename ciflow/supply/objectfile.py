"""An ELF file in memory: its sections, and the symbols in them."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from ciflow.dataclass import dataclass
from ciflow.supply.elf import MAGIC, Table, content, table, text
from ciflow.supply.wanted import Asking, Entry, driven

__all__ = ["MAGIC", "Elf", "Section", "Symbol", "parse_elf"]
_SYMTAB = 2


@dataclass(frozen=True, slots=True)
class Section:
    """`name` is its own in the file: a second one has #2 behind it. `data` is empty where it takes no room."""

    name: str
    address: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Symbol:
    name: str
    address: int
    size: int


@dataclass(frozen=True, slots=True)
class Elf:
    """In the file's order, both."""

    sections: tuple[Section, ...]
    symbols: tuple[Symbol, ...]


def parse_elf(data: bytes) -> Elf:
    """Sections and symbols of an ELF file.

    Raises:
        FormatFault: cut off, or with tables that point outside of it.
    """
    return driven(_parsed(Entry("", len(data))), lambda wanted: data[wanted.offset : wanted.offset + wanted.length])


def _parsed(entry: Entry) -> Asking[Elf]:
    found = yield from table(entry)
    seen: dict[str, int] = {}
    sections: list[Section] = []
    symbols: list[Symbol] = []
    for row in found.rows[1:]:
        seen[row.name] = seen.get(row.name, 0) + 1
        data = yield from content(entry, row, entry.size)
        sections.append(Section(row.name if seen[row.name] == 1 else f"{row.name}#{seen[row.name]}", row.address, data))
        if row.kind == _SYMTAB and row.link < len(found.rows):
            texts = yield from content(entry, found.rows[row.link], entry.size)
            symbols += _symbols(data, texts, found)
    return Elf(tuple(sections), tuple(symbols))


def _symbols(data: bytes, texts: bytes, of: Table) -> Iterator[Symbol]:
    size = 24 if of.wide else 16
    for at in range(size, len(data) - size + 1, size):
        if of.wide:
            name, _info, _other, _where, address, length = struct.unpack_from(f"{of.order}IBBHQQ", data, at)
        else:
            name, address, length = struct.unpack_from(f"{of.order}III", data, at)
        called = text(texts, name)
        if called:
            yield Symbol(called, address, length)
