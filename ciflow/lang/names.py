"""Which variables a template reads: in any case, perhaps, or prepared for their being undefined."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from typing import Any

from ciflow.dataclass import dataclass
from ciflow.lang.simple import simple_names
from ciflow.lang.template import syntax_tree
from ciflow.model import Template


@dataclass(frozen=True, slots=True)
class Names:
    """`free`: all that are read; `sure`: those read whatever its conditions say; `guarded`: may be undefined."""

    free: frozenset[str] = frozenset()
    sure: frozenset[str] = frozenset()
    guarded: frozenset[str] = frozenset()


_FORGIVING = frozenset({"default", "d", "mandatory", "type_debug", "defined", "undefined"})
# Of these nodes of Jinja's syntax tree only the part named is evaluated in any case.
_FIRST = {"If": "test", "CondExpr": "test", "And": "left", "Or": "left", "For": "iter"}


@functools.lru_cache(maxsize=16_384)
def _names(source: str, expression: bool) -> Names:
    if (names := simple_names(source, expression)) is not None:
        return Names(names, names)
    found = syntax_tree(source, expression)
    if found is None:
        return Names()
    tree, free = found
    return Names(free, free & frozenset(_sure(tree)), frozenset(_guarded(tree)))


def names_of(template: Template) -> Names:
    """What a template reads. One that can't be parsed reads nothing."""
    return _names(template.source, template.expression)


def _is_guard(node: Any) -> bool:
    return type(node).__name__ in ("Filter", "Test") and node.name.rsplit(".", 1)[-1] in _FORGIVING


def _guarded(node: Any) -> Iterator[str]:
    if _is_guard(node):
        yield from _all(node)
    else:
        for child in node.iter_child_nodes():
            yield from _guarded(child)


def _all(node: Any) -> Iterator[str]:
    if type(node).__name__ == "Name":
        yield node.name
    for child in node.iter_child_nodes():
        yield from _all(child)


def _sure(node: Any) -> Iterator[str]:
    kind = type(node).__name__
    if kind == "Name":
        yield node.name
    elif not _is_guard(node) and kind != "Macro":
        below = [getattr(node, _FIRST[kind])] if kind in _FIRST else node.iter_child_nodes()
        for child in below:
            yield from _sure(child)


def templates_in(value: Any) -> Iterator[Template]:
    """Every Template in a value."""
    if isinstance(value, Template):
        yield value
    elif isinstance(value, Mapping):
        for key, below in value.items():
            if isinstance(key, Template):
                yield key
            yield from templates_in(below)
    elif isinstance(value, list | tuple):
        for below in value:
            yield from templates_in(below)
