"""What is wrong with a template as far as it shows without running it: syntax, unknown names, wrong arguments."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from ciflow.dataclass import dataclass
from ciflow.diagnostics import Diagnostic, Span
from ciflow.lang import faults
from ciflow.lang.lookups import check_call, lookup_named
from ciflow.lang.simple import simple_names
from ciflow.lang.template import Place, parsed
from ciflow.late import Late
from ciflow.model import Template

if TYPE_CHECKING:
    import jinja2
    from jinja2 import nodes

    from ciflow.lang import jinja
else:
    jinja2, nodes, jinja = Late("jinja2"), Late("jinja2.nodes"), Late("ciflow.lang.jinja")

_LOOKUPS = frozenset({"lookup", "query", "q"})
_BY_FILTER = frozenset({"map"})  # filters whose first argument names a filter
_BY_TEST = {"select": 0, "reject": 0, "selectattr": 1, "rejectattr": 1}  # and those with the name of a test, at a place


def check_template(template: Template) -> list[Diagnostic]:
    """The faults, all of them; where the template can't be parsed, that one."""
    if simple_names(template.source, template.expression) is not None:
        return []
    place = Place.of(template)
    try:
        _, inside = parsed(template.source, template.expression)
    except jinja2.TemplateSyntaxError as error:
        return [faults.syntax(place.within(), error.message or "", error.lineno, jinja.known())]
    return [fault for node in inside.uses for fault in _of(node, place)]


@dataclass(frozen=True)
class Included:
    """A file that another one includes, imports or extends, by a name that is written out."""

    name: str
    span: Span
    optional: bool


def included(template: Template) -> list[Included]:
    """What a template file takes from others, in order. One that can't be parsed takes nothing."""
    if not any(word in template.source for word in ("include", "import", "extends")):
        return []
    try:
        tree, _ = parsed(template.source, template.expression)
    except jinja2.TemplateSyntaxError:
        return []
    within = Place.of(template).within()
    found = []
    for node in tree.find_all((nodes.Include, nodes.Import, nodes.FromImport, nodes.Extends)):
        named = getattr(node, "template", None)
        if isinstance(named, nodes.Const) and isinstance(named.value, str):
            optional = bool(getattr(node, "ignore_missing", False))
            found.append(Included(named.value, within.line(node.lineno), optional))
    return found


def members(template: Template) -> Iterator[tuple[tuple[str, ...], bool]]:
    """What it reads of variables, `a.b['c']` as (a, b, c), and whether in any case. What it sets itself is no variable,
    and what it asks for being defined, or has a default, may be missing. One that can't be parsed reads nothing."""
    try:
        tree, inside = parsed(template.source, template.expression)
    except jinja2.TemplateSyntaxError:
        return
    own = {node.name for node in tree.find_all(nodes.Name) if node.ctx != "load"}
    forgiven = {_path(node) for node, _, missing in inside.members if missing}
    for node, sure, _ in inside.members:
        path = _path(node)
        if path and path[0] not in own and path not in forgiven:
            yield path, sure


def _path(node: nodes.Node) -> tuple[str, ...]:
    """Empty where something else than names stands in it."""
    if isinstance(node, nodes.Name):
        return (node.name,)
    if isinstance(node, nodes.Getattr):
        name = node.attr
    elif isinstance(node, nodes.Getitem) and isinstance(node.arg, nodes.Const) and isinstance(node.arg.value, str):
        name = node.arg.value
    else:
        return ()
    above = _path(node.node)
    return (*above, name) if above else ()


def _of(node: nodes.Node, place: Place) -> Iterator[Diagnostic]:
    if isinstance(node, nodes.Call):
        if isinstance(node.node, nodes.Name) and node.node.name in _LOOKUPS:
            yield from _of_lookup(node, place)
        return
    assert isinstance(node, nodes.Filter | nodes.Test)
    kind = "filter" if isinstance(node, nodes.Filter) else "test"
    if not _is_known(kind, node.name):
        yield _unknown(kind, node.name, node.lineno, place)
        return
    for other, name in _named_by(node):
        if not _is_known(other, name):
            yield _unknown(other, name, node.lineno, place)
    if reason := _wrong(kind, node):
        yield faults.called_wrongly(place.within(), kind, node.name, reason, node.lineno)


def _table(kind: str) -> dict[str, Callable[..., Any]]:
    table: dict[str, Callable[..., Any]] = getattr(jinja.environment(), f"{kind}s")
    return table


def _is_known(kind: str, name: str) -> bool:
    return name in _table(kind)


def _unknown(kind: str, name: str, line: int, place: Place) -> Diagnostic:
    return faults.syntax(place.within(), f"No {kind} named '{name}'.", line, jinja.known())


def _named_by(node: nodes.Filter | nodes.Test) -> Iterator[tuple[str, str]]:
    """Filters and tests that `map`, `select` and the like are told by name."""
    at = 0 if node.name in _BY_FILTER else _BY_TEST.get(node.name)
    if isinstance(node, nodes.Filter) and at is not None and len(node.args) > at:
        argument = node.args[at]
        if isinstance(argument, nodes.Const) and isinstance(argument.value, str):
            yield "filter" if node.name in _BY_FILTER else "test", argument.value


@functools.cache
def _signature(kind: str, name: str) -> tuple[inspect.Signature, int] | None:
    """The function's signature and how many arguments stand before the template's own; None where it has none."""
    function = _table(kind)[name]
    try:
        found = inspect.signature(function)
    except ValueError:  # written in C
        return None
    return found, 1 + hasattr(function, "jinja_pass_arg")


def _wrong(kind: str, node: nodes.Filter | nodes.Test) -> str:
    """Why the function can't take these arguments; empty where it can."""
    found = _signature(kind, node.name)
    if found is None or node.dyn_args is not None or node.dyn_kwargs is not None:
        return ""
    signature, before = found
    try:
        signature.bind(*[None] * (before + len(node.args)), **_named(node.kwargs))
    except TypeError as error:
        return str(error)
    return ""


def _named(arguments: Iterable[nodes.Keyword | nodes.Pair]) -> dict[str, None]:
    return {str(one.key): None for one in arguments}


def _of_lookup(node: nodes.Call, place: Place) -> Iterator[Diagnostic]:
    first = node.args[0] if node.args else None
    if not isinstance(first, nodes.Const) or not isinstance(first.value, str):
        return
    options = _named(one for one in node.kwargs if one.key not in ("errors", "wantlist"))
    try:
        if node.dyn_args is not None or node.dyn_kwargs is not None:
            lookup_named(first.value)
        else:
            check_call(first.value, tuple(node.args[1:]), options)
    except ValueError as error:
        within = place.within()
        span = within.token(f"'{first.value}'", node.lineno) or within.token(f'"{first.value}"', node.lineno)
        yield Diagnostic("error", "CF0211", str(error), span or within.line(node.lineno))
    except TypeError as error:
        yield faults.called_wrongly(place.within(), "lookup", first.value, str(error), node.lineno)
