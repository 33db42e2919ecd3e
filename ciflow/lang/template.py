"""Templates: strict, sandboxed, types kept. Jinja2 is set up in `jinja.py`, and used only here and there.

A lone expression keeps its value and type; text mixed with expressions is text; nothing is guessed from text
(no literal_eval). Only Template objects are compiled. What goes wrong is an Invalid whose span points into the
template itself.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import CodeType, TracebackType
from typing import TYPE_CHECKING, Any

from ciflow.dataclass import dataclass
from ciflow.diagnostics import Invalid, Span
from ciflow.lang import faults
from ciflow.lang.header import header
from ciflow.lang.limits import TooMuch, unhurried
from ciflow.lang.place import Marks
from ciflow.lang.scope import MISSING, OMIT, Need, NeedFacts, Scope
from ciflow.lang.simple import Names, lone_name, simple_names
from ciflow.lang.survey import Survey, survey
from ciflow.lang.vault import Encrypted
from ciflow.late import Late
from ciflow.model import Template

if TYPE_CHECKING:
    import jinja2
    from jinja2 import meta, nodes

    from ciflow.lang import jinja, jinja_values
else:  # a playbook may have no template, or none but the names of variables
    jinja2, meta, nodes = Late("jinja2"), Late("jinja2.meta"), Late("jinja2.nodes")
    jinja, jinja_values = Late("ciflow.lang.jinja"), Late("ciflow.lang.jinja_values")

_FILE = "<template>"  # what Python calls a template's code in a traceback; those it includes have their path behind it
DEEPEST = 100  # levels of a template's syntax tree


# --- compiling -----------------------------------------------------------------------------------------


@functools.lru_cache(maxsize=16_384)
def parsed(source: str, expression: bool) -> tuple[nodes.Template, Survey]:
    """The syntax tree and what is in it. Raises TemplateSyntaxError."""
    try:
        tree = _expression(source) if expression else jinja.yaml_environment().parse(source)
    except RecursionError as error:
        raise jinja2.TemplateSyntaxError("it is nested too deep", 1) from error
    inside = survey(tree, DEEPEST)
    if inside is None:
        raise jinja2.TemplateSyntaxError("it is nested too deep", 1)
    return tree, inside


def _expression(source: str) -> nodes.Template:
    parser = jinja2.parser.Parser(jinja.environment(), source, state="variable")
    found = parser.parse_expression()
    if not parser.stream.eos:
        got = parser.stream.current
        raise jinja2.TemplateSyntaxError(f"unexpected '{got.value}'", got.lineno)
    tree = nodes.Template([nodes.Output([found], lineno=1)], lineno=1)
    return tree.set_environment(jinja.yaml_environment())  # type: ignore[return-value]


@functools.lru_cache(maxsize=16_384)
def _compile(source: str, expression: bool) -> jinja2.Template:
    tree, _ = parsed(source, expression)
    env = jinja.environment() if _is_text(tree) else jinja.yaml_environment()
    return jinja2.Template.from_code(env, env.compile(tree, _FILE, _FILE), {})


def _is_text(tree: nodes.Template) -> bool:
    """Whether it can only give text, as a file does: there is some between its expressions, and no statement."""
    outputs = [node for node in tree.body if isinstance(node, nodes.Output)]
    inside = [child for node in outputs for child in node.nodes]
    return len(outputs) == len(tree.body) and any(isinstance(one, nodes.TemplateData) and one.data for one in inside)


def _value(compiled: jinja2.Template, source: str, scope: Scope) -> Any:
    """What a template in YAML gives. Text keeps the newlines that the source ends with, as a block scalar's last.
    Only what has statements can loop, and is timed."""
    value = unhurried(lambda: _joined(compiled, scope)) if "{%" in source else _joined(compiled, scope)
    if type(value) is not str:
        return jinja_values.plain(value)
    if source[-1:] == "\n":
        value += "\n" * (_newlines(source) - _newlines(value))
    return value


def _joined(compiled: jinja2.Template, scope: Scope) -> Any:
    return compiled.environment.concat(compiled.root_render_func(jinja.ScopeContext.over(scope, compiled)))


def _newlines(text: str) -> int:
    return len(text) - len(text.rstrip("\n"))


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
        return value if _same(made, value) and _same(made.values(), value.values()) else made
    if isinstance(value, list | tuple):
        items = [render(below, scope) for below in value]
        if any(item is OMIT for item in items):
            return [item for item in items if item is not OMIT]
        return value if _same(items, value) else items
    return value


def keyword(value: Any, scope: Scope, default: Any = None) -> Any:
    """A keyword's value, rendered; `omit` makes it what it is where nobody wrote it: what surrounds it says."""
    made = render(value, scope)
    if made is not OMIT:
        return made
    above = value.inherited if isinstance(value, Template) else None
    return default if above is None else keyword(above, scope, default)


def _same(made: Any, given: Any) -> bool:
    return len(made) == len(given) and all(a is b for a, b in zip(made, given, strict=True))


def _render_template(template: Template, scope: Scope) -> Any:
    if isinstance(template, Encrypted):
        return template.plain()
    try:
        lone = lone_name(template.source, template.expression)
        if lone and (value := scope.find(lone)) is not MISSING:
            return value if value.__class__ is str else jinja_values.plain(value)
        return _value(_compile(template.source, template.expression), template.source, scope)
    except Exception as error:
        raise _placed(error, Place.of(template), scope) from error


def evaluate(conditions: tuple[Any, ...], scope: Scope) -> bool:
    """Whether all conditions hold, in order, stopping at the first that doesn't. Each must give a boolean."""
    return all(_holds(condition, scope) for condition in conditions)


def failing(conditions: tuple[Any, ...], scope: Scope) -> list[Any]:
    """The first condition that doesn't hold, as it is written; nothing where all do."""
    found = next(([one] for one in conditions if not _holds(one, scope)), [])
    return [getattr(one, "source", one) for one in found]


def _holds(condition: Any, scope: Scope) -> bool:
    value = render(condition, scope)
    if isinstance(value, bool):
        return value
    raise Invalid([faults.not_boolean(condition, value)])


Find = Callable[[str], tuple[str, str] | None]  # the path and text of a file that a template includes, by its name


def render_text(
    text: str, file: str, scope: Scope, options: Mapping[str, Any] | None = None, find: Find | None = None
) -> str:
    """A `.j2` file's text rendered. `options` are Jinja's (trim_blocks, variable_start_string, ..).

    A first line `#jinja2: trim_blocks:False, ..` sets them too, and wins, as in Ansible. `find` reads the files that
    it includes, imports or extends. The text ends with no fewer newlines than the file, as in Ansible, though a block
    takes away the one behind it; an included file lends none.
    """
    options, body, skipped = header(text, options or {})
    chosen = tuple(sorted(options.items()))
    others = find is not None and any(word in body for word in ("include", "import", "extends"))  # else it has no use
    loader = jinja.Loader(find, functools.partial(_code, options=chosen)) if find is not None and others else None
    try:
        compiled = _file(body, chosen, loader)
        rendered = unhurried(lambda: "".join(compiled.root_render_func(jinja.ScopeContext.over(scope, compiled))))
    except Exception as error:
        included = _file_of(error)
        if loader is not None and included in loader.found:
            place = Place(loader.found[included], False, Span(included, 1, 1), line_marks(loader.found[included], 0))
        else:
            place = Place(body, False, Span(file, 1 + skipped, 1), line_marks(body, skipped))
        raise _placed(error, place, scope) from error
    lost = _newlines_at_end(body) - _newlines_at_end(rendered)
    return rendered + str(options.get("newline_sequence", "\n")) * lost


def _newlines_at_end(text: str) -> int:
    return len(text) - len(text.rstrip("\n"))


def line_marks(body: str, skipped: int = 0) -> Marks:
    """Where each line of a file begins, `skipped` lines above it set aside."""
    return ((0, 1 + skipped, 1), *((m.end(), i + skipped, 1) for i, m in enumerate(re.finditer("\n", body), 2)))


def _file(body: str, options: tuple[tuple[str, Any], ...], loader: jinja.Loader | None) -> jinja2.Template:
    if loader is None:
        return _whole_file(body, options)
    env = jinja.environment().overlay(**dict(options), loader=loader)
    return jinja2.Template.from_code(env, _code(body, "", options), {})


@functools.lru_cache(maxsize=512)
def _whole_file(body: str, options: tuple[tuple[str, Any], ...]) -> jinja2.Template:
    env = jinja.environment().overlay(**dict(options)) if options else jinja.environment()
    return jinja2.Template.from_code(env, _code(body, "", options), {})


@functools.lru_cache(maxsize=512)
def _code(body: str, path: str, options: tuple[tuple[str, Any], ...]) -> CodeType:
    """A file's code; `path` is that of a file which another one includes."""
    env = jinja.environment().overlay(**dict(options)) if options else jinja.environment()
    try:
        return env.compile(env.parse(body), _FILE + path, _FILE + path)
    except jinja2.TemplateSyntaxError as error:
        error.filename = _FILE + path
        raise


# --- faults --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Place:
    """A template's text and where it stands."""

    source: str
    expression: bool
    span: Span
    marks: Marks

    @classmethod
    def of(cls, template: Template) -> Place:
        return cls(template.source, template.expression, template.span, template.marks)

    def within(self) -> faults.Within:
        return faults.Within(self.source, self.span, self.marks, _tokens(self.source, self.expression))


def _placed(error: Exception, where: Place, scope: Scope) -> BaseException:
    """Jinja's and Python's exceptions as ours. Need and Invalid pass as they are."""
    if isinstance(error, Invalid | Need | NeedFacts):
        return error
    place = where.within()
    if isinstance(error, jinja_values.Absent):
        whole = error.owner is jinja2.utils.missing or error.owner is None
        return Invalid([faults.undefined(place, error.name, whole, error.message or "", scope)], undefined=True)
    if isinstance(error, jinja2.TemplateSyntaxError):
        return Invalid([faults.syntax(place, error.message or "", error.lineno, jinja.known())])
    if isinstance(error, jinja2.exceptions.SecurityError):
        return Invalid([faults.refused(place, str(error), _line(error))])
    if isinstance(error, TooMuch):
        return Invalid([faults.too_much(place, str(error), _line(error))])
    if isinstance(error, jinja2.TemplateNotFound):
        return Invalid([faults.failed(place, f"the file {error.name} is not found; it is looked for beside this one "
                                             "and in the folders `templates`", _line(error))])  # fmt: skip
    if isinstance(error, TypeError) and "no loader" in str(error):
        return Invalid([faults.failed(place, "only a `.j2` file includes or extends others", _line(error))])
    return Invalid([faults.failed(place, faults.in_words(error), _line(error))])


def _frames(error: BaseException) -> Iterator[tuple[TracebackType, str]]:
    """The frames of running templates, outermost first, and the path of the file that each was included from."""
    trace = error.__traceback__
    while trace is not None:
        name = trace.tb_frame.f_code.co_filename
        if name.startswith(_FILE):
            yield trace, name.removeprefix(_FILE)
        trace = trace.tb_next


def _file_of(error: BaseException) -> str:
    """The path of the included file in which it went wrong; empty for the file itself."""
    if isinstance(error, jinja2.TemplateSyntaxError):
        return (error.filename or "").removeprefix(_FILE)
    return next((path for _, path in reversed(list(_frames(error)))), "")


def _line(error: BaseException) -> int:
    """The template's line in which a running template failed: Jinja marks its generated lines."""
    line = 1
    for trace, _ in _frames(error):
        module = trace.tb_frame.f_globals.get("__jinja_template__")
        line = module.get_corresponding_lineno(trace.tb_lineno) if module is not None else line
    return line


def _tokens(source: str, expression: bool) -> list[tuple[int, int, str, str]]:
    """(offset, line, kind, text) of each token, as far as the source can be cut into tokens."""
    found: list[tuple[int, int, str, str]] = []
    at, state = 0, "variable" if expression else None
    try:
        for line, kind, text in jinja.environment().lexer.tokeniter(source, None, None, state):
            at = max(source.find(text, at), at)
            found.append((at, line, kind, text))
            at += len(text)
    except jinja2.TemplateSyntaxError:
        return found
    return found


# --- looking without running ---------------------------------------------------------------------------


@functools.lru_cache(maxsize=16_384)
def _names(source: str, expression: bool) -> Names:
    return simple_names(source, expression) or parsed_names(source, expression) or Names()


def parsed_names(source: str, expression: bool) -> Names | None:
    """The names that Jinja sees; None where it can't parse the source."""
    try:
        tree, inside = parsed(source, expression)
        free = _read_by(tree, inside) - {"omit"}
    except jinja2.TemplateError:
        return None
    return Names(free, free & inside.names.sure, free & inside.names.guarded)


def _read_by(tree: nodes.Template, inside: Survey) -> frozenset[str]:
    if all(isinstance(node, nodes.Output) for node in tree.body):  # nothing is assigned: each name is read
        return inside.names.free
    free = frozenset(meta.find_undeclared_variables(tree))
    return free - set(_made(tree.body)) if tree.find(nodes.Block) else free


def _made(body: Iterable[nodes.Node]) -> Iterator[str]:
    """Names that a file sets, imports or defines outside its blocks: its blocks see them, though Jinja's own search
    for free names takes each block by itself."""
    for node in body:
        if isinstance(node, nodes.If):
            yield from _made((*node.body, *node.elif_, *node.else_))
        elif isinstance(node, nodes.Import):
            yield node.target
        elif isinstance(node, nodes.FromImport):
            yield from (name if isinstance(name, str) else name[1] for name in node.names)
        elif isinstance(node, nodes.Macro):
            yield node.name
        elif isinstance(node, nodes.Assign | nodes.AssignBlock):
            yield from (name.name for name in node.find_all(nodes.Name) if name.ctx == "store")


def names_of(template: Template) -> Names:
    """Which variables a template reads, and how surely. One that can't be parsed reads none."""
    return _names(template.source, template.expression)


def name_span(template: Template, name: str) -> Span:
    """Where the template reads the variable `name`."""
    return Place.of(template).within().name(name, True)


def member_span(template: Template, path: tuple[str, ...]) -> Span:
    """Where the template reads `a.b.c`: the place of `c`."""
    return Place.of(template).within().member(path)
