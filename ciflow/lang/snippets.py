"""Diagnostics as a person reads them: code and message, place, the line with a caret, the likeliest fix."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import replace

from ciflow.diagnostics import Diagnostic, Span

MOST = 20  # diagnostics shown in full; the rest is counted
_TAB = 4
_WIDTH = 100


def render_diagnostics(diagnostics: Iterable[Diagnostic], sources: Mapping[str, str]) -> str:
    """All diagnostics with their snippets, at most 20 of them, and a line that counts them. No colour."""
    found = list(diagnostics)
    parts = [_one(diagnostic, sources) for diagnostic in _shown_of(found)]
    if len(found) > MOST:
        parts.append(f"... and {len(found) - MOST} more\n")
    return "\n".join([*parts, _count(found)])


def places_of(diagnostics: Iterable[Diagnostic], sources: Mapping[str, str]) -> str:
    """Where the faults are, each with its line and a caret, for whoever says elsewhere what is wrong and what to do."""
    found: list[str] = []
    for one in diagnostics:
        if one.span is not None and one.span.file:
            first, *rest = _place(replace(one, beside=""), one.span, sources)
            found += [f"{first} ({one.code})", *rest]
        found += _related(one)
    return "\n".join(found)


def _shown_of(found: list[Diagnostic]) -> list[Diagnostic]:
    """Errors before warnings before hints where there is no room for all, and still in their order."""
    rank = {"error": 0, "warning": 1, "hint": 2}
    first = sorted(range(len(found)), key=lambda number: rank[found[number].severity])[:MOST]
    return [found[number] for number in sorted(first)]


def _one(diagnostic: Diagnostic, sources: Mapping[str, str]) -> str:
    lines = [f"{diagnostic.severity}[{diagnostic.code}]: {printable(diagnostic.message)}"]
    if diagnostic.span is not None and diagnostic.span.file:
        lines += _place(diagnostic, diagnostic.span, sources)
    elif diagnostic.label:
        lines.append(f"  = {printable(diagnostic.label)}")
    lines += _related(diagnostic)
    if diagnostic.help:
        lines.append(f"  = {printable(diagnostic.help)}")
    return "\n".join(lines) + "\n"


def _related(diagnostic: Diagnostic) -> list[str]:
    return [printable(f"  = {why}: {span}" if span else f"  = {why}") for why, span in diagnostic.related]


def _place(diagnostic: Diagnostic, span: Span, sources: Mapping[str, str]) -> list[str]:
    text = _line(sources.get(span.file, ""), span.line)
    margin = " " * len(str(span.line))
    place = printable(str(span))
    if text is None:
        return [f"{margin}--> {place}", *([f"  = {printable(diagnostic.label)}"] if diagnostic.label else [])]
    shown, start, width = _window(text, span)
    caret = " " * start + "^" * max(width, 1)
    label = f" {printable(diagnostic.label)}" if diagnostic.label else ""
    return [
        f"{margin}--> {place}",
        f"{margin} |",
        f"{span.line} | {shown}",
        f"{margin} | {caret}{label}",
    ]


def _line(source: str, number: int) -> str | None:
    """The line of the source, without its ending; None where there is none."""
    if number < 1:
        return None
    lines = source.removeprefix("\ufeff").split("\n")
    return lines[number - 1].rstrip("\r") if number <= len(lines) else None


def _window(text: str, span: Span) -> tuple[str, int, int]:
    """The line to show, and the caret's start and width in columns of the screen."""
    column = span.column - 1
    length = span.end_column - span.column if span.end_line in (0, span.line) and span.end_column else len(text)
    marked = text[column : column + min(max(length, 0), 2 * _WIDTH)].rstrip()
    width = columns(marked)
    if len(text) <= 2 * _WIDTH and columns(shown := printable(text)) <= _WIDTH:
        return shown, columns(text[:column]), width
    cut = max(column - 30, 0)
    lead = "..." if cut else ""
    shown = lead + printable(text[cut : cut + _WIDTH - 6]) + "..."
    return shown, len(lead) + columns(text[cut:column]), min(width, _WIDTH - 40)


def printable(text: str) -> str:
    """Text safe for a terminal: tabs as spaces, control and direction-changing characters shown by their code."""
    return "".join(_shown(character) for character in text)


def _shown(character: str) -> str:
    if character == "\t":
        return " " * _TAB
    if unicodedata.category(character) in ("Cc", "Cf", "Cs", "Co", "Cn"):
        return f"<U+{ord(character):04X}>"
    return character


def columns(text: str) -> int:
    """How many columns a terminal gives the text (East Asian wide characters take two, combining ones none)."""
    return sum(_columns(character) for character in text)


def _columns(character: str) -> int:
    shown = _shown(character)
    if len(shown) != 1:
        return len(shown)
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def _count(found: list[Diagnostic]) -> str:
    errors = [one for one in found if one.severity == "error"]
    others = len(found) - len(errors)
    if not errors:
        return f"{others} {'remark' if others == 1 else 'remarks'}"
    more = f", {others} {'remark' if others == 1 else 'remarks'}" if others else ""
    counted = f"{len(errors)} {'error' if len(errors) == 1 else 'errors'}{more}"
    return f"{counted}; nothing was run. `ciflow doc {errors[0].code}` says more."
