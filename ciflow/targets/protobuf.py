"""The wire format of Protocol Buffers, as far as a client of one API needs it: no generated code, no library.

https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeAlias

from ciflow.diagnostics import TargetError

Value: TypeAlias = int | bool | str | bytes
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_MOST = 10  # bytes of a number of 64 bits


def message(*fields: tuple[int, Value | Sequence[Value]]) -> bytes:
    """Fields by their number, which must rise; a sequence is a repeated field. What has its default is left out, as
    the canonical form has it: digests of messages depend on it."""
    return b"".join(_field(number, value) for number, value in fields)


def _field(number: int, value: Value | Sequence[Value]) -> bytes:
    if isinstance(value, list | tuple):
        return b"".join(_one(number, item) for item in value)
    assert isinstance(value, int | str | bytes)
    return _one(number, value) if value else b""


def _one(number: int, value: Value) -> bytes:
    if isinstance(value, int):
        return _number(number << 3 | _VARINT) + _number(value)
    content = value.encode() if isinstance(value, str) else value
    return _number(number << 3 | _BYTES) + _number(len(content)) + content


def _number(value: int) -> bytes:
    value &= 2**64 - 1
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    found.append(value)
    return bytes(found)


class Fields:
    """A message that was received. TargetError where it is none."""

    def __init__(self, content: bytes) -> None:
        self._found: dict[int, list[int | bytes]] = {}
        for number, value in _read(content):
            self._found.setdefault(number, []).append(value)

    def number(self, field: int) -> int:
        """A number of 32 or 64 bits, with its sign."""
        value = self._found.get(field, [0])[-1]
        assert isinstance(value, int)
        return value - 2**64 if value >= 2**63 else value

    def content(self, field: int) -> bytes:
        return next(reversed(self.contents(field)), b"")

    def text(self, field: int) -> str:
        return self.content(field).decode("utf-8", "replace")

    def below(self, field: int) -> Fields:
        return Fields(self.content(field))

    def each(self, field: int) -> list[Fields]:
        return [Fields(one) for one in self.contents(field)]

    def contents(self, field: int) -> list[bytes]:
        return [one for one in self._found.get(field, ()) if isinstance(one, bytes)]


def _read(content: bytes) -> Iterator[tuple[int, int | bytes]]:
    at = 0
    while at < len(content):
        key, at = _varint(content, at)
        kind, number = key & 7, key >> 3
        if kind == _VARINT:
            value, at = _varint(content, at)
            yield number, value
            continue
        size, at = _varint(content, at) if kind == _BYTES else ({_FIXED64: 8, _FIXED32: 4}.get(kind, -1), at)
        if size < 0 or at + size > len(content):
            raise TargetError("an answer is no message of Protocol Buffers")
        if kind == _BYTES:
            yield number, content[at : at + size]
        at += size


def _varint(content: bytes, at: int) -> tuple[int, int]:
    value = 0
    for place, byte in enumerate(content[at : at + _MOST]):
        value |= (byte & 0x7F) << 7 * place
        if byte < 0x80:
            return value & 2**64 - 1, at + place + 1
    raise TargetError("an answer is no message of Protocol Buffers")
