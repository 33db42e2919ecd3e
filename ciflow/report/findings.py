"""Findings of a playbook for programs: JSON lines, SARIF, and the annotations of GitHub's workflows."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ciflow.diagnostics import Diagnostic, Span
from ciflow.supply.sarif import log, uri

_LEVELS = {"error": "error", "warning": "warning", "hint": "note"}  # SARIF's words (3.27.10)
_COMMANDS = {"error": "error", "warning": "warning", "hint": "notice"}  # GitHub's


def as_json(found: Iterable[Diagnostic]) -> str:
    """One finding a line."""
    return "".join(json.dumps(_data(one)) + "\n" for one in found)


def _data(one: Diagnostic) -> dict[str, Any]:
    words = {"severity": one.severity, "code": one.code, "message": one.message}
    related = [{"message": why, **_place(span)} for why, span in one.related]
    return {**words, **_place(one.span), "label": one.label, "help": one.help, "related": related}


def _place(span: Span | None) -> dict[str, Any]:
    if span is None:
        return {}
    end = {"end_line": span.end_line, "end_column": span.end_column} if span.end_line else {}
    return {"file": span.file, "line": span.line, "column": span.column, **end}


def as_sarif(found: Iterable[Diagnostic], version: str, rules: Mapping[str, tuple[str, str]]) -> str:
    """One run of SARIF 2.1.0 (OASIS). `rules` are title and explanation by code; those that were met are told."""
    every = list(found)
    met = sorted({one.code for one in every})
    index = {code: number for number, code in enumerate(met)}
    results = [_result(one, index[one.code]) for one in every]
    return log(version, [_rule(code, *rules[code]) for code in met], results)


def _rule(code: str, title: str, why: str) -> dict[str, Any]:
    return {"id": code, "shortDescription": {"text": title}, "fullDescription": {"text": why}, "help": {"text": why}}


def _result(one: Diagnostic, rule: int) -> dict[str, Any]:
    text = "; ".join(part for part in (one.message, one.label, one.help) if part)
    result: dict[str, Any] = {
        "ruleId": one.code, "ruleIndex": rule, "level": _LEVELS[one.severity], "message": {"text": text},
    }  # fmt: skip
    if one.span is not None and one.span.file:
        result["locations"] = [_location(one.span)]
    related = [{"id": number, **_location(span), "message": {"text": why}}
               for number, (why, span) in enumerate(one.related) if span is not None and span.file]  # fmt: skip
    return {**result, "relatedLocations": related} if related else result


def _location(span: Span) -> dict[str, Any]:
    """Line 0 means the whole file. SARIF's end columns are exclusive, as ours are (3.30.8)."""
    physical: dict[str, Any] = {"artifactLocation": {"uri": uri(span.file)}}
    if span.line:
        region = {"startLine": span.line, "startColumn": max(span.column, 1)}
        if span.end_line and (span.end_line, span.end_column) > (span.line, span.column):
            region |= {"endLine": span.end_line, "endColumn": max(span.end_column, 1)}
        physical["region"] = region
    return {"physicalLocation": physical}


def as_github(found: Sequence[Diagnostic]) -> str:
    """Workflow commands, which GitHub shows beside the lines of a change."""
    return "".join(_annotation(one) + "\n" for one in found)


def _annotation(one: Diagnostic) -> str:
    """Escaped as @actions/core does: `%`, CR, LF in all of it, `:` and `,` in properties too."""
    told: dict[str, Any] = {}
    if one.span is not None and one.span.file:
        told["file"] = one.span.file
        if one.span.line:
            told |= {"line": one.span.line, "col": max(one.span.column, 1)}
            if one.span.end_line == one.span.line and one.span.end_column > one.span.column:
                told["endColumn"] = one.span.end_column
    told["title"] = f"{one.code} {one.severity}"
    text = "\n".join(part for part in (one.message, one.label, one.help) if part)
    properties = ",".join(f"{name}={_escaped(value).replace(':', '%3A').replace(',', '%2C')}"
                          for name, value in told.items())  # fmt: skip
    return f"::{_COMMANDS[one.severity]} {properties}::{_escaped(text)}"


def _escaped(value: object) -> str:
    return str(value).replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
