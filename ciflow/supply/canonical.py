"""The same value always becomes the same bytes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from json.encoder import encode_basestring as _quoted
from typing import Any

_NAMESPACE_URL = bytes.fromhex("6ba7b8119dad11d180b400c04fd430c8")


def to_bytes(document: Mapping[str, Any]) -> bytes:
    """UTF-8 JSON for people: keys sorted, two blanks of indentation, a newline at the end.

    The bytes are those of `json.dumps(sort_keys=True, indent=2, ensure_ascii=False)`, which has no quick way.
    """
    return _joined(_texts(document))


def named(document: Mapping[str, Any], key: str, prefix: str) -> bytes:
    """A document that also says its own name: the prefix and `content_uuid`. Made here, it is written only once."""
    texts = _texts(document)
    return _joined({**texts, key: _quoted(prefix + _uuid(_joined(texts)))})


def content_uuid(document: Mapping[str, Any]) -> str:
    """A version 5 UUID (RFC 9562) of the content, so that only another content gets another name."""
    return _uuid(to_bytes(document))


def _uuid(content: bytes) -> str:
    """By hand, for the library that makes them takes longer to load than the rest of a document to write."""
    name = f"sha256:{hashlib.sha256(content).hexdigest()}"
    digest = bytearray(hashlib.sha1(_NAMESPACE_URL + name.encode(), usedforsecurity=False).digest()[:16])
    digest[6] = digest[6] & 0x0F | 0x50
    digest[8] = digest[8] & 0x3F | 0x80
    words = digest.hex()
    return "-".join((words[:8], words[8:12], words[12:16], words[16:20], words[20:]))


def _texts(document: Mapping[str, Any]) -> dict[str, str]:
    return {key: _text(value, "  ") for key, value in document.items()}


def _joined(texts: Mapping[str, str]) -> bytes:
    lines = ",\n".join([f"  {_quoted(key)}: {texts[key]}" for key in sorted(texts)])
    return f"{{\n{lines}\n}}\n".encode()


def _text(value: Any, indent: str) -> str:
    """Most values are texts, which are quoted where they stand: a call of its own for each takes as long again."""
    kind = value.__class__
    if not value or kind not in (dict, list):
        return _quoted(value) if kind is str else json.dumps(value)
    below = indent + "  "
    between = f",\n{below}"
    if kind is list:
        texts = [_quoted(one) if one.__class__ is str else _text(one, below) for one in value]
        return f"[{between[1:]}{between.join(texts)}\n{indent}]"
    pairs = [
        f"{_quoted(key)}: {_quoted(one) if one.__class__ is str else _text(one, below)}"
        for key, one in sorted(value.items())
    ]
    return f"{{{between[1:]}{between.join(pairs)}\n{indent}}}"
