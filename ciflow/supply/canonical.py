"""The same value always becomes the same bytes."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Mapping
from json.encoder import encode_basestring as _quoted
from typing import Any


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


def content_uuid(document: Mapping[str, Any]) -> uuid.UUID:
    """A version 5 UUID (RFC 9562) of the content, so that only another content gets another name."""
    text = json.dumps(document, sort_keys=True, separators=(",", ":"))
    digest = hashlib.sha256(text.encode()).hexdigest()
    return uuid.uuid5(uuid.NAMESPACE_URL, f"sha256:{digest}")
