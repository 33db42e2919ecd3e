"""Short ways to make templates and scopes in tests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ciflow.diagnostics import Span
from ciflow.lang.scope import Layer, Level, Scope
from ciflow.lang.template import render
from ciflow.model import Template


def template(text: str) -> Template:
    marks = [(0, 1, 1)] + [(at + 1, text[: at + 1].count("\n") + 1, 1) for at, c in enumerate(text) if c == "\n"]
    return Template(text, Span("t.yml", 1, 1), marks=tuple(marks))


def condition(text: str) -> Template:
    return Template(text, Span("t.yml", 1, 1), expression=True, marks=((0, 1, 1),))


def scope_of(names: Mapping[str, Any]) -> Scope:
    return Scope((Layer(Level.PLAY_VARS, names),), render)
