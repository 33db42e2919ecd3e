"""Diagnostics of templates: from what went wrong to a place inside the template and words for a person."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ciflow.dataclass import dataclass
from ciflow.diagnostics import Diagnostic, Span
from ciflow.lang.near import did_you_mean
from ciflow.lang.place import Marks, position
from ciflow.lang.scope import Scope
from ciflow.model import Template


@dataclass(frozen=True, slots=True)
class Within:
    """A template's source, where it stands, and its tokens (offset, line in source, kind, text)."""

    source: str
    span: Span
    marks: Marks
    tokens: list[tuple[int, int, str, str]]

    def at(self, offset: int, length: int) -> Span:
        if not self.marks:
            return self.span
        line, column = position(self.marks, offset)
        return Span(self.span.file, line, column, line, column + max(length, 1))

    def name(self, name: str, whole: bool) -> Span:
        """The first use of `name` as a variable (`whole`), or as an attribute or key of something."""
        before = ""
        for offset, _, kind, text in self.tokens:
            if kind == "whitespace":
                continue
            if kind == "name" and text == name and (before != ".") == whole and before != "|":
                return self.at(offset, len(text))
            if not whole and kind == "string" and text[1:-1] == name:
                return self.at(offset, len(text))
            before = text
        return self.line(1)

    def member(self, path: tuple[str, ...]) -> Span:
        """The last name of the first `a.b['c']` that reads `path`."""
        tokens = [(offset, text) for offset, _, kind, text in self.tokens if kind != "whitespace"]
        for at, (_, text) in enumerate(tokens):
            if text == path[0] and (not at or tokens[at - 1][1] != "."):
                found = _along(tokens, at, path[1:])
                if found is not None:
                    return self.at(*found)
        return self.line(1)

    def line(self, number: int) -> Span:
        """The first expression that begins in this line of the source, or is open there."""
        opened = None
        for offset, line, kind, _ in self.tokens:
            if line > number:
                break
            if kind in ("variable_begin", "block_begin"):
                opened = (offset, line)
            elif opened and kind in ("variable_end", "block_end"):
                if line >= number:
                    break
                opened = None
        if opened is None:
            lines = self.source.split("\n")
            start = sum(len(text) + 1 for text in lines[: number - 1])
            return self.at(start, len(lines[min(number, len(lines)) - 1].rstrip()))
        return self.at(opened[0], self._until_end(opened[0]))

    def _until_end(self, start: int) -> int:
        for offset, _, kind, text in self.tokens:
            if offset > start and kind in ("variable_end", "block_end"):
                newline = self.source.find("\n", start)
                end = offset + len(text)
                return (min(end, newline) if newline >= 0 else end) - start
        return 2

    def token(self, text: str, number: int, *, after: str = "") -> Span | None:
        """The first token `text` in line `number` or later, standing behind `after` where that is given."""
        before = ""
        for offset, line, kind, found in self.tokens:
            if kind == "whitespace":
                continue
            if found == text and line >= number and (not after or before == after):
                return self.at(offset, len(found))
            before = found
        return None

    def unread(self, text: str) -> Span | None:
        """`text` behind the last token: where the source can't be cut into tokens any more."""
        last = self.tokens[-1] if self.tokens else (0, 1, "", "")
        found = self.source.find(text, last[0] + len(last[3]))
        return self.at(found, len(text)) if found >= 0 else None


def _along(tokens: list[tuple[int, str]], at: int, names: tuple[str, ...]) -> tuple[int, int] | None:
    """Offset and length of the last of `names`, which follow the token at `at` as members, each of the one before."""
    found = None
    for name in names:
        joint, (offset, text) = tokens[at + 1 : at + 2], (tokens[at + 2 : at + 3] or [(0, "")])[0]
        if not joint or joint[0][1] not in (".", "[") or (text if joint[0][1] == "." else text[1:-1]) != name:
            return None
        at += 2 if joint[0][1] == "." else 3
        found = offset, len(text)
    return found


def undefined(place: Within, name: str, whole: bool, message: str, scope: Scope) -> Diagnostic:
    """An undefined name, with the nearest known ones and where they were set."""
    if not whole:
        return Diagnostic("error", "CF0210", _attribute(name, message), place.name(name, False))
    label = ""
    if near := scope.nearest(name):
        label = "nearest: " + ", ".join(f"`{one}`{_where(scope.where(one))}" for one in near)
    return Diagnostic("error", "CF0210", f"`{name}` is not defined", place.name(name, True), label)


def _where(span: Span | None) -> str:
    return f" ({span.file}:{span.line})" if span and span.line else ""


def _attribute(name: str, message: str) -> str:
    owner = re.match(r"'(.+?)(?: object)?' has no attribute", message)
    kinds = {"dict": "this mapping", "list": "this list", "str": "this text", "int": "this number"}
    who = kinds.get(owner.group(1), "this value") if owner else "this value"
    return f"{who} has no `{name}`"


def syntax(place: Within, message: str, line: int, known: Mapping[str, list[str]]) -> Diagnostic:
    """A template that can't be parsed or names an unknown filter or test."""
    unknown = re.match(r"No (filter|test) named '(.+?)'", message)
    if unknown:
        kind, name = unknown.groups()
        span = place.token(name.split(".")[0], line, after="|" if kind == "filter" else "") or place.line(line)
        return Diagnostic("error", "CF0211", f"there is no {kind} `{name}`", span, did_you_mean(name, known[kind]))
    got = re.search(r"got '(.+?)'|unexpected '(.+?)'|unknown tag '(.+?)'", message)
    text = next(filter(None, got.groups())) if got else ""
    span = (text and (place.token(text, line) or place.unread(text))) or place.line(line)
    words = message.replace("'end of print statement'", "`}}`").replace("expected token", "expected").rstrip(".")
    return Diagnostic("error", "CF0201", f"this template can't be parsed: {words[:1].lower()}{words[1:]}", span)


def refused(place: Within, message: str, line: int) -> Diagnostic:
    return Diagnostic("error", "CF0205", f"the sandbox refuses this: {message}", place.line(line))


def too_much(place: Within, message: str, line: int) -> Diagnostic:
    return Diagnostic("error", "CF0207", message, place.line(line))


def called_wrongly(place: Within, kind: str, name: str, reason: str, line: int) -> Diagnostic:
    """A filter, test or lookup that can't be called as it is."""
    after = {"filter": "|", "test": "is"}.get(kind, "")
    span = place.token(name.split(".")[0], line, after=after) or place.token(f"'{name}'", line) or place.line(line)
    return Diagnostic("error", "CF0212", f"the {kind} `{name}` can't be called so: {reason}", span)


def failed(place: Within, message: str, line: int) -> Diagnostic:
    return Diagnostic("error", "CF0202", f"this template failed: {message}", place.line(line))


def in_words(error: Exception) -> str:
    """A Python exception as a person would say it."""
    if isinstance(error, RecursionError):
        return "it never ends: what it reads leads back to itself"
    if isinstance(error, KeyError):
        return f"there is no key {error}"
    return str(error) or type(error).__name__


def not_boolean(condition: Any, value: Any) -> Diagnostic:
    """A condition that gave something else, with the likeliest fix."""
    span = condition.span if isinstance(condition, Template) else None
    source = condition.source.strip() if isinstance(condition, Template) else "x"
    simple = source.removeprefix("{{").removesuffix("}}").strip() if source.startswith("{{") else source
    if isinstance(value, str) and isinstance(condition, Template) and not condition.expression:
        message = f'a condition must be true or false; this gave the text "{value[:40]}"'
        label = "a condition is an expression already: leave out the braces"
        return Diagnostic("error", "CF0203", message, span, label)
    if isinstance(value, str):
        shown, fix = f'the text "{value[:40]}"', f"write `{simple} | bool`, or compare it"
    elif isinstance(value, int | float):
        shown, fix = f"the number {value}", f"write `{simple} | bool`, or compare it"
    elif value is None:
        shown, fix = "nothing (null)", f"write `{simple} is not none`"
    else:
        kind = "a mapping" if isinstance(value, Mapping) else "a list"
        shown, fix = kind, f"write `{simple} | length > 0`"
    return Diagnostic("error", "CF0203", f"a condition must be true or false; this gave {shown}", span, fix)
