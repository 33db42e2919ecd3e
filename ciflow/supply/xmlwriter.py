"""XML 1.0 as text: indented for people, escaped, and always the same for the same values."""

from __future__ import annotations

import re
from collections.abc import Mapping
from xml.sax.saxutils import escape

_ILLEGAL = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class XmlWriter:
    """Elements one after the other; the caller closes what it opens."""

    def __init__(self) -> None:
        self._lines = ['<?xml version="1.0" encoding="UTF-8"?>']
        self._open: list[str] = []

    def start(self, name: str, attributes: Mapping[str, str] | None = None) -> None:
        self._line(f"<{name}{_attributes(attributes)}>")
        self._open.append(name)

    def end(self) -> None:
        name = self._open.pop()
        self._line(f"</{name}>")

    def leaf(self, name: str, text: str | None = None, attributes: Mapping[str, str] | None = None) -> None:
        if text is None:
            self._line(f"<{name}{_attributes(attributes)}/>")
        else:
            self._line(f"<{name}{_attributes(attributes)}>{escape(_legal(text))}</{name}>")

    def content(self) -> bytes:
        return ("\n".join(self._lines) + "\n").encode()

    def _line(self, text: str) -> None:
        self._lines.append("  " * len(self._open) + text)


def _attributes(attributes: Mapping[str, str] | None) -> str:
    def value(text: str) -> str:
        return escape(_legal(text), {'"': "&quot;", "\n": "&#10;", "\t": "&#9;"})

    return "".join(f' {name}="{value(text)}"' for name, text in (attributes or {}).items())


def _legal(text: str) -> str:
    """XML has no way to write most control characters."""
    return _ILLEGAL.sub("\ufffd", text)
