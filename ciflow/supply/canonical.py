"""The same value always becomes the same bytes."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Mapping
from typing import Any


def to_bytes(document: Mapping[str, Any]) -> bytes:
    """UTF-8 JSON for people: keys sorted, two blanks of indentation, a newline at the end."""
    return (json.dumps(document, sort_keys=True, indent=2, ensure_ascii=False) + "\n").encode()


def content_uuid(document: Mapping[str, Any]) -> uuid.UUID:
    """A version 5 UUID (RFC 9562) of the content, so that only another content gets another name."""
    text = json.dumps(document, sort_keys=True, separators=(",", ":"))
    digest = hashlib.sha256(text.encode()).hexdigest()
    return uuid.uuid5(uuid.NAMESPACE_URL, f"sha256:{digest}")
