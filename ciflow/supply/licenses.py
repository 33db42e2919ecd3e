"""Licence expressions: SPDX 2.3 annex D, and what Cargo manifests have instead of it.

The identifiers are those of the SPDX licence list 3.28 (`spdx-licenses.txt`, `spdx-exceptions.txt`).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from functools import cache, lru_cache
from pathlib import Path

_TOKEN = re.compile(r"\s*([()]|[A-Za-z0-9.+:-]+)")
_REFERENCE = re.compile(r"(DocumentRef-[A-Za-z0-9.-]+:)?LicenseRef-[A-Za-z0-9.-]+\Z")
_OPERATORS = {"AND", "OR", "WITH"}
_DEEPEST = 50


@lru_cache(maxsize=4096)
def normalise(text: str) -> str | None:
    """The SPDX expression that a manifest means, or None where it is none.

    Cargo once allowed `/` between alternatives, so `Apache-2.0/MIT` is ` OR `; operators and identifiers
    get the case of the list. An identifier that is not on the list makes it no expression.
    """
    tokens = _tokens(text.replace("/", " OR "))
    if tokens is None or tokens.count("(") > _DEEPEST:
        return None
    parser = _Parser(tokens)
    valid = parser.expression() and not parser.rest()
    return " ".join(parser.out).replace("( ", "(").replace(" )", ")") if valid else None


def custom(text: str) -> str:
    """A `LicenseRef-` identifier (SPDX 2.3 annex D.2) for a licence that has no expression.

    Only letters, digits, `.` and `-` are allowed; where more than blanks is lost, a hash keeps texts apart.
    """
    slug = re.sub(r"[^A-Za-z0-9.]+", "-", text).strip("-")[:60] or "unnamed"
    lost = slug != text.replace(" ", "-")
    return f"LicenseRef-{slug}" + (f"-{hashlib.sha256(text.encode()).hexdigest()[:8]}" if lost else "")


def _tokens(text: str) -> list[str] | None:
    tokens, at = [], 0
    text = text.strip()
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            return None
        tokens.append(match[1])
        at = match.end()
    return tokens


class _Parser:
    """Recursive descent; `AND` and `OR` need no precedence here, since only the form is checked."""

    def __init__(self, tokens: list[str]) -> None:
        self._tokens = tokens
        self._at = 0
        self.out: list[str] = []

    def rest(self) -> list[str]:
        return self._tokens[self._at :]

    def _peek(self) -> str:
        return self._tokens[self._at] if self._at < len(self._tokens) else ""

    def _take(self, written: str) -> None:
        self.out.append(written)
        self._at += 1

    def expression(self) -> bool:
        if not self._term():
            return False
        while (operator := self._peek().upper()) in ("AND", "OR"):
            self._take(operator)
            if not self._term():
                return False
        return True

    def _term(self) -> bool:
        if self._peek() == "(":
            self._take("(")
            if not self.expression() or self._peek() != ")":
                return False
            self._take(")")
            return True
        return self._simple() and self._exception()

    def _simple(self) -> bool:
        token = self._peek()
        if _REFERENCE.match(token):
            self._take(token)
            return True
        plus = "+" if token.endswith("+") and token.lower() not in _ids("spdx-licenses.txt") else ""
        known = _ids("spdx-licenses.txt").get(token.removesuffix(plus).lower())
        if known is None or token.upper() in _OPERATORS:
            return False
        self._take(known + plus)
        return True

    def _exception(self) -> bool:
        if self._peek().upper() != "WITH":
            return True
        self._take("WITH")
        known = _ids("spdx-exceptions.txt").get(self._peek().lower())
        if known is not None:
            self._take(known)
        return known is not None


def references(expression: str) -> Iterator[str]:
    """The `LicenseRef-` identifiers in an expression; a document must say what they are."""
    yield from (token for token in re.split(r"[\s()]+", expression) if token.startswith("LicenseRef-"))


@cache
def _ids(name: str) -> dict[str, str]:
    lines = Path(__file__).with_name(name).read_text("utf-8").split()
    return {line.lower(): line for line in lines}


Tree = str | tuple[str, tuple["Tree", ...]]


def tree(expression: str) -> Tree:
    """An expression that `normalise` gave, as nested (operator, parts): WITH binds closest, then AND, then OR."""
    tokens = _tokens(expression) or [""]
    found, rest = _level(tokens, 0)
    return found if not rest else expression


def _level(tokens: list[str], depth: int) -> tuple[Tree, list[str]]:
    if depth == len(_BINDING):
        return _atom(tokens)
    operator = _BINDING[depth]
    first, rest = _level(tokens, depth + 1)
    parts = [first]
    while rest and rest[0] == operator:
        part, rest = _level(rest[1:], depth + 1)
        parts.append(part)
    return (first if len(parts) == 1 else (operator, tuple(parts))), rest


def _atom(tokens: list[str]) -> tuple[Tree, list[str]]:
    if tokens and tokens[0] == "(":
        inside, rest = _level(tokens[1:], 0)
        return inside, rest[1:]
    return (tokens[0], tokens[1:]) if tokens else ("", [])


_BINDING = ("OR", "AND", "WITH")


def text(found: Tree) -> str:
    """The expression of a tree, with the brackets that it needs."""
    if isinstance(found, str):
        return found
    operator, parts = found
    words = [f"({text(one)})" if not isinstance(one, str) and _looser(one[0], operator) else text(one) for one in parts]
    return f" {operator} ".join(words)


def _looser(inner: str, outer: str) -> bool:
    return _BINDING.index(inner) <= _BINDING.index(outer)
