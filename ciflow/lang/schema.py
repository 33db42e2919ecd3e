"""Cerberus over `schemas/`: the shape of every play part and of every module. The only owner of Cerberus.

Detect by path, place at the boundary: a fault is found at a document path, and `Place` turns it into line and
column. A value that is a Template passes any type; it is checked again, rendered, by `coerce`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ciflow.dataclass import dataclass, field
from ciflow.diagnostics import Diagnostic, Findings, Invalid, Span
from ciflow.lang.kinds import KINDS, fit
from ciflow.lang.light import without_metadata
from ciflow.lang.place import Place
from ciflow.lang.rules import OF_TYPE, TEXTS, for_cerberus, has_parts, listed, requires_below, sure, unbuilt_in
from ciflow.lang.shipped import shipped
from ciflow.lang.wording import Fault, either, not_allowed, step, unknown, whose, without_echoes
from ciflow.lang.yamltext import parse
from ciflow.model import Template

with without_metadata():
    import cerberus
    from cerberus import errors

# Arguments that are conditions: decided by the engine, not rendered, so `coerce` doesn't miss them.
EXPRESSIONS: Mapping[str, str] = {"assert": "that", "debug": "var"}


class _Shipped(set[Any]):
    """Every schema is a good one: they ship with ciflow, and a test lets Cerberus check them all. Checking them at
    each start would take longer than reading a playbook."""

    def __contains__(self, _schema: object) -> bool:
        return True


class _Validator(cerberus.Validator):  # type: ignore[misc]
    """Cerberus with our types, blind to what a Template will become."""

    _valid_schemas = _Shipped()

    types_mapping = {  # noqa: RUF012
        **cerberus.Validator.types_mapping,
        **{name: cerberus.TypeDefinition(name, (object,), ()) for name in KINDS},
    }

    def _validate_type(self, data_type: Any, field: str, value: Any) -> None:
        """{'type': ['string', 'list']}"""
        if isinstance(value, Template):
            self._drop_remaining_rules()
            return
        try:
            fit(data_type, value, literal=self._config["literal"])
        except ValueError as error:
            self._drop_remaining_rules()
            self._error(field, str(error))

    def _error(self, *args: Any) -> None:
        """Errors are only listed: Cerberus sorts all of them and builds two trees again at each one."""
        if len(args) == 1:
            self._errors.extend(args[0])
        else:
            super()._error(*args)

    def _validate_allowed(self, allowed_values: Any, field: str, value: Any) -> None:
        """{'type': 'container'}"""
        known = [one for one in value if not isinstance(one, Template)] if isinstance(value, list) else value
        super()._validate_allowed(allowed_values, field, known)

    def _validate_schema(self, schema: Any, field: str, value: Any) -> None:
        """{'type': ['dict', 'string']}"""
        if isinstance(value, str):
            if has_parts(self.schema[field]) and not TEXTS & set(listed(self.schema[field].get("type"))):
                self._error(field, "it has parts of its own: write them out, not as text")
        else:
            super()._validate_schema(schema, field, value)

    def _validate_meta(self, meta: Any, field: str, value: Any) -> None:
        """{'type': 'dict'}"""


@dataclass(frozen=True, slots=True)
class Schema:
    """One compiled schema file. `what` says of whom in words ("a play", "`copy`")."""

    what: str
    fields: Mapping[str, Any]
    validator: Callable[[bool], _Validator]  # by `literal`, made when it is first asked for: few fields need Cerberus
    doc: str = ""
    collection: str = ""  # of Ansible, that has a module of this name; "": ansible.builtin, or none
    free_form: str = ""
    one_of: tuple[tuple[str, ...], ...] = ()
    exclusive: tuple[tuple[str, ...], ...] = ()
    allow_unknown: bool = False
    aliases: Mapping[str, str] = field(default_factory=dict)
    returns: Mapping[str, str] = field(default_factory=dict)
    example: str = ""
    required: tuple[str, ...] = ()
    unbuilt_names: frozenset[str] = frozenset()  # fields that are not built, or something in them isn't
    unbuilt: tuple[tuple[str, ...], ...] = ()  # known, and refused instead of silently not done; () is all of it
    needs_python: bool = False  # on the host, for an operation that a shell can't do
    targets: tuple[str, ...] = ()  # kinds of target that have what a module needs; none named: all
    sure: Mapping[str, Callable[[Any], bool]] = field(default_factory=dict)  # of each field: a value is good as it is
    plain: frozenset[str] = frozenset()  # fields without another rule than a type: what was converted is good
    flat: bool = False  # nothing below the top level is required

    @property
    def names(self) -> list[str]:
        return [*self.fields, *self.aliases]

    @property
    def code_of_unknown(self) -> str:
        return "CF0109" if self.what.startswith("`") else "CF0102"

    def canonical(self, args: Mapping[str, Any]) -> dict[str, Any]:
        """Aliases under their argument's name; what is null is as good as not given, but for names of one's own."""
        own = self.allow_unknown
        return {
            self.aliases.get(name, name): value
            for name, value in args.items()
            if value is not None or (own and name not in self.fields and name not in self.aliases)
        }

    def examined(self, args: Mapping[str, Any], *, literal: bool) -> tuple[dict[str, Any], list[Fault]]:
        """The arguments, each as its type where it can be and under its own name, and everything wrong, by path.

        Nothing is left for Cerberus of a field whose only rule is a type that its value has, nor of a Template; and
        where only the top level can miss something, that is looked up here. Cerberus takes most of the time of a large
        playbook otherwise.
        """
        made = self.canonical(args)
        doubtful: dict[str, Any] = {}
        for name, value in made.items():
            if name in self.fields and (value.__class__ is Template or self.sure[name](value)):
                continue
            if name in self.plain:
                try:
                    made[name] = fit(self.fields[name]["type"], value, literal=literal)
                    continue
                except ValueError:
                    pass  # for Cerberus to say
            made[name] = doubtful[name] = _fitted(self.fields.get(name), value, literal)
        faults = [*self._nothing(args), *self._twice(args)] if len(made) < len(args) else []
        if not self.flat:
            doubtful = made
        if doubtful or not self.flat:
            validator = self.validator(literal)
            if not validator.validate(doubtful, normalize=False, update=self.flat):
                faults += _flatten(validator._errors, self)
        faults += self._over_all(made)
        return made, without_echoes(faults) if len(faults) > 1 else faults

    def _nothing(self, args: Mapping[str, Any]) -> Iterator[Fault]:
        """Names that nobody knows, with nothing behind them."""
        for name, value in args.items():
            if value is None and name not in self.fields and name not in self.aliases and not self.allow_unknown:
                yield unknown((name,), self.fields, self.names, self.what, self.code_of_unknown)

    def _twice(self, args: Mapping[str, Any]) -> Iterator[Fault]:
        """An argument that is given under two of its names."""
        given: dict[str, str] = {}
        for written in (name for name, value in args.items() if value is not None):
            name = self.aliases.get(written, written)
            if given.setdefault(name, written) != written:
                message = f"`{given[name]}` and `{written}` are the same argument"
                yield Fault((written,), "CF0111", message, "keep one of the two", key=True)

    def _over_all(self, document: Mapping[str, Any]) -> Iterator[Fault]:
        """What shows only over the whole: fields that are missing, not built yet, or exclude each other."""
        if self.flat:
            for name in self.required:
                if name not in document:
                    yield Fault((), "CF0103", f"{self.what} needs `{name}`", needs=(name,))
        for path in self.unbuilt if not self.unbuilt_names.isdisjoint(document) or () in self.unbuilt else ():
            if _stands(document, path):
                what = f"`{path[-1]}`" if path else self.what
                yield Fault(path, "CF0123", f"{what} is not built yet", "ciflow would not do it", key=bool(path))
        for group in self.one_of:
            if document.keys().isdisjoint(group):
                yield Fault((), "CF0110", f"{self.what} needs {either(group)}", needs=group)
        for group in self.exclusive:
            given = [name for name in group if name in document]
            if len(given) > 1:
                yield Fault((given[1],), "CF0111", f"`{given[0]}` and `{given[1]}` exclude each other", key=True)


def _fitted(rules: Any, value: Any, literal: bool) -> Any:
    if not isinstance(rules, Mapping) or isinstance(value, Template) or "type" not in rules:
        return value
    try:
        made = fit(rules["type"], value, literal=literal)
    except ValueError:
        return value
    if isinstance(value, str) and has_parts(rules):
        return value
    if isinstance(made, list) and "schema" in rules:
        return [_fitted(rules["schema"], item, literal) for item in made]
    if isinstance(made, dict) and "schema" in rules:
        return {key: _fitted(rules["schema"].get(key), below, literal) for key, below in made.items()}
    if isinstance(made, dict) and "valuesrules" in rules:
        return {key: _fitted(rules["valuesrules"], below, literal) for key, below in made.items()}
    return made


def _flatten(found: Any, schema: Schema) -> Iterator[Fault]:
    for error in found:
        if error.is_group_error:
            yield from _flatten(error.child_errors, schema)
        else:
            yield _fault(error, schema)


def _fault(error: Any, schema: Schema) -> Fault:
    path, name = error.document_path, error.document_path[-1]
    if error.code == errors.UNKNOWN_FIELD.code:
        return unknown(path, schema.fields, schema.names, schema.what, schema.code_of_unknown)
    if error.code in (errors.REQUIRED_FIELD.code, errors.NOT_NULLABLE.code):
        return Fault(path[:-1], "CF0103", f"{whose(path, schema.what)} needs `{name}`", needs=(str(name),))
    if error.code == errors.UNALLOWED_VALUE.code:
        return not_allowed(path, error.value, error.constraint)
    if error.code == errors.CUSTOM.code:
        message = str(error.info[0])
        code = "CF0105" if "file mode" in message else "CF0101"
        return Fault(path, code, f"`{step(path)}`: {message}")
    if error.code == errors.UNALLOWED_VALUES.code:
        return not_allowed(path, error.info[0][0], error.constraint)
    if error.code == errors.EMPTY_NOT_ALLOWED.code:
        return Fault(path, "CF0104", f"`{step(path)}` is empty")
    if error.code == errors.REGEX_MISMATCH.code:
        return Fault(path, "CF0104", f"`{step(path)}` can't be `{error.value}`", f"it is to be like {error.constraint}")
    limits = {errors.MIN_VALUE.code: "at least", errors.MAX_VALUE.code: "at most"}
    if error.code in limits:
        return Fault(path, "CF0104", f"`{step(path)}` must be {limits[error.code]} {error.constraint}")
    return Fault(path, "CF0101", f"`{step(path)}` breaks the rule {error.rule}: {error.constraint}")


# --- loading -------------------------------------------------------------------------------------------


def _read(path: Path) -> dict[str, Any]:
    findings = Findings()
    place = parse(path.read_bytes(), str(path), findings, trusted=False)
    if findings.errors or place is None or not isinstance(place.value, dict):
        raise Invalid(findings.items or [Diagnostic("error", "CF0101", "a schema is a mapping", Span(str(path)))])
    if "includes" not in place.value:
        return place.value
    other = _read(path.with_name(f"{place.value['includes']}.yml"))
    return {**other, **place.value, "arguments": {**place.value["arguments"], **other["arguments"]}}


def _compiled(what: str, whole: Mapping[str, Any]) -> Schema:
    fields: Mapping[str, Any] = whole.get("arguments") or {}
    aliases = {alias: name for name, rules in fields.items() for alias in (rules.get("meta") or {}).get("aliases", ())}
    unknown = bool(whole.get("allow_unknown", False))

    @functools.cache
    def validator(literal: bool) -> _Validator:
        rules = {name: for_cerberus(below) for name, below in fields.items()}
        return _Validator(rules, allow_unknown=unknown, literal=literal)

    return Schema(
        what,
        fields,
        validator,
        doc=str(whole.get("doc", "")),
        collection=str(whole.get("collection", "")),
        free_form=str(whole.get("free_form", "")),
        one_of=_groups(whole.get("one_of")),
        exclusive=_groups(whole.get("exclusive")),
        allow_unknown=unknown,
        aliases=aliases,
        returns=whole.get("returns") or {},
        example=str(whole.get("example", "")),
        required=tuple(name for name, below in fields.items() if below.get("required") is True),
        unbuilt_names=frozenset(path[0] for path in unbuilt_in(fields)),
        unbuilt=(*(((),) if whole.get("unbuilt") else ()), *unbuilt_in(fields)),
        sure={name: sure(below) for name, below in fields.items()},
        plain=frozenset(name for name, below in fields.items() if not below.keys() - OF_TYPE),
        needs_python=bool(whole.get("needs_python", False)),
        targets=tuple(whole.get("targets") or ()),
        flat=not any(requires_below(below) for below in fields.values()),
    )


def _stands(document: Any, path: tuple[str, ...]) -> bool:
    """Whether something stands at a path of a document."""
    for name in path:
        if not isinstance(document, Mapping) or name not in document:
            return False
        document = document[name]
    return True


def _groups(value: Any) -> tuple[tuple[str, ...], ...]:
    return tuple(tuple(group) for group in value or ())


@functools.cache
def part_schema(name: str) -> Schema:
    """The schema of a play part: play, task, block, canary, .."""
    return _compiled(_said(name), _read(shipped("schemas") / f"{name}.yml"))


def _said(part: str) -> str:
    """A part in words: what a diagnostic says it is found in."""
    words = {
        "inventory": "a group of the inventory",
        "role_meta": "the meta of a role",
        "canary_step": "a step",
        "rates": "a file of rates",
    }
    if part.startswith("gate_"):
        return f"the gate `{part.removeprefix('gate_')}`"
    if part.startswith("notification"):
        return " ".join(("a notification", *filter(None, [part.removeprefix("notification").replace("_", "by ")])))
    return words.get(part, f"a {part}")


@functools.cache
def module_schema(name: str) -> Schema:
    """The schema of a module, or of one of the language's own words (include_tasks, meta, ..)."""
    words = shipped("schemas") / "words" / f"{name}.yml"
    return _compiled(f"`{name}`", _read(words if words.is_file() else shipped("schemas") / "modules" / f"{name}.yml"))


@functools.cache
def verbs() -> frozenset[str]:
    """Every name that a task may use: modules, and the language's own words."""
    return frozenset(path.stem for below in ("modules", "words") for path in (shipped("schemas") / below).glob("*.yml"))


# --- using ---------------------------------------------------------------------------------------------


def check_part(name: str, place: Place, findings: Findings, *, ignore: frozenset[str] = frozenset()) -> None:
    """Faults of a play part, placed. Keys in `ignore` are somebody else's."""
    schema = part_schema(name)
    _, faults = schema.examined({key: value for key, value in place.value.items() if key not in ignore}, literal=True)
    for fault in faults:
        at = place.at(*fault.path[:-1])
        if fault.path and (fault.key or not isinstance(fault.path[-1], str)):
            span = at.key_span(fault.path[-1]) if fault.key else place.at(*fault.path).span
        else:
            span = place.at(*fault.path).span
        label = _OF_A_TASK if name == "play" and fault.key and fault.path[-1] in verbs() else fault.label
        findings.error(fault.code, fault.message, span, label=label)


_OF_A_TASK = "this is a module: indent it to stand in a task"


def check_module(
    name: str, args: Mapping[str, Any], where: Callable[[str, bool], Span], findings: Findings
) -> dict[str, Any]:
    """Check arguments as written; gives them under their own names, converted where they hold no template.

    `where(argument, key)` is the place of an argument's key or value ("" for the module itself).
    """
    schema = module_schema(name)
    document, faults = schema.examined(args, literal=True)
    given = {schema.aliases.get(key, key): key for key in args} if faults else {}
    for fault in faults:
        written = given.get(fault.path[0], fault.path[0]) if fault.path else ""
        span = where(str(written), fault.key)
        findings.error(fault.code, fault.message, span, label=fault.label)
    return document


def coerce(
    module: str, args: Mapping[str, Any], spans: Mapping[str, Span] | None = None, *, checked: bool = False
) -> dict[str, Any]:
    """Rendered arguments as the module takes them: types, defaults, names. Raises Invalid, placed by `spans`.

    `checked`: they hold no template, so the check of the playbook was about these very values.
    """
    schema = module_schema(module)
    if isinstance(whole := args.get(""), Mapping):
        args = {**{key: value for key, value in args.items() if key != ""}, **whole}
    document, faults = schema.examined(args, literal=False)
    findings = Findings()
    for fault in faults if not checked else ():
        if fault.code == "CF0103" and not fault.path and f"`{EXPRESSIONS.get(module)}`" in fault.message:
            continue
        findings.error(fault.code, fault.message, _span(fault, spans or {}, module), label=fault.label)
    if findings.errors:
        raise Invalid(findings.items)
    return {**_defaults(module), **document}


def secrets_in(module: str, args: Mapping[str, Any]) -> list[str]:
    """Values of the arguments that the module's schema calls secret."""
    return [str(args[name]) for name in _secret(module) if args.get(name)]


@functools.cache
def _defaults(module: str) -> Mapping[str, Any]:
    return {name: rules["default"] for name, rules in module_schema(module).fields.items() if "default" in rules}


@functools.cache
def _secret(module: str) -> tuple[str, ...]:
    fields = module_schema(module).fields
    return tuple(name for name, rules in fields.items() if rules.get("meta", {}).get("secret"))


def _span(fault: Fault, spans: Mapping[str, Span], module: str) -> Span | None:
    return spans.get(str(fault.path[0])) if fault.path else spans.get(module)
