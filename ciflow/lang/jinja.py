"""Jinja2's environment as Ansible sets it up: strict, sandboxed, names looked up in a Scope when they are asked for."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from types import CodeType
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.compiler import CodeGenerator, Frame
from jinja2.exceptions import SecurityError
from jinja2.filters import do_indent, do_unique
from jinja2.lexer import TOKEN_STRING, TOKEN_VARIABLE_BEGIN, TOKEN_VARIABLE_END, Lexer
from jinja2.nativetypes import NativeCodeGenerator
from jinja2.nodes import EvalContext
from jinja2.runtime import Context, Undefined
from jinja2.sandbox import ImmutableSandboxedEnvironment, SandboxedEnvironment
from jinja2.utils import missing

from ciflow.diagnostics import Invalid
from ciflow.lang.filters import COLLECTIONS, FILTERS, SCOPED_FILTERS
from ciflow.lang.filters_data import distinct
from ciflow.lang.jinja_values import Missing, OwnDict, OwnList, Unmade, finalize, joined, own, string, text
from ciflow.lang.limits import MOST_DIGITS, check_length
from ciflow.lang.lookups import GLOBALS, lookup, query
from ciflow.lang.scope import MISSING, OMIT, Scope
from ciflow.lang.tests import SCOPED_TESTS, TESTS

# Where a context keeps its scope. No template can name these: they are no identifiers.
_SCOPE = "scope()"
_HIDDEN = "hidden scope()"  # of a file imported without context: its lookups work, the variables are not seen


def _found(scope: Scope, name: str) -> Any:
    """A variable as a template finds it: undefined itself where it is made of an undefined one. MISSING where there is
    none."""
    try:
        return scope.find(name)
    except Invalid as fault:
        if not fault.undefined:
            raise
        return Unmade(name, fault)


class ScopeContext(Context):
    """Jinja's context over a Scope: what the template set itself, then the scope, then Jinja's globals."""

    globals_keys = frozenset({_HIDDEN})  # type: ignore[assignment]  # what a file imported without context is handed
    eval_ctx = functools.cached_property[EvalContext](lambda self: EvalContext(self.environment, self.name))
    exported_vars = functools.cached_property[set[str]](lambda _: set())

    def __init__(
        self,
        environment: jinja2.Environment,
        parent: dict[str, Any],
        name: str | None,
        blocks: dict[str, Callable[[Context], Iterator[str]]],
        globals: MutableMapping[str, Any] | None = None,
    ) -> None:
        """Does what Jinja's does, but for what few templates ask for (above): it takes most of a short one's time."""
        del globals
        self.parent = parent
        self.vars = {}
        self.environment = environment
        self.name = name
        self.blocks = {block: [made] for block, made in blocks.items()}
        self._seen: Scope | None = parent.get(_SCOPE)

    @classmethod
    def over(cls, scope: Scope, template: jinja2.Template) -> ScopeContext:
        return cls(template.environment, {_SCOPE: scope, _HIDDEN: scope}, template.name, template.blocks)

    @property
    def scope(self) -> Scope:
        found: Scope = self.parent[_HIDDEN]
        return found

    def resolve_or_missing(self, key: str) -> Any:
        if key in self.vars:
            return self.vars[key]
        if key in self.parent:  # what the file that includes or imports this one set
            return self.parent[key]
        if self._seen is not None and (value := _found(self._seen, key)) is not MISSING:
            return value
        return OMIT if key == "omit" else self.environment.globals.get(key, missing)


def _only_data(node: nodes.Expr) -> None:
    """Raises for all that is no text between expressions: it is worked out when the template is rendered."""
    if not isinstance(node, nodes.TemplateData):
        raise nodes.Impossible


class _Code(CodeGenerator):
    """Lists and mappings that stand in a template are its own. Nothing is worked out when a template is compiled: what
    `random` or `strftime` makes of constants is another thing each time."""

    def visit_List(self, node: nodes.List, frame: Frame) -> None:  # noqa: N802
        self.write("environment.own_list(")
        super().visit_List(node, frame)
        self.write(")")

    def visit_Dict(self, node: nodes.Dict, frame: Frame) -> None:  # noqa: N802
        self.write("environment.own_dict(")
        super().visit_Dict(node, frame)
        self.write(")")

    def visit_Const(self, node: nodes.Const, frame: Frame) -> None:  # noqa: N802
        if isinstance(node.value, list | dict):
            self.write(f"environment.own({node.value!r})")
        else:
            super().visit_Const(node, frame)

    def _output_child_to_const(self, node: nodes.Expr, frame: Frame, finalize: Any) -> Any:
        _only_data(node)
        return super()._output_child_to_const(node, frame, finalize)

    def _output_child_pre(self, node: nodes.Expr, frame: Frame, finalize: Any) -> None:
        """Text and whole numbers of no unusual length go out without a call of ours, where Jinja makes two."""
        del node, frame, finalize
        self.write("(given if (kind := (given := ")

    def _output_child_post(self, node: nodes.Expr, frame: Frame, finalize: Any) -> None:
        del node, frame, finalize
        usual = f"kind is int and given.bit_length() < {MOST_DIGITS}"
        self.write(f").__class__) is str else str(given) if {usual} else environment.text(given))")


class _ValueCode(NativeCodeGenerator, _Code):
    """Gives values as they are; constants that stand between expressions are text."""

    def _output_child_to_const(self, node: nodes.Expr, frame: Frame, finalize: Any) -> Any:
        _only_data(node)
        return super()._output_child_to_const(node, frame, finalize)


class _Environment(ImmutableSandboxedEnvironment):
    code_generator_class = _Code
    own = staticmethod(own)
    text = staticmethod(text)
    own_list = OwnList
    own_dict = OwnDict
    intercepted_binops = frozenset(["*", "**", "%"])
    context_class = ScopeContext

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        if operator == "**":
            if isinstance(left, int) and isinstance(right, int) and abs(left) > 1 \
                    and right * left.bit_length() > 100_000:  # fmt: skip
                raise SecurityError("this power is too large")
        elif operator == "%":
            if isinstance(left, str):
                _check_format(left, right)
        else:
            for text, times in ((left, right), (right, left)):
                if isinstance(text, str | list | tuple) and isinstance(times, int):
                    check_length(len(text) * times)
        return super().call_binop(context, operator, left, right)

    def getattr(self, obj: Any, attribute: str) -> Any:
        """As Jinja's: a mapping's item where it has no such attribute, here without an exception on the way."""
        if obj.__class__ is dict and attribute in obj and not hasattr(obj, attribute):
            return obj[attribute]
        return super().getattr(obj, attribute)

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        """What a template may use: nothing that changes a variable."""
        if isinstance(obj, OwnList | OwnDict):
            return SandboxedEnvironment.is_safe_attribute(self, obj, attr, value)
        return super().is_safe_attribute(obj, attr, value)

    def unsafe_undefined(self, obj: Any, attribute: str) -> Undefined:
        why = f"`{attribute}` of {type(obj).__name__} is out of reach for a template"
        if isinstance(obj, list | dict | set) and not attribute.startswith("_"):
            why = f"a template changes no variable, so `{attribute}` is for lists and mappings that it made itself"
        return Missing(why, name=attribute, obj=obj, exc=SecurityError)

    def call(self, context: Context, obj: Any, *args: Any, **kwargs: Any) -> Any:
        method = getattr(obj, "__wrapped__", obj)  # Jinja wraps `format` of a text
        text = getattr(method, "__self__", None)
        if type(text) is str:
            _check_method(text, method.__name__, (*args, *kwargs.values()))
        return super().call(context, obj, *args, **kwargs)


_PADDING = frozenset({"center", "expandtabs", "ljust", "rjust", "zfill"})


def _check_method(text: str, name: str, given: tuple[Any, ...]) -> None:
    """Raises TooMuch where a text's method would pad it to more than there is room for."""
    if name in _PADDING and given and isinstance(given[0], int):
        check_length(given[0])
    elif name in ("format", "format_map"):
        _check_widths(text, given if "{:{" in text or ":{" in text else ())


class _EscapingLexer(Lexer):
    """Reads strings inside `{{ }}` as they stand in the YAML file: a backslash is a backslash, as in Ansible.

    Jinja would make `\\1` a control character, and YAML has its own escapes already.
    """

    def tokeniter(
        self, source: str, name: str | None, filename: str | None = None, state: str | None = None
    ) -> Iterator[tuple[int, str, str]]:
        inside = False
        for line, kind, token in super().tokeniter(source, name, filename, state):
            inside = kind == TOKEN_VARIABLE_BEGIN or (inside and kind != TOKEN_VARIABLE_END)
            yield line, kind, token.replace("\\", "\\\\") if inside and kind == TOKEN_STRING else token


class _YamlEnvironment(_Environment):
    """For templates that stand in YAML: what they give is a value."""

    code_generator_class = _ValueCode
    concat = staticmethod(joined)

    @functools.cached_property
    def lexer(self) -> Lexer:
        return _EscapingLexer(self)


def _scoped(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function whose first argument is the scope, as Jinja calls filters and globals."""

    @functools.wraps(function)
    def call(context: Any, *args: Any, **named: Any) -> Any:
        return function(context.scope, *args, **named)

    return jinja2.pass_context(call)


# --- filters that need to know Jinja's undefined values -------------------------------------------------


def _mandatory(value: Any, msg: str = "") -> Any:
    if isinstance(value, Undefined):
        if msg:
            raise ValueError(msg)
        str(value)
    return value


def _type_debug(value: Any) -> str:
    names: dict[type, str] = {OwnList: "list", OwnDict: "dict"}
    return "Undefined" if isinstance(value, Undefined) else names.get(type(value), type(value).__name__)


def _extract(item: Any, container: Any, morekeys: Any = None) -> Any:
    """The item of a container, or of what is in it; undefined where there is none."""
    more = morekeys if isinstance(morekeys, list) else [] if morekeys is None else [morekeys]
    value = container
    for key in [item, *more]:
        value = environment().getitem(value, key)
    return value


@jinja2.pass_environment
def _unique(
    env: jinja2.Environment, a: Iterable[Any], case_sensitive: bool | None = None, attribute: Any = None
) -> list[Any]:
    """Jinja's `unique`; for values without a hash Ansible's, which compares them."""
    values = list(a)
    try:
        return list(do_unique(env, values, case_sensitive=bool(case_sensitive), attribute=attribute))
    except TypeError:
        if attribute is not None or case_sensitive is False:
            raise
        return distinct(values)


def _format(value: str, *args: Any, **kwargs: Any) -> str:
    """printf's formatting, as Jinja has it."""
    _check_format(value, kwargs or args)
    return str(value) % (kwargs or args)


def _check_format(text: str, values: Any) -> None:
    """Raises TooMuch where a width would make the text too long."""
    _check_widths(text, values if isinstance(values, tuple) and "*" in text else ())


def _check_widths(text: str, given: tuple[Any, ...]) -> None:
    digits = "".join(character if character.isdecimal() else " " for character in text)
    for width in (*map(int, digits.split()), *(one for one in given if isinstance(one, int))):
        check_length(width)


def _center(value: str, width: int = 80) -> str:
    check_length(width)
    return str(value).center(width)


def _indent(s: str, width: int | str = 4, first: bool = False, blank: bool = False) -> str:
    """Jinja's `indent`, within bounds."""
    check_length((width if isinstance(width, int) else len(width)) * (1 + s.count("\n")))
    return do_indent(s, width, first, blank)


def _undef(hint: str = "") -> Undefined:
    return Missing(hint=hint or None, name="undef()")


def _defined(value: Any, names: tuple[Any, ...]) -> Any:
    """What a lookup found of variables, with an undefined value for each name that there is none of."""
    if value is MISSING:
        return Missing(name=names[0])
    if isinstance(value, list) and MISSING in value:
        return [Missing(name=name) if one is MISSING else one for name, one in zip(names, value, strict=True)]
    return value


def _lookup(context: Any, kind: str, *terms: Any, **options: Any) -> Any:
    return _defined(lookup(context.scope, kind, *terms, **options), terms)


def _query(context: Any, kind: str, *terms: Any, **options: Any) -> Any:
    return _defined(query(context.scope, kind, *terms, **options), terms)


# --- environments --------------------------------------------------------------------------------------


@functools.cache
def environment() -> _Environment:
    """The environment of files and conditions: Ansible's whitespace (`trim_blocks`), undefined names are errors."""
    made = _Environment(
        trim_blocks=True, undefined=Missing, finalize=finalize, cache_size=0, optimized=False,
        extensions=["jinja2.ext.do", "jinja2.ext.loopcontrols"],
    )  # fmt: skip
    made.filters |= FILTERS | {name: _scoped(function) for name, function in SCOPED_FILTERS.items()}
    made.filters |= {"mandatory": _mandatory, "type_debug": _type_debug, "extract": _extract, "unique": _unique,
                     "format": _format, "center": _center, "string": string,
                     "indent": _indent}  # fmt: skip
    made.tests |= TESTS | {name: _scoped(function) for name, function in SCOPED_TESTS.items()}
    for table in (made.filters, made.tests):
        table |= {f"ansible.builtin.{name}": function for name, function in table.items()}
    for collection, filters in COLLECTIONS.items():
        made.filters |= filters | {f"{collection}.{name}": function for name, function in filters.items()}
    made.globals.pop("lipsum", None)  # nothing of Ansible's, and any amount of text for the asking
    made.globals["dict"] = OwnDict
    made.filters["list"] = OwnList
    made.globals |= {name: _scoped(function) for name, function in GLOBALS.items()}
    made.globals |= {"lookup": jinja2.pass_context(_lookup), "query": jinja2.pass_context(_query),
                     "q": jinja2.pass_context(_query), "undef": _undef}  # fmt: skip
    return made


@functools.cache
def yaml_environment() -> _Environment:
    """The same for templates that stand in YAML."""
    made = object.__new__(_YamlEnvironment)
    made.__dict__.update(environment().__dict__, finalize=None)
    return made


# --- files that include others --------------------------------------------------------------------------


class Loader(jinja2.BaseLoader):
    """Finds the files that a `.j2` file includes, imports or extends; `find` gives path and text, or None.

    `found` keeps the text of each by path, for the places of faults.
    """

    def __init__(self, find: Callable[[str], tuple[str, str] | None], code: Callable[[str, str], CodeType]) -> None:
        self._find = find
        self._code = code
        self.found: dict[str, str] = {}

    def load(
        self, environment: jinja2.Environment, name: str, globals: MutableMapping[str, Any] | None = None
    ) -> jinja2.Template:
        found = self._find(name) if not name.startswith("/") and ".." not in name.split("/") else None
        if found is None:
            raise jinja2.TemplateNotFound(name)
        path, text = found
        self.found[path] = text
        return jinja2.Template.from_code(environment, self._code(text, path), {} if globals is None else globals)


def known() -> Mapping[str, list[str]]:
    """Names of all filters and tests."""
    env = environment()
    return {"filter": sorted(env.filters), "test": sorted(env.tests)}
