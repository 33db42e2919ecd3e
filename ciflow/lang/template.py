"""Templates: strict, sandboxed, types kept. The only owner of Jinja2.

A lone expression keeps its value and type; text mixed with expressions is text; nothing is guessed from text
(no literal_eval). Only Template objects are compiled. What goes wrong is an Invalid whose span points into the
template itself.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, ItemsView, Iterator, KeysView, Mapping, ValuesView
from typing import Any

import jinja2
from jinja2 import meta, nodes
from jinja2.exceptions import SecurityError
from jinja2.runtime import Context, StrictUndefined, Undefined
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import missing

from ciflow.diagnostics import Diagnostic, Invalid, Span
from ciflow.lang import faults
from ciflow.lang.filters import FILTERS, SCOPED_FILTERS
from ciflow.lang.header import header
from ciflow.lang.lookups import GLOBALS, lookup, query
from ciflow.lang.place import Marks
from ciflow.lang.scope import MISSING, OMIT, Need, NeedFacts, Scope
from ciflow.lang.simple import Names, simple_names
from ciflow.lang.survey import Survey, survey
from ciflow.lang.tests import SCOPED_TESTS, TESTS
from ciflow.lang.vault import Encrypted
from ciflow.model import Template

_RESULT = "_ciflow_value"
DEEPEST = 100  # levels of a template's syntax tree
MOST_CHARACTERS = 50_000_000  # that `*` and `**` may make


class _Absent(jinja2.UndefinedError):
    """Use of a name that is not defined; knows which."""

    def __init__(self, message: str, name: str, owner: Any) -> None:
        super().__init__(message)
        self.name = name
        self.owner = owner


class _Missing(StrictUndefined):
    """An undefined value: any use fails, but `a.b.c | default(1)` works through any depth, as in Ansible."""

    __slots__ = ()

    def __init__(
        self, hint: Any = None, obj: Any = missing, name: Any = None, exc: Any = jinja2.UndefinedError
    ) -> None:
        super().__init__(hint, obj, name, exc)
        self._undefined_exception = lambda message: _Absent(message, str(name), obj)  # type: ignore[assignment]

    def __getattr__(self, name: str) -> Any:
        if name[:2] == "__":
            raise AttributeError(name)
        return self

    def __getitem__(self, _key: Any) -> Any:
        return self


class _Context(Context):
    """Jinja's context over a Scope: names are looked up when the template asks for them."""

    scope: Scope

    def resolve_or_missing(self, key: str) -> Any:
        if key in self.vars:
            return self.vars[key]
        value = self.scope.find(key)
        if value is not MISSING:
            return value
        if key == "omit":
            return OMIT
        return self.environment.globals.get(key, missing)


class _Environment(ImmutableSandboxedEnvironment):
    intercepted_binops = frozenset(["*", "**"])
    context_class = _Context

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        if operator == "**":
            if (
                isinstance(left, int)
                and isinstance(right, int)
                and abs(left) > 1
                and right * left.bit_length() > 100_000
            ):
                raise SecurityError("this power is too large")
        else:
            for text, times in ((left, right), (right, left)):
                if (
                    isinstance(text, str | list | tuple)
                    and isinstance(times, int)
                    and len(text) * times > MOST_CHARACTERS
                ):
                    raise SecurityError("this repetition is too large")
        return super().call_binop(context, operator, left, right)


def _scoped(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function whose first argument is the scope, as Jinja calls filters and globals."""

    @functools.wraps(function)
    def call(context: Any, *args: Any, **named: Any) -> Any:
        return function(context.scope, *args, **named)

    return jinja2.pass_context(call)


def _mandatory(value: Any, message: str = "") -> Any:
    if isinstance(value, Undefined):
        if message:
            raise ValueError(message)
        str(value)
    return value


def _type_debug(value: Any) -> str:
    return "Undefined" if isinstance(value, Undefined) else type(value).__name__


def _finalize(value: Any) -> Any:
    return "" if value is None else value


@functools.cache
def environment() -> _Environment:
    """The one environment: Ansible's whitespace rules (`trim_blocks`), undefined names are errors."""
    made = _Environment(
        trim_blocks=True, keep_trailing_newline=True, undefined=_Missing, finalize=_finalize, cache_size=0,
        extensions=["jinja2.ext.do", "jinja2.ext.loopcontrols"],
    )  # fmt: skip
    made.filters |= FILTERS | {name: _scoped(function) for name, function in SCOPED_FILTERS.items()}
    made.filters |= {"mandatory": _mandatory, "type_debug": _type_debug}
    made.tests |= TESTS | {name: _scoped(function) for name, function in SCOPED_TESTS.items()}
    for table in (made.filters, made.tests):
        table |= {f"ansible.builtin.{name}": function for name, function in table.items()}
    made.globals.pop("lipsum", None)  # nothing of Ansible's, and any amount of text for the asking
    made.globals |= {name: _scoped(function) for name, function in GLOBALS.items()}
    made.globals |= {"lookup": _scoped(lookup), "query": _scoped(query), "q": _scoped(query), "undef": _undef}
    return made


def _undef(hint: str = "") -> Undefined:
    return _Missing(hint=hint or None, name="undef()")


# --- compiling -----------------------------------------------------------------------------------------


def _lone(tree: nodes.Template) -> nodes.Expr | None:
    """The expression of a template that is nothing else (a block scalar's last newline set aside)."""
    output = tree.body[0] if len(tree.body) == 1 else None
    if not isinstance(output, nodes.Output) or not output.nodes:
        return None
    first, rest = output.nodes[0], output.nodes[1:]
    if isinstance(first, nodes.TemplateData) or len(rest) > 1:
        return None
    return first if not rest or (isinstance(rest[0], nodes.TemplateData) and rest[0].data == "\n") else None


@functools.lru_cache(maxsize=16_384)
def _parse(source: str, expression: bool) -> tuple[nodes.Template, nodes.Expr | None, Survey]:
    """The syntax tree, its expression where that is all there is, and what is in it. Raises TemplateSyntaxError."""
    try:
        tree, lone = _parse_any(source, expression)
    except RecursionError as error:
        raise jinja2.TemplateSyntaxError("it is nested too deep", 1) from error
    inside = survey(tree, DEEPEST)
    if inside is None:
        raise jinja2.TemplateSyntaxError("it is nested too deep", 1)
    return tree, lone, inside


def _parse_any(source: str, expression: bool) -> tuple[nodes.Template, nodes.Expr | None]:
    if not expression:
        tree = environment().parse(source)
        return tree, _lone(tree)
    parser = jinja2.parser.Parser(environment(), source, state="variable")
    found = parser.parse_expression()
    if not parser.stream.eos:
        got = parser.stream.current
        raise jinja2.TemplateSyntaxError(f"unexpected '{got.value}'", got.lineno)
    tree = nodes.Template([nodes.Output([found], lineno=1)], lineno=1)
    tree.set_environment(environment())
    return tree, found


@functools.lru_cache(maxsize=16_384)
def _compile(source: str, expression: bool) -> tuple[jinja2.Template, bool]:
    """The compiled template, and whether it gives a value instead of text."""
    tree, lone, _ = _parse(source, expression)
    if lone is not None:
        assign = nodes.Assign(nodes.Name(_RESULT, "store", lineno=lone.lineno), lone, lineno=lone.lineno)
        tree = nodes.Template([assign], lineno=1)
    tree.set_environment(environment())
    code = environment().compile(tree, "<template>", "<template>")
    return jinja2.Template.from_code(environment(), code, {}), lone is not None


def _run(compiled: jinja2.Template, gives_value: bool, scope: Scope) -> Any:
    context = _Context(compiled.environment, {}, compiled.name, compiled.blocks)
    context.scope = scope
    text = "".join(compiled.root_render_func(context))
    if not gives_value:
        return text
    return _plain(context.vars[_RESULT])


def _plain(value: Any) -> Any:
    """A value as data: iterators as lists. An undefined value in it is used here, which raises its fault."""
    if isinstance(value, Undefined):
        str(value)
    if isinstance(value, Iterator | range | KeysView | ValuesView | ItemsView):
        value = list(value)
    if isinstance(value, list | tuple):
        for item in value:
            if isinstance(item, Undefined | list | tuple | dict):
                _plain(item)
    elif type(value) is dict:
        for item in value.values():
            if isinstance(item, Undefined | list | tuple | dict):
                _plain(item)
    return value


# --- rendering -----------------------------------------------------------------------------------------


def render(value: Any, scope: Scope) -> Any:
    """`value` with every Template in it rendered, through lists and mappings. What has none comes back itself.

    Raises Invalid with a placed diagnostic, Need where a lookup needs I/O.
    """
    if isinstance(value, Template):
        return _render_template(value, scope)
    if isinstance(value, dict):
        made = {render(key, scope): render(below, scope) for key, below in value.items()}
        if OMIT in made.values():
            return {key: below for key, below in made.items() if below is not OMIT}
        return value if _same(made.values(), value.values()) else made
    if isinstance(value, list | tuple):
        items = [render(below, scope) for below in value]
        if any(item is OMIT for item in items):
            return [item for item in items if item is not OMIT]
        return value if _same(items, value) else items
    return value


def _same(made: Any, given: Any) -> bool:
    return all(a is b for a, b in zip(made, given, strict=True))


def _render_template(template: Template, scope: Scope) -> Any:
    if isinstance(template, Encrypted):
        return template.plain()
    try:
        return _run(*_compile(template.source, template.expression), scope)
    except Exception as error:
        raise _placed(error, template.source, template.expression, template.span, template.marks, scope) from error


def evaluate(conditions: tuple[Any, ...], scope: Scope) -> bool:
    """Whether all conditions hold, in order, stopping at the first that doesn't. Each must give a boolean."""
    return all(_holds(condition, scope) for condition in conditions)


def _holds(condition: Any, scope: Scope) -> bool:
    value = render(condition, scope)
    if isinstance(value, bool):
        return value
    raise Invalid([faults.not_boolean(condition, value)])


def render_text(text: str, file: str, scope: Scope, options: Mapping[str, Any] | None = None) -> str:
    """A `.j2` file's text rendered. `options` are Jinja's (trim_blocks, variable_start_string, ..).

    A first line `#jinja2: trim_blocks:False, ..` sets them too, and wins, as in Ansible.
    """
    options, body, skipped = header(text, options or {})
    marks: Marks = ((0, 1 + skipped, 1), *((m.end(), i + skipped, 1) for i, m in enumerate(re.finditer("\n", body), 2)))
    try:
        compiled = _compile_file(body, tuple(sorted(options.items())))
        return str(_run(compiled, False, scope))
    except Exception as error:
        raise _placed(error, body, False, Span(file, 1 + skipped, 1), marks, scope) from error


@functools.lru_cache(maxsize=512)
def _compile_file(body: str, options: tuple[tuple[str, Any], ...]) -> jinja2.Template:
    env = environment().overlay(**dict(options)) if options else environment()
    return jinja2.Template.from_code(env, env.compile(env.parse(body), "<template>", "<template>"), env.globals)


def _placed(error: Exception, source: str, expression: bool, span: Span, marks: Marks, scope: Scope) -> BaseException:
    """Jinja's and Python's exceptions as ours. Need and Invalid pass as they are."""
    if isinstance(error, Invalid | Need | NeedFacts):
        return error
    place = faults.Within(source, span, marks, _tokens(source, expression))
    if isinstance(error, _Absent):
        whole = error.owner is missing or error.owner is None
        return Invalid([faults.undefined(place, error.name, whole, error.message or "", scope)])
    if isinstance(error, jinja2.TemplateSyntaxError):
        return Invalid([faults.syntax(place, error.message or "", error.lineno, _known())])
    if isinstance(error, SecurityError):
        return Invalid([faults.refused(place, str(error), _line(error))])
    if isinstance(error, TypeError) and "no loader" in str(error):
        return Invalid(
            [faults.failed(place, "templates that include or extend others are not built yet", _line(error))]
        )
    return Invalid([faults.failed(place, faults.in_words(error), _line(error))])


def _line(error: BaseException) -> int:
    """The template's line in which a running template failed: Jinja marks its generated lines."""
    trace, line = error.__traceback__, 1
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == "<template>":
            module = trace.tb_frame.f_globals.get("__jinja_template__")
            line = module.get_corresponding_lineno(trace.tb_lineno) if module is not None else line
        trace = trace.tb_next
    return line


def _known() -> Mapping[str, list[str]]:
    env = environment()
    return {"filter": sorted(env.filters), "test": sorted(env.tests)}


def _tokens(source: str, expression: bool) -> list[tuple[int, int, str, str]]:
    """(offset, line, kind, text) of each token, as far as the source can be cut into tokens."""
    found: list[tuple[int, int, str, str]] = []
    at, state = 0, "variable" if expression else None
    try:
        for line, kind, text in environment().lexer.tokeniter(source, None, None, state):
            at = max(source.find(text, at), at)
            found.append((at, line, kind, text))
            at += len(text)
    except jinja2.TemplateSyntaxError:
        return found
    return found


# --- looking without running ---------------------------------------------------------------------------


def check(template: Template) -> list[Diagnostic]:
    """Faults that show without running: syntax, unknown filters and tests."""
    if simple_names(template.source, template.expression) is not None:
        return []
    try:
        for kind, name, line in _parse(template.source, template.expression)[2].uses:
            if name not in (environment().filters if kind == "filter" else environment().tests):
                raise jinja2.TemplateAssertionError(f"No {kind} named '{name}'.", line)
    except jinja2.TemplateSyntaxError as error:
        place = faults.Within(
            template.source, template.span, template.marks, _tokens(template.source, template.expression)
        )
        return [faults.syntax(place, error.message or "", error.lineno, _known())]
    return []


@functools.lru_cache(maxsize=16_384)
def _names(source: str, expression: bool) -> Names:
    return simple_names(source, expression) or parsed_names(source, expression) or Names()


def parsed_names(source: str, expression: bool) -> Names | None:
    """The names that Jinja sees; None where it can't parse the source."""
    try:
        tree, _, inside = _parse(source, expression)
        free = _read_by(tree, inside) - environment().globals.keys() - {"omit"}
    except jinja2.TemplateError:
        return None
    return Names(free, free & inside.names.sure, free & inside.names.guarded)


def _read_by(tree: nodes.Template, inside: Survey) -> frozenset[str]:
    if all(isinstance(node, nodes.Output) for node in tree.body):  # nothing is assigned: each name is read
        return inside.names.free
    return frozenset(meta.find_undeclared_variables(tree))


def names_of(template: Template) -> Names:
    """Which variables a template reads, and how surely. One that can't be parsed reads none."""
    return _names(template.source, template.expression)


def name_span(template: Template, name: str) -> Span:
    """Where the template reads the variable `name`."""
    place = faults.Within(template.source, template.span, template.marks, _tokens(template.source, template.expression))
    return place.name(name, True)
