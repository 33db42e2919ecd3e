"""The rules of a schema's fields, looked at without a document: what can be told before anything is checked."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

TEXTS = frozenset({"text", "string", "path"})


def has_parts(rules: Mapping[str, Any]) -> bool:
    """Whether a field's value has fields of its own, which a short form in text can't have."""
    below = rules.get("schema")
    kinds = listed(below.get("type")) if below is not None else []
    return below is not None and (not kinds or "dict" in kinds)


def listed(kinds: Any) -> list[str]:
    return [kinds] if isinstance(kinds, str) else kinds if isinstance(kinds, list) else []


OF_TYPE = frozenset({"type", "meta", "default", "required", "nullable"})


def sure(rules: Mapping[str, Any]) -> Callable[[Any], bool]:
    """A quick look at a value of a field: whether it is good as it stands. What it can't tell it leaves to Cerberus."""
    types = _types(listed(rules["type"]))
    if "allowed" in rules and str in types:
        words = frozenset(rules["allowed"])
        return lambda value: value.__class__ is str and value in words
    if rules.keys() - OF_TYPE == {"regex"} and str in types:
        matches = re.compile(rules["regex"]).fullmatch
        return lambda value: value.__class__ is str and matches(value) is not None
    if rules.keys() - OF_TYPE or not types:
        return lambda _: False
    return lambda value: value.__class__ in types


def _types(kinds: list[str]) -> frozenset[type]:
    """Types whose every value is of one of these kinds."""
    found: set[type] = {str} if {"text", "string", "path", "condition"} & set(kinds) else set()
    found |= {bool} if {"boolean", "condition"} & set(kinds) else set()
    plain = ((int, "integer"), (list, "list"), (list, "items"), (dict, "dict"), (dict, "fields"))
    return frozenset(found | {kind for kind, name in plain if name in kinds})


def unbuilt_in(fields: Mapping[str, Any], above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Paths of the keywords that are marked as not built."""
    for name, rules in fields.items():
        if (rules.get("meta") or {}).get("unbuilt"):
            yield (*above, name)
        below = rules.get("schema")
        if isinstance(below, Mapping) and "type" not in below:
            yield from unbuilt_in(below, (*above, name))


def requires_below(rules: Any) -> bool:
    """Whether something below a field's own rules is required."""
    if isinstance(rules, Mapping):
        return any(below.get("required") is True for below in rules.values() if isinstance(below, Mapping)) or any(
            requires_below(below) for below in rules.values()
        )
    return False


def for_cerberus(rules: Any) -> Any:
    """Rules without defaults, which are nothing to validate; a field that needn't be there may be null as well."""
    if not isinstance(rules, Mapping):
        return rules
    made = {key: for_cerberus(value) for key, value in rules.items() if key != "default" or "type" not in rules}
    is_field = isinstance(rules.get("type"), str | list)
    return {"nullable": not rules.get("required"), **made} if is_field else made
