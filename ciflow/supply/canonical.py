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
    return (_text(document, "") + "\n").encode()


def _text(value: Any, indent: str) -> str:
    if isinstance(value, str):
        return _quoted(value)
    if not value or not isinstance(value, (dict, list)):
        return json.dumps(value)
    below = indent + "  "
    if isinstance(value, dict):
        lines = [f"{below}{_quoted(key)}: {_text(value[key], below)}" for key in sorted(value)]
        return "{\n" + ",\n".join(lines) + f"\n{indent}}}"
    return "[\n" + ",\n".join([below + _text(one, below) for one in value]) + f"\n{indent}]"


def content_uuid(document: Mapping[str, Any]) -> str:
    """A version 5 UUID (RFC 9562) of the content, so that only another content gets another name.

    Made by hand, for the library that makes them takes longer to load than the rest of a document to write.
    """
    text = json.dumps(document, sort_keys=True, separators=(",", ":"))
    name = f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"
    digest = bytearray(hashlib.sha1(_NAMESPACE_URL + name.encode(), usedforsecurity=False).digest()[:16])
    digest[6] = digest[6] & 0x0F | 0x50
    digest[8] = digest[8] & 0x3F | 0x80
    words = digest.hex()
    return "-".join((words[:8], words[8:12], words[12:16], words[16:20], words[20:]))
