"""CycloneDX trees as protocol buffers (https://protobuf.dev/programming-guides/encoding/), no generated classes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from ciflow.supply.bounded import MOST_DEPTH, sized
from ciflow.supply.cyclonedx_fields import MESSAGES, NUMBER, REF, TEXT, TIME, Field, Words
from ciflow.supply.cyclonedx_read import moment
from ciflow.supply.errors import DocumentError

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


def encode(tree: Mapping[str, Any]) -> bytes:
    """The message `Bom` of a tree, fields in the order of their numbers."""
    return _message("bom", tree)


def _message(message: str, values: Mapping[str, Any]) -> bytes:
    out = bytearray()
    for field in sorted(MESSAGES[message], key=lambda f: f.number):
        if field.key in values and field.number:
            for value in values[field.key] if field.many else (values[field.key],):
                out += _field(field, value)
    return bytes(out)


def _field(field: Field, value: Any) -> bytes:
    if isinstance(field.type, Words):
        return _key(field.number, _VARINT) + _varint(_number_of(field.type, value))
    if field.type == NUMBER:
        return _key(field.number, _VARINT) + _varint(value)
    content = _content(field.type, value)
    return _key(field.number, _BYTES) + _varint(len(content)) + content


def _content(kind: str, value: Any) -> bytes:
    if kind == TEXT:
        return str(value).encode()
    if kind == TIME:
        return _key(1, _VARINT) + _varint(moment(value, "/metadata/timestamp") or 0)
    return _message("dependency", {"ref": value}) if kind == REF else _message(kind, value)


def _number_of(kind: Words, word: str) -> int:
    if word not in kind.words:
        raise DocumentError(f"protocol buffers have no number for {word!r}")
    return kind.words.index(word)


def _key(number: int, wire: int) -> bytes:
    return _varint(number << 3 | wire)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def decode(content: bytes) -> dict[str, Any]:
    """The tree of a message. Fields that are not in the table are told by number.

    Raises:
        DocumentError: with the byte at which it breaks.
    """
    return _read(memoryview(sized(content)), 0, "bom", 0)


def _read(view: memoryview, start: int, message: str, depth: int) -> dict[str, Any]:
    """`start` is where `view` lies in the whole, for the places of errors."""
    if depth > MOST_DEPTH:
        raise DocumentError(f"byte {start}: it is nested deeper than {MOST_DEPTH} levels")
    known = {field.number: field for field in MESSAGES[message] if field.number}
    values: dict[str, Any] = {"type": "other"} if message == "link" else {}
    for number, at, value in _fields(view, start):
        field = known.get(number)
        if field is None:
            values[f"field {number}"] = None
            continue
        found = _value(field, value, at, depth)
        if field.many:
            values.setdefault(field.key, []).append(found)
        else:
            values[field.key] = found
    return values


def _fields(view: memoryview, start: int) -> Iterator[tuple[int, int, int | memoryview]]:
    """(number, byte, value) of each field."""
    at = 0
    while at < len(view):
        key, at = _take_varint(view, at, start)
        wire, number = key & 7, key >> 3
        if number == 0:
            raise DocumentError(f"byte {start + at}: a field has the number 0")
        if wire == _VARINT:
            value, at = _take_varint(view, at, start)
            yield number, start + at, value
            continue
        length = {_FIXED64: 8, _FIXED32: 4}.get(wire)
        if wire == _BYTES:
            length, at = _take_varint(view, at, start)
        if length is None:
            raise DocumentError(f"byte {start + at}: {wire} is no wire type")
        if length > len(view) - at:
            raise DocumentError(f"byte {start + at}: {length} bytes are said to follow, and {len(view) - at} do")
        yield number, start + at, view[at : at + length]
        at += length


def _take_varint(view: memoryview, at: int, start: int) -> tuple[int, int]:
    value = 0
    for index in range(10):
        if at + index >= len(view):
            raise DocumentError(f"byte {start + at}: it ends in the middle of a number")
        byte = view[at + index]
        value |= (byte & 0x7F) << 7 * index
        if byte < 0x80:
            return value, at + index + 1
    raise DocumentError(f"byte {start + at}: a number is longer than 10 bytes")


def _value(field: Field, value: int | memoryview, at: int, depth: int) -> Any:
    if isinstance(field.type, Words) or field.type == NUMBER:
        if not isinstance(value, int):
            raise DocumentError(f"byte {at}: {field.key} is a number")
        return _word(field.type, value, at) if isinstance(field.type, Words) else value
    if isinstance(value, int):
        raise DocumentError(f"byte {at}: {field.key} is no number")
    if field.type == TEXT:
        try:
            return bytes(value).decode()
        except UnicodeDecodeError as e:
            raise DocumentError(f"byte {at + e.start}: {field.key} is not UTF-8") from e
    if field.type == TIME:
        return _time(value, at)
    inner = _read(value, at, "dependency" if field.type == REF else field.type, depth + 1)
    return inner.get("ref", "") if field.type == REF else inner


def _word(kind: Words, value: int, at: int) -> str:
    if value >= len(kind.words):
        raise DocumentError(f"byte {at}: {value} is no known word")
    return kind.words[value]


def _time(view: memoryview, at: int) -> str:
    seconds = next((value for number, _, value in _fields(view, at) if number == 1), 0)
    if not isinstance(seconds, int) or seconds >= 1 << 37:
        raise DocumentError(f"byte {at}: no time after 1970")
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
