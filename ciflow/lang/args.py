"""Arguments of a task: a mapping, or Ansible's free form (`command: echo hi chdir=/tmp`, `file: path=/x`)."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator, Mapping
from typing import Any

from ciflow.diagnostics import Findings, Span
from ciflow.lang.kinds import mode_as_written
from ciflow.lang.place import Place
from ciflow.lang.schema import EXPRESSIONS, Schema
from ciflow.model import Template

_RAW = frozenset({"command", "shell", "raw", "script", "expect"})  # whose text is kept as it is
_PAIR = re.compile(r"((?:[A-Za-z0-9_]|\{\{.*?\}\})+)=(.*)\Z", re.DOTALL)

_ESCAPE = re.compile(r"\\(?:U[0-9A-Fa-f]{8}|u[0-9A-Fa-f]{4}|x[0-9A-Fa-f]{2}|N\{[^}]+\}|[\\'\"abfnrtv])")  # as Ansible's


class Spans(Mapping[str, Span]):
    """Where each keyword and argument of a task stands, worked out when asked."""

    __slots__ = ("_args", "_module", "_task")

    def __init__(self, task: Place, args: Place | None, module: str) -> None:
        self._task = task
        self._args = args
        self._module = module

    def __getitem__(self, name: str) -> Span:
        for place in (self._args, self._task.fields.get("args")):
            if place is not None and name in place.fields:
                return place.fields[name].span
        if name in self._task.fields:
            below = self._task.fields[name]
            return self._task.key_span(name) if name == self._module else below.span
        if name == self._module or self._args is not None:
            return self._task.span if self._args is None else self._args.span
        raise KeyError(name)

    def of_argument(self, argument: str, key: bool) -> Span:
        """The place of an argument's key or value, wherever it was written."""
        for place in (self._args, self._task.fields.get("args")):
            if place is not None and argument in place.fields:
                return place.key_span(argument) if key else place.fields[argument].span
        return self._task.key_span(self._module)

    def __iter__(self) -> Iterator[str]:
        yield from self._task.fields
        if self._args is not None:
            yield from self._args.fields

    def __len__(self) -> int:
        return sum(1 for _ in self)


def arguments(place: Place, schema: Schema, module: str, findings: Findings) -> dict[str, Any]:
    """The arguments at the module's name, as written, templates in place."""
    value = place.value
    if value is None:
        return {}
    if isinstance(value, dict):
        return {_key(module, key, place): _value(below, schema, module, key) for key, below in place.fields.items()}
    text = value.source if isinstance(value, Template) else value
    if isinstance(text, str) and _is_whole(value) and not schema.free_form:
        return {"": value}
    if isinstance(text, str):
        return _free_form(text, place, schema, module, findings)
    if schema.free_form and isinstance(text, int | float) and not isinstance(text, bool):
        return {schema.free_form: text}
    label = "quote it" if schema.free_form and isinstance(text, bool) else ""
    findings.error("CF0101", f"`{module}` takes a mapping of arguments", place.span, label=label)
    return {}


def _is_whole(value: Any) -> bool:
    """A lone expression that gives all the arguments at once: `debug: "{{ settings }}"`."""
    return isinstance(value, Template) and value.source.startswith("{{") and value.source.endswith("}}") \
        and value.source.count("{{") == 1  # fmt: skip


def _key(module: str, key: Any, place: Place) -> Any:
    """`set_fact` alone takes a template as a name."""
    if module == "set_fact" and isinstance(key, str) and "{{" in key:
        return Template(key, place.key_span(key))
    return key


def _value(place: Place, schema: Schema, module: str, key: str) -> Any:
    if EXPRESSIONS.get(module) == key:
        if isinstance(place.value, list):
            return [item.expression() for item in place.items]
        return place.expression()
    if place.text:
        rules = schema.fields.get(schema.aliases.get(key, key)) or {}
        if rules.get("type") == "mode":
            return mode_as_written(place.value, place.text)
    return place.value


def _free_form(text: str, place: Place, schema: Schema, module: str, findings: Findings) -> dict[str, Any]:
    if "=" not in text and schema.free_form:
        return {schema.free_form: place.value} if text.strip() else {}
    raw = module in _RAW
    args: dict[str, Any] = {}
    rest: list[tuple[int, int]] = []
    for start, end in words(text):
        pair = _PAIR.match(text[start:end])
        if pair and (pair[1] in schema.names if raw else True) and pair[1] != schema.free_form:
            args[_pair_key(place, pair[1], start)] = _pair_value(place, pair[2], start + pair.start(2), module, pair[1])
        else:
            rest.append((start, end))
    if not rest:
        return args
    if not schema.free_form:
        wrong = text[rest[0][0] : rest[0][1]]
        findings.error("CF0101", f"`{module}` takes `key=value` or a mapping; `{wrong}` is neither", place.span)
    elif not args:
        args[schema.free_form] = place.value
    else:
        start, end = rest[0][0], rest[-1][1]
        joined = text[start:end] if _contiguous(rest, args, text) else " ".join(text[a:b] for a, b in rest)
        args[schema.free_form] = place.template(joined, start)
    return args


def _pair_key(place: Place, key: str, offset: int) -> Any:
    """A name, or a template that makes one (`set_fact: {{ item }}=x`)."""
    return place.template(key, offset) if "{{" in key else key


def _contiguous(rest: list[tuple[int, int]], args: Mapping[str, Any], text: str) -> bool:
    inside = text[rest[0][0] : rest[-1][1]]
    return not any(re.search(rf"(^|\s){name}=", inside) for name in args)


def _pair_value(place: Place, value: str, offset: int, module: str, key: str) -> Any:
    value = _ESCAPE.sub(_unescaped, value)
    if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"":
        value, offset = value[1:-1], offset + 1
    if EXPRESSIONS.get(module) == key and "{{" not in value:
        inner = place.template("{{}}", offset)
        return Template(value, place.span, expression=True, marks=inner.marks)
    return place.template(value, offset)


def _unescaped(found: re.Match[str]) -> str:
    """What a backslash sequence of `key=value` stands for, also within quotes, as in Python's text."""
    try:
        return codecs.decode(found[0], "unicode_escape")
    except UnicodeDecodeError:  # no character has that name or number
        return found[0]


def words(text: str) -> Iterator[tuple[int, int]]:
    """Start and end of each word; quotes, `{{ }}` and `{% %}` hold words together."""
    start, quote, depth = -1, "", 0
    at = 0
    while at < len(text):
        character, two = text[at], text[at : at + 2]
        if quote:
            if character == "\\" and quote == '"':
                at += 1
            elif character == quote:
                quote = ""
        elif two in ("{{", "{%", "{#"):
            start = at if start < 0 else start
            depth, at = depth + 1, at + 1
        elif depth and two in ("}}", "%}", "#}"):
            depth, at = depth - 1, at + 1
        elif character in "'\"" and not depth:
            quote, start = character, at if start < 0 else start
        elif character.isspace() and not depth:
            if start >= 0:
                yield start, at
            start = -1
        elif start < 0:
            start = at
        at += 1
    if start >= 0:
        yield start, len(text)
