"""What a loop goes over: `loop:` takes a list, `with_<lookup>:` what the lookup gives."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ciflow.diagnostics import Diagnostic, Invalid
from ciflow.lang.lookups import LOOKUPS, query
from ciflow.lang.scope import Scope
from ciflow.lang.template import render
from ciflow.model import Loop, Template

_ONE_LIST = frozenset({"items", "nested", "cartesian", "together", "subelements", "list", "flattened", "indexed_items"})


def loop_items(loop: Loop, scope: Scope) -> list[Any]:
    """The items of a loop, rendered. Raises Invalid where there is no list, Need where a lookup needs I/O."""
    value = render(loop.items, scope)
    if loop.kind == "loop":
        if isinstance(value, list | tuple):
            return list(value)
        fix = "write `| dict2items`" if isinstance(value, Mapping) else "give it a list"
        raise _fault(loop, f"`loop` takes a list; this is {_kind(value)}", fix)
    if loop.kind not in LOOKUPS:
        raise _fault(loop, f"there is no lookup `{loop.kind}`", "")
    terms = value if isinstance(value, list | tuple) else [value]
    try:
        return query(scope, loop.kind, list(terms)) if loop.kind in _ONE_LIST else query(scope, loop.kind, *terms)
    except (ValueError, TypeError, KeyError) as error:
        raise _fault(loop, f"`with_{loop.kind}`: {error}", "") from error


def _fault(loop: Loop, message: str, label: str) -> Invalid:
    span = loop.items.span if isinstance(loop.items, Template) else None
    return Invalid([Diagnostic("error", "CF0202", message, span, label)])


def _kind(value: Any) -> str:
    names = {str: "text", dict: "a mapping", bool: "a boolean", int: "a number", type(None): "nothing"}
    return names.get(type(value), type(value).__name__)
