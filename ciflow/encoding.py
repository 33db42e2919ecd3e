"""The one encoding of operations and replies: on the wire, in a host's journal, and in the store's events.

Values become plain JSON: bytes and text alike are strings in UTF-8 with surrogateescape, so that any bytes survive;
tuples are lists; fields at their default are left out. `dumps` escapes all but ASCII, so that a lone surrogate is
legal text everywhere (PostgreSQL: column type `json`; `jsonb` refuses surrogates and NUL).
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from typing import Any

from ciflow.model import OPERATIONS, Operation, Reply, Watch

DEEPEST = 200  # levels of lists and mappings in foreign JSON
_TOO_DEEP = f"it is nested more than {DEEPEST} levels deep"
_SCALARS = frozenset({str, int, float, bool, type(None)})
_NAMES = {kind: name for name, kind in OPERATIONS.items()}


def encode_operation(operation: Operation) -> dict[str, Any]:
    """`{"op": "exec", "argv": [..], ..}`: what the agent is sent."""
    return {"op": _NAMES[type(operation)], **_encode_fields(operation)}


def decode_operation(encoded: Mapping[str, Any]) -> Operation:
    """The inverse of `encode_operation`. An unknown name or field raises KeyError."""
    operation: Operation = _decode_fields(OPERATIONS[encoded["op"]], encoded)
    return operation


def encode_reply(reply: Reply) -> dict[str, Any]:
    return _encode_fields(reply)


def decode_reply(encoded: Mapping[str, Any]) -> Reply:
    """The inverse of `encode_reply`. A host wrote it: a name that is none raises KeyError, a value that is not of its
    field's type TypeError."""
    for name, value in encoded.items():
        if not isinstance(value, _REPLY_TYPES[name]):
            raise TypeError(f"`{name}` of a reply is {type(value).__name__}")
        if name in _TIMES and not 0 <= float(encoded[name]) < _END_OF_TIME:
            raise ValueError(f"`{name}` of a reply is {value}")
        if name == "peak_kb" and not 0 <= int(encoded[name]) < _MOST_MEMORY:
            raise ValueError("`peak_kb` of a reply is more than any machine has")
    reply: Reply = _decode_fields(Reply, encoded)
    return reply


def loads(text: str | bytes | bytearray) -> Any:
    """JSON that somebody else has written. Raises ValueError for what is none, and for what is nested so deep that
    whoever walks through it, one call for each level, would come to the end of Python's stack."""
    try:
        value = json.loads(text)
    except RecursionError as error:
        raise ValueError(_TOO_DEEP) from error
    if len(text) > DEEPEST:
        check_depth(value)
    return value


def check_depth(value: Any) -> None:
    """Raises ValueError where lists and mappings are nested too deep."""
    level, depth = [value], 0
    while level := [one for one in level if isinstance(one, dict | list)]:
        depth += 1
        if depth > DEEPEST:
            raise ValueError(_TOO_DEEP)
        level = [below for one in level for below in (one.values() if isinstance(one, dict) else one)]


def dumps(value: Any) -> str:
    """Compact JSON in ASCII."""
    return json.dumps(value, separators=(",", ":"))


def _encode_fields(value: Any) -> dict[str, Any]:
    encoded = {}
    for name, default in _DEFAULTS[type(value)]:
        content = getattr(value, name)
        if content != default:
            encoded[name] = _plain(content)
    return encoded


def _plain(value: Any) -> Any:
    if value.__class__ in _SCALARS:
        return value
    if isinstance(value, bytes):
        return value.decode("utf-8", "surrogateescape")
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if type(value) in _NAMES:
        return encode_operation(value)
    if isinstance(value, Watch):
        return _encode_fields(value)
    return value


def _decode_fields(kind: type[Any], encoded: Mapping[str, Any]) -> Any:
    decoders = _FIELD_DECODERS[kind]
    return kind(**{name: decoders[name](content) for name, content in encoded.items() if name != "op"})


def _default(field: dataclasses.Field[Any]) -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default


def _same(value: Any) -> Any:
    return value


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _operations(encoded: list[Mapping[str, Any]]) -> tuple[Operation, ...]:
    return tuple(decode_operation(item) for item in encoded)


def _watches(encoded: list[Mapping[str, Any]]) -> tuple[Watch, ...]:
    return tuple(_decode_fields(Watch, item) for item in encoded)


# By the annotation of a field in ciflow/model.py.
_BY_ANNOTATION: dict[str, Callable[[Any], Any]] = {
    "bytes": _bytes,
    "tuple[str, ...]": tuple,
    "tuple[Operation, ...]": _operations,
    "tuple[Watch, ...]": _watches,
    "Talk | Http | Exec": decode_operation,
}

_END_OF_TIME = 253_402_300_800  # the year 10000, in Unix seconds, which no calendar of Python's has
_TIMES = ("started", "duration", "cpu")  # in seconds
_MOST_MEMORY = 1 << 54  # kB: all that 64 bits can address
# How the fields of a reply stand in JSON.
_REPLY_TYPES: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(("status", "stdout", "stderr", "error", "errno"), (str,)),
    **dict.fromkeys(("ok", "changed", "truncated"), (bool,)),
    **dict.fromkeys(("spilled", "data"), (dict,)),
    **dict.fromkeys(_TIMES, (int, float)),
    **dict.fromkeys(("signal", "peak_kb", "sent", "received"), (int,)),
    "rc": (int, type(None)),
}
_KINDS: tuple[type[Any], ...] = (*OPERATIONS.values(), Reply, Watch)
_DEFAULTS = {kind: tuple((f.name, _default(f)) for f in dataclasses.fields(kind)) for kind in _KINDS}
_FIELD_DECODERS = {
    kind: {f.name: _BY_ANNOTATION.get(str(f.type), _same) for f in dataclasses.fields(kind)} for kind in _KINDS
}
