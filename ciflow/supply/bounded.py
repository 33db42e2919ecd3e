"""Documents from elsewhere as plain values: refused, with their place, when they would cost more than they may.

JSON (RFC 8259) and XML 1.0. A document type is refused whole, so there are no entities to expand; depth and size have
ends; a name that stands twice in one object is refused, for readers differ in which one counts.
"""

from __future__ import annotations

import json
import re
from typing import Any
from xml.parsers import expat

from ciflow.dataclass import dataclass, field
from ciflow.supply.errors import DocumentError

MOST_BYTES = 256 * 1024 * 1024
MOST_DIGITS = 4300  # Python's own limit (sys.int_info.default_max_str_digits)
MOST_DEPTH = 100


def sized(content: bytes) -> bytes:
    """The content itself.

    Raises:
        DocumentError: it is larger than any real bill of materials.
    """
    if len(content) > MOST_BYTES:
        raise DocumentError(f"{len(content)} bytes; more than {MOST_BYTES} are not read")
    return content


def text_of(content: bytes) -> str:
    """UTF-8, with or without a byte order mark."""
    try:
        return sized(content).decode("utf-8-sig")
    except UnicodeDecodeError as e:
        raise DocumentError(f"byte {e.start + 1} is not UTF-8: {e.reason}") from e


def read_json(content: bytes) -> Any:
    """Plain values.

    Raises:
        DocumentError: where it breaks, goes too deep, or says a name twice.
    """
    text = text_of(content)
    try:
        return json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant)
    except json.JSONDecodeError as e:
        raise DocumentError(f"line {e.lineno}, column {e.colno}: {e.msg}") from e
    except DocumentError:
        raise
    except ValueError as e:
        raise DocumentError(f"line {_longest(text)}: a number of more than {MOST_DIGITS} digits") from e
    except RecursionError as e:
        raise DocumentError(f"line {_deepest(text)}: it is nested deeper than {MOST_DEPTH} levels") from e


def _longest(text: str) -> int:
    """The line of the first number that Python makes none of: it would take time by the square of its length."""
    found = re.search(rf"\d{{{MOST_DIGITS + 1}}}", text)
    return text.count("\n", 0, found.start() if found else 0) + 1


def _deepest(text: str) -> int:
    """The line where the document goes too deep; brackets inside strings don't count."""
    depth = 0
    for found in re.finditer(r'"(?:[^"\\]|\\.)*"?|[\[\]{}]', text, re.DOTALL):
        depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(found[0], 0)
        if depth > MOST_DEPTH:
            return text.count("\n", 0, found.start()) + 1
    return 1


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise DocumentError(f"{twice!r} stands twice in one object")
    return found


def _no_constant(word: str) -> None:
    raise DocumentError(f"{word} is no number of JSON")


@dataclass
class Element:
    """An element without its comments. `name` and keys of `attributes` are `namespace local`, or the local name."""

    name: str
    attributes: dict[str, str]
    line: int
    text: str = ""
    children: list[Element] = field(default_factory=list)

    @property
    def local(self) -> str:
        return self.name.rpartition(" ")[2]

    @property
    def namespace(self) -> str:
        return self.name.rpartition(" ")[0]


def read_xml(content: bytes) -> Element:
    """The root element.

    Raises:
        DocumentError: where it breaks, declares a document type, or goes too deep.
    """
    builder = _Builder()
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.buffer_text = True
    builder.watch(parser)
    try:
        parser.Parse(sized(content), True)
    except expat.ExpatError as e:
        raise DocumentError(f"line {e.lineno}, column {e.offset + 1}: {expat.ErrorString(e.code)}") from e
    return builder.top[0]


class _Builder:
    def __init__(self) -> None:
        self.top: list[Element] = []
        self._open: list[Element] = []

    def watch(self, parser: expat.XMLParserType) -> None:
        self._parser = parser
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._data
        parser.StartDoctypeDeclHandler = self._doctype

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        element = Element(name, attributes, self._parser.CurrentLineNumber)
        (self._open[-1].children if self._open else self.top).append(element)
        self._open.append(element)
        if len(self._open) > MOST_DEPTH:
            raise DocumentError(f"line {element.line}: it is nested deeper than {MOST_DEPTH} levels")

    def _end(self, _name: str) -> None:
        self._open.pop()

    def _data(self, data: str) -> None:
        self._open[-1].text += data

    def _doctype(self, *_: Any) -> None:
        line = self._parser.CurrentLineNumber
        raise DocumentError(f"line {line}: it declares a document type; entities are not expanded")
