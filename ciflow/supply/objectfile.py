"""ELF files by their sections and symbols (System V ABI, gABI 4.1; little and big endian, 32 and 64 bits)."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from ciflow.dataclass import dataclass
from ciflow.supply.errors import FormatFault

MAGIC = b"\x7fELF"
_NOBITS = 8
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
    try:
        return _parse(data)
    except (struct.error, IndexError, OverflowError, MemoryError) as e:
        raise FormatFault(f"no whole ELF file: {e}") from e


def _parse(data: bytes) -> Elf:
    if len(data) < 20 or not data.startswith(MAGIC) or data[4] not in (1, 2) or data[5] not in (1, 2):
        raise FormatFault("no ELF file")
    wide, order = data[4] == 2, "<" if data[5] == 1 else ">"
    table, entry, count, names = _header(data, wide, order)
    if entry < (64 if wide else 40) or table + entry * count > len(data):
        raise FormatFault("the table of sections lies outside of the file")
    raw = [_section(data, table + entry * number, wide, order) for number in range(count)]
    texts = _content(data, raw[names]) if names < count else b""
    seen: dict[str, int] = {}
    sections: list[Section] = []
    symbols: list[Symbol] = []
    for one in raw[1:]:
        name = _text(texts, one[0])
        seen[name] = seen.get(name, 0) + 1
        content = _content(data, one)
        sections.append(Section(name if seen[name] == 1 else f"{name}#{seen[name]}", one[2], content))
        if one[1] == _SYMTAB and one[5] < count:
            symbols += _symbols(content, _content(data, raw[one[5]]), wide, order)
    return Elf(tuple(sections), tuple(symbols))


def _header(data: bytes, wide: bool, order: str) -> tuple[int, int, int, int]:
    """(where the table of sections is, size of an entry, number of entries, which one has the names)."""
    (table,) = struct.unpack_from(f"{order}Q" if wide else f"{order}I", data, 40 if wide else 32)
    entry, count, names = struct.unpack_from(f"{order}HHH", data, 58 if wide else 46)
    return table, entry, count, names


def _section(data: bytes, at: int, wide: bool, order: str) -> tuple[int, int, int, int, int, int]:
    """(name, type, address, offset, size, link)."""
    form = f"{order}IIQQQQI" if wide else f"{order}IIIIIII"
    name, kind, _flags, address, offset, size, link = struct.unpack_from(form, data, at)
    return name, kind, address, offset, size, link


def _content(data: bytes, section: tuple[int, int, int, int, int, int]) -> bytes:
    _, kind, _, offset, size, _ = section
    if kind in (0, _NOBITS):
        return b""
    if offset + size > len(data):
        raise FormatFault("a section lies outside of the file")
    return data[offset : offset + size]


def _symbols(content: bytes, texts: bytes, wide: bool, order: str) -> Iterator[Symbol]:
    size = 24 if wide else 16
    for at in range(size, len(content) - size + 1, size):
        if wide:
            name, _info, _other, _where, address, length = struct.unpack_from(f"{order}IBBHQQ", content, at)
        else:
            name, address, length = struct.unpack_from(f"{order}III", content, at)
        text = _text(texts, name)
        if text:
            yield Symbol(text, address, length)


def _text(texts: bytes, at: int) -> str:
    end = texts.find(b"\0", at)
    return texts[at : end if end >= 0 else len(texts)].decode("utf-8", "replace")
