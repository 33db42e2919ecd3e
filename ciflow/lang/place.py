"""A value and where it stands: the tree of places that a YAML document becomes.

A checker walks values and speaks in paths; `Place.at(*path).span` gives the position at the boundary.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from typing import Any

from ciflow.diagnostics import Span
from ciflow.model import Template

# (offset in the value, line, column): from this offset on the text runs on from there. Lines and columns from 1.
Marks = tuple[tuple[int, int, int], ...]


_NO_FIELDS: dict[Any, Any] = {}  # shared by all scalars, never written to
_NO_ITEMS: list[Any] = []
_NO_KEYS: dict[Any, Any] = {}


class Place:
    """One node: its plain value, its position, and the nodes below (`fields` of a mapping, `items` of a list).

    `text` is the source of a scalar whose reading is not its text: numbers, booleans, and what YAML 1.1 read
    otherwise; so `mode: 0644` can be understood as octal.
    """

    __slots__ = ("_at", "fields", "file", "items", "keys", "marks", "source", "style", "text", "value")

    def __init__(self, file: str, at: tuple[int, int, int, int], value: Any, text: str = "") -> None:
        self.file = file
        self._at = at
        self.value = value
        self.text = text
        self.fields: dict[Any, Place] = _NO_FIELDS
        self.items: list[Place] = _NO_ITEMS
        self.keys: dict[Any, tuple[int, int, int, int]] = _NO_KEYS
        self.marks: Marks = ()
        self.source: tuple[str, int] | None = None
        self.style = ""

    @property
    def span(self) -> Span:
        line, column, end_line, end_column = self._at
        return Span(self.file, line + 1, column + 1, end_line + 1, end_column + 1)

    def key_span(self, key: Any) -> Span:
        """Where the key `key` stands; the node itself where it has none."""
        at = self.keys.get(key)
        return self.span if at is None else Span(self.file, at[0] + 1, at[1] + 1, at[2] + 1, at[3] + 1)

    def at(self, *path: Any) -> Place:
        """The node at `path`, or the nearest one above it."""
        place = self
        for step in path:
            if isinstance(place.value, list) and isinstance(step, int) and step < len(place.items):
                place = place.items[step]
            elif step in place.fields:
                place = place.fields[step]
            else:
                break
        return place

    def expression(self) -> Any:
        """The value as a condition: text becomes an expression Template, anything else stays."""
        if isinstance(self.value, str):
            marks = self.marks or self._marks()
            return Template(self.value, self.span, expression=True, marks=marks)
        return self.value

    def template(self, text: str, offset: int) -> Any:
        """A piece of this scalar (from `offset`) as value: a Template where it holds one, else text."""
        if not has_template(text):
            return text
        return Template(text, self.span, marks=shift(self.marks or self._marks(), offset))

    def _marks(self) -> Marks:
        if self.source is None:
            return ((0, self._at[0] + 1, self._at[1] + 1),)
        text, index = self.source
        line, column, end_line, end_column = self._at
        return _marks(text, index, (line, column, end_line, end_column), self.style, str(self.value))


def has_template(text: str) -> bool:
    return "{{" in text or "{%" in text or "{#" in text


def marks_of(source: str, start: Any, end: Any, style: str | None, value: str) -> Marks:
    """The marks of a scalar node (PyYAML's start and end marks and style) whose value is `value`."""
    return _marks(source, start.index, (start.line, start.column, end.line, end.column), style or "", value)


def _marks(source: str, index: int, at: tuple[int, int, int, int], style: str, value: str) -> Marks:
    line, column, end_line, _ = at
    quote = 1 if style in ("'", '"') else 0
    if line == end_line and not style and source.startswith(value, index):
        return ((0, line + 1, column + 1),)
    if quote and line == end_line and source.startswith(value, index + 1):
        return ((0, line + 1, column + 2),)
    begin = source.find("\n", index) + 1 if style in ("|", ">") else index + quote
    return _aligned(source, begin, line + (style in ("|", ">")), value)


def _aligned(source: str, begin: int, line: int, value: str) -> Marks:
    """Follow the visible characters of `value` through `source` (indents, folds and escapes lie between)."""
    marks: list[tuple[int, int, int]] = []
    line_start = source.rfind("\n", 0, begin) + 1
    at, delta = begin, None
    for offset, character in enumerate(value):
        if character.isspace():
            continue
        found = source.find(character, at)
        if found < 0:
            break
        newlines = source.count("\n", at, found)
        if newlines:
            line += newlines
            line_start = source.rfind("\n", 0, found) + 1
        if delta != found - offset or newlines:
            delta = found - offset
            marks.append((offset, line + 1, found - line_start + 1))
        at = found + 1
    return tuple(marks) or ((0, line + 1, 1),)


def shift(marks: Marks, offset: int) -> Marks:
    """The marks of the text that begins at `offset` of the marked text."""
    line, column = position(marks, offset)
    return ((0, line, column), *((at - offset, ln, col) for at, ln, col in marks if at > offset))


def position(marks: Marks, offset: int) -> tuple[int, int]:
    """Line and column of the character at `offset`."""
    if not marks:
        return 0, 0
    index = max(bisect_right(marks, (offset, 1 << 60, 0)) - 1, 0)
    at, line, column = marks[index]
    return line, column + max(offset - at, 0)


def placed(value: Any, span: Span) -> Place:
    """A value without a tree of places as one, all of it at `span`."""
    place = Place(span.file, (span.line - 1, span.column - 1, span.line - 1, span.column), value)
    if isinstance(value, Mapping):
        place.fields = {key: placed(below, span) for key, below in value.items()}
    elif isinstance(value, list):
        place.items = [placed(below, span) for below in value]
    return place
